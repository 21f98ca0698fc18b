"""Where a step's `next` leads, and how often it has led back: `next: {repeat, times, then}`.

The counts are part of a run's context and so of every transition: a fold takes them with the rest, and
they change in the transaction of the step that they lead to, or not at all.
"""

from collections.abc import Mapping
from typing import Any, Final

from chimeway.progression.working import Working
from chimeway.workflow.definition import Repeat, Step

_NONE: Final[Mapping[str, Any]] = {}


def onward(working: Working, step: Step) -> str:
    """Return where a run goes when this step ends and no rule applies."""
    return working.snapshot.definition.after(step, working.repeats.get(step.id, 0))


def counted(draft: Working, step: Step) -> Mapping[str, Any]:
    """Count that the run goes on from this step; return what the audit should bear of it."""
    repeat = step.next
    if not isinstance(repeat, Repeat):
        return _NONE
    gone = draft.repeats.get(step.id, 0)
    others = {name: count for name, count in draft.repeats.items() if name != step.id}
    if gone >= repeat.times:
        draft.repeats = others
        return {"repeat": {"step": step.id, "number": gone, "times": repeat.times, "used_up": True}}
    draft.repeats = {**others, step.id: gone + 1}
    return {"repeat": {"step": step.id, "number": gone + 1, "times": repeat.times, "used_up": False}}
