"""The run's row, from its transitions alone (semantics I1): a fold takes the last.

Nothing is added up, because each transition bears the run's whole state after it. So a run can be
audited from any of its transitions on, and a lost one shows as a break in the numbers, not here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chimeway.progression.decision import Transition
from chimeway.progression.snapshot import RunState


class Folded(NamedTuple):
    """What a run's row has after its transitions."""

    state: RunState
    step: str | None
    visit: int
    status_reason: str
    context: Mapping[str, Any]


def fold(transitions: Iterable[Transition | Mapping[str, Any]]) -> Folded:
    """Return the run's state after these transitions, which are in order.

    Args:
        transitions: as decided, or as rows with (at least) the keys `to_state`, `to_step`, `visit`,
            `status_reason` and `context`.

    Returns:
        (state, step, visit, status_reason, context).

    Raises:
        AssertionError: there is none. The trigger writes the first, `workflow_started`.
    """
    last: Transition | Mapping[str, Any] | None = None
    for last in transitions:  # noqa: B007  (the last one is what is wanted)
        pass
    if last is None:
        raise AssertionError("a run has at least one transition")
    if isinstance(last, Transition):
        return Folded(last.to_state, last.to_step, last.visit, last.status_reason, last.context)
    return Folded(last["to_state"], last["to_step"], last["visit"], last["status_reason"], last["context"])
