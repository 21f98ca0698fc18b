"""What came of an action, in sentences. Pages know them by codes: so no address can put words into ours."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Tone: TypeAlias = Literal["good", "calm", "bad"]


class Message(NamedTuple):
    """A sentence, and how it is shown."""

    text: str
    tone: Tone


_DID: Final[Mapping[str, str]] = {
    "stopped": "The run was stopped.",
    "held": "The run is held: nothing is decided or sent until it is resumed.",
    "resumed": "The run goes on.",
    "woken": "The run was woken: it is evaluated now.",
    "retimed": "The wait was moved.",
    "retried": "The message is tried again now.",
    "paused": "The workflow is paused: its runs decide nothing and begin no message.",
    "unpaused": "The workflow goes on: what fell due meanwhile is done now, the oldest first.",
}
_NOT: Final[Mapping[str, str]] = {
    "ended": "It had ended before; nothing was changed.",
    "changed": "It has changed since it was counted; it was left as it is.",
    "gone": "It is no longer there.",
    "not_holdable": "It has ended, or is held already; nothing was changed.",
    "not_held": "It is not held; nothing was changed.",
    "not_due": "It waits on purpose, so there is nothing to wake. Move its wait to now to let it go on.",
    "not_waiting": "It is not waiting; there is no time to move.",
    "no_time": "It has no time that could be moved by a span; give it an instant.",
    "workflow_paused": "Its workflow is paused; nothing was changed.",
    "run_held": "It is held: resume it first.",
    "not_failed": "That message does not wait to be tried again; nothing was changed.",
}


def message_of(code: str | None) -> Message | None:
    """Return the sentence of a code; None: there is no such code."""
    if (done := _DID.get(code or "")) is not None:
        return Message(done, "good")
    return None if (left := _NOT.get(code or "")) is None else Message(left, "calm")


def code_of(action: str, outcome: str) -> str:
    """Return the code of what came of an action on one run."""
    if action == "wake" and outcome in {"held", "paused"}:
        return {"held": "run_held", "paused": "workflow_paused"}[outcome]
    if action == "retry" and outcome not in {"retried", "gone"}:
        return "run_held" if outcome == "held" else "not_failed"
    return outcome


_OF_PLANS: Final[Mapping[str, str]] = {
    "stopped": "stopped",
    "retimed": "moved",
    "woken": "woken",
    "changed": "had changed since they were counted, and were left as they are",
    "ended": "had ended in between",
    "gone": "are no longer there",
    "not_due": "wait on purpose, and were not woken",
    "held": "are held, and were not woken",
    "paused": "are of a paused workflow, and were not woken",
    "not_waiting": "were not waiting, so there was no time to move",
    "no_time": "are stuck without a time, and could not be moved by a span",
}


def told_of_plan(outcome: str) -> str:
    """Return what became of runs of a plan, as it goes on after their number."""
    return _OF_PLANS.get(outcome, outcome.replace("_", " "))
