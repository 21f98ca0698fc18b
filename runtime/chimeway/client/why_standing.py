"""Where a live run stands: what it waits for, and what keeps it from going on. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from chimeway.client.why_deliveries import LATE
from chimeway.client.words import effect, gone_back, heard_by, how_often, moment, what_is_next, written_moment
from chimeway.progression.instants import read
from chimeway.progression.snapshot import LIVE
from chimeway.progression.working import repeats_in
from chimeway.store.views import Story
from chimeway.workflow.definition import END
from chimeway.workflow.telling import signal_of

_HELD_FOR: Final[Mapping[str, str]] = {
    "poison_decision": "the decision about it failed every time it was made",
    "three_strikes": "nodes died three times while they looked at it",
    "too_many_steps": "it has entered as many steps as a run may, so it goes round",
    "held_by_request": "somebody asked for it",
}


def standing(story: Story) -> Iterator[str]:
    """Yield the sentences on a live run; none where it has ended."""
    run = story.run
    if run.state not in LIVE:
        return
    broken = _broken(story)
    if run.step is None:
        due = f" The first is due at {moment(story, run.wake_at)}." if run.wake_at else ""
        yield f"It has entered no step yet.{due}"
    if broken is not None:
        yield f"The run cannot go on by itself: {broken}. Signals still reach it, and it can be cancelled."
    elif run.state == "waiting":
        yield from _waiting(story)
    yield from _unrouted(story)
    yield from _kept(story)
    if broken is None:
        yield from _late(story)


def _unrouted(story: Story) -> Iterator[str]:
    """Say what was said to the run, is committed, and lies in no mailbox of it yet."""
    for mail in story.mail:
        if mail.number is not None:
            continue
        left = ""
        if story.now - mail.created_at >= LATE:
            left = " None has so far: see that `chimeway serve` runs and reaches the database."
        yield (
            f"{mail.type} came at {moment(story, mail.created_at)}, and the run has not heard it yet: it "
            "waits for a node to route it. It counts all the same, with the next decision about the run."
            f"{left}"
        )


def _kept(story: Story) -> Iterator[str]:
    """Say who or what keeps the run."""
    run = story.run
    if run.held_reason is not None and run.held_at is not None:
        note = next((t.note for t in reversed(story.transitions) if t.reason == "run_held"), None)
        because = _HELD_FOR.get(run.held_reason, "of a reason that is not known here")
        yield (
            f"The run has been held ({note or run.held_reason}) since {moment(story, run.held_at)}, because "
            f"{because}: nothing is decided or sent until it is resumed; signals are kept, and it can be "
            "cancelled."
        )
    if story.paused_at is not None:
        yield (
            f"The workflow has been paused since {moment(story, story.paused_at)}: nothing is decided until "
            "it is resumed; signals are kept."
        )
    if run.waiting_for_node is not None:
        yield (
            f"The run waits for a node that has what it needs ({run.waiting_for_node}): none that "
            "has looked at it does. It goes on when one is started; it can be cancelled."
        )


def _late(story: Story) -> Iterator[str]:
    """Say that the run is due and nobody comes, where nothing else keeps it."""
    run = story.run
    kept = run.held_reason or story.paused_at or run.waiting_for_node
    if run.wake_at is not None and not kept and story.now - run.wake_at >= LATE:
        yield (
            f"The run has been due since {moment(story, run.wake_at)}, and no node has looked at it. "
            "It goes on when one does: see that `chimeway serve` runs and reaches the database."
        )


def _waiting(story: Story) -> Iterator[str]:
    run = story.run
    step = story.definition.step(run.step) if story.definition else None
    due = written_moment(story, run.status_context.get("due_at"))
    to = run.status_context.get("to_step")
    then = what_is_next(story.definition, to)
    then += how_often(step, repeats_in(run.status_context))
    begun = next(
        (t.at for t in reversed(story.transitions) if t.reason == "waiting_for_step_progression"), None
    )
    since = f" since {moment(story, begun)}" if begun else ""
    due_at = read(run.status_context.get("due_at"))
    if due_at is not None and due_at <= story.now:
        yield f"The run has waited at {run.step}{since}. The wait was over at {due}: next, {then}."
        return
    yield f"The run has waited at {run.step}{since}. At {due} the wait is over, and {then}."
    yield from gone_back(story.definition, run.step, repeats_in(run.status_context))
    for condition in heard_by(story.definition, run.step):
        yield f"If {signal_of(condition)} comes before then, it {effect(to, condition)}."


def _broken(story: Story) -> str | None:
    """Return what is wrong with the rows of a run that no wake can cure, if anything is."""
    run, definition = story.run, story.definition
    if definition is not None and run.step is not None and definition.step(run.step) is None:
        return f"its definition has no step {run.step}"
    if run.state == "waiting":
        due, to = run.status_context.get("due_at"), run.status_context.get("to_step")
        if due is None:
            return f"nothing says when its wait at {run.step} is over (wait_missing_due_at)"
        if read(due) is None:
            return f"when its wait at {run.step} is over cannot be read ({due!r}, invalid_due_at)"
        if not isinstance(to, str):
            return f"nothing says where it goes after {run.step} (wait_context_incomplete)"
        if definition is not None and to != END and definition.step(to) is None:
            return f"it is to go on to {to}, which its definition does not have (unknown_to_step)"
    elif run.step is not None and not any(row.visit == run.visit for row in story.deliveries):
        return f"it stands at {run.step} without a message (no_active_step_delivery)"
    return None
