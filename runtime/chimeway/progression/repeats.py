"""Where a step's `next` leads, and how often it has led back: `next: {repeat, times, then}`.

The counts are part of a run's context and so of every transition: a fold takes them with the rest, and
they change in the transaction of the step that they lead to, or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from chimeway.progression.working import Working
from chimeway.workflow.definition import Repeat, Step

_NONE: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Onward:
    """Where `next` leads: `working` has counted it, and `note` says of it what the audit should bear."""

    working: Working
    to: str
    note: Mapping[str, Any]


def onward(working: Working, step: Step) -> Onward:
    """Return where a run goes when this step ends and no rule applies."""
    repeat = step.next
    gone = working.repeats.get(step.id, 0)
    to = working.snapshot.definition.after(step, gone)
    if not isinstance(repeat, Repeat):
        return Onward(working, to, _NONE)
    others = {name: count for name, count in working.repeats.items() if name != step.id}
    if gone >= repeat.times:
        note = {"step": step.id, "number": gone, "times": repeat.times, "used_up": True}
        return Onward(replace(working, repeats=others), to, {"repeat": note})
    note = {"step": step.id, "number": gone + 1, "times": repeat.times, "used_up": False}
    return Onward(replace(working, repeats={**others, step.id: gone + 1}), to, {"repeat": note})
