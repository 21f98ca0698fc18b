"""The decision core: one run's rows and a time in, what follows out.

**What a run is.** A run stands on a step, in a state. Standing on a notify step it is `active`, and
waits for its delivery; on a wait, or on a notify step whose delivery has ended and that has a
`wait_until` rule, it is `waiting`, for a moment. It moves for three causes only, and in this order
when several hold at once: something was said (a signal in its mailbox), something became of its
delivery (an outcome), some moment has come (time). Signal before outcome before time: a person who
has read must not be written to because a clock was as quick.

**One question.** `decide` does not learn what woke it. It asks of the rows "what follows now?", so
a wake that is lost, doubled or late changes nothing but the hour: asked again after its own answer
was written, it answers noop (T-25-06). Hence no row of the table may fit twice on the same facts.
Each either ends the visit, or turns the run from active to waiting, or writes nothing.

**One table.** Semantics §5 lists what may follow, and the first row that fits applies. `_row` below
is that table, in its order, each row cited. A row yields a state (it is done), a `Leave` (the step
ends; where to is `arrive`'s matter) or a `Rest` (the world must move first). Rows 3, 5, 5a and 6
are one scan, because mailbox rows are tried in number order against the step's conditions and the
workflow's together, and the first pair that fits wins.

**One evaluation.** It goes on row by row until it rests: entering a wait after an in-app item is
the same decision. It enters at most 25 steps and consumes at most 25 signals. A row that would
enter the 26th is not taken; the run wakes itself at once instead. Rows that end the run enter
nothing, so no limit delays a stop. Every step entered is a visit, at most 1,000 a life, so each
chain ends; a run that would enter one more is held.

**Whole rows.** What a row writes is written whole or not at all, so it writes on a draft. Where it cannot
arrive (an unknown step, a limit) the state before it stands, its signal unconsumed. The first row resting
is a noop, and a noop writes nothing (ESC-03); otherwise all moves so far are one decision.

**Nothing else.** No clock, no chance, no I/O: `now` is an argument, how a delivery is born is asked
of `births`. What the answer depended on besides definition and former transitions stands in
`inputs`, so that it can be given again (I10) by `replay`.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, assert_never

from chimeway.progression.arrive import arrive
from chimeway.progression.decision import Births, Decision, Noop, RunAfter, Seen
from chimeway.progression.inputs import inputs_of
from chimeway.progression.instants import read
from chimeway.progression.notify import corrected, progress
from chimeway.progression.signals import Fits, hear, listening, obey
from chimeway.progression.snapshot import ENDED, LIVE, Mail, RunState, Snapshot
from chimeway.progression.wait import elapse, enter_wait
from chimeway.progression.working import CurrentDelivery, Leave, Move, Rest, Working, repeats_in
from chimeway.workflow.definition import NotifyAction, WaitAction
from chimeway.workflow.durations import known_zone


def decide(snapshot: Snapshot, now: datetime, births: Births, fits: Fits | None = None) -> Decision | Noop:
    """Return what follows from these rows at this time. Source: semantics §5, the whole table.

    Args:
        snapshot: the run and all that a decision may depend on.
        now: the time of the evaluation, in UTC.
        births: how the delivery of (step, visit) is born; asked once for each delivery planned.
        fits: answers whether a mailbox row meets a condition, in place of type, `match` and
            `since`. Only replay has a use for it.

    Returns:
        a decision, never empty, or a noop, after which nothing is written.

    Raises:
        AssertionError: `now` is not in UTC, or the rows contradict themselves. Our mistake.
    """
    if now.tzinfo is not UTC and now.utcoffset() != timedelta(0):
        raise AssertionError(f"now must be in UTC: {now!r}")
    if snapshot.zone != "UTC" and not known_zone(snapshot.zone):
        snapshot = replace(snapshot, zone="UTC")  # the database may know names that this machine lacks
    rest = _evaluate(_begin(snapshot, now), births, fits)
    if rest.working.transitions:
        return _decision(rest, now)
    if rest.reason == "limit":
        raise AssertionError("a limit was reached and nothing was written")
    return Noop(rest.reason)


def _evaluate(working: Working, births: Births, fits: Fits | None) -> Rest:
    while True:
        move = _row(working, fits)
        if isinstance(move, Leave):
            move = arrive(working, move, births)
        if isinstance(move, Rest):
            return move
        working = move


def _row(working: Working, fits: Fits | None) -> Move:
    """Return what the first row that fits yields: the table of semantics §5, in its order."""
    if working.state in ENDED:
        return Rest(working, "run_not_active")  # row 1
    if working.held_reason is not None:
        return Rest(working, "run_held")  # row 2
    if working.snapshot.workflow_paused:
        return Rest(working, "workflow_paused")  # row 2
    if working.state not in LIVE:
        raise AssertionError(f"no row of the table has the state {working.state!r}")
    heard = hear(working, fits)
    if heard is not None:
        return obey(working, heard)  # rows 3, 5, 5a, 6
    if working.state == "active" and working.step_id is None:
        if _begins_later(working):
            return Rest(working, "wait_not_due")
        return Leave(working.draft(), working.snapshot.definition.steps[0].id, {})  # row 4
    step = working.step
    if step is None:
        return Rest(working, "unknown_step")  # the pinned definition is not the one it began with
    match step.action:
        case NotifyAction():
            if working.state == "waiting":
                move = corrected(working, step)  # row 7
                return elapse(working) if move is None else move  # rows 8, 9, 10
            return progress(working, step)  # rows 11 to 16
        case WaitAction() as action:
            if working.state == "waiting":
                return elapse(working)  # rows 8, 9, 10
            return enter_wait(working.draft(), step, action, None)  # row 17
        case _:
            assert_never(step.action)


def _begins_later(working: Working) -> bool:
    """A trigger may name a later start; a signal that wakes the run before must not begin it."""
    wake_at = working.snapshot.run.wake_at
    return wake_at is not None and wake_at > working.now


def _begin(snapshot: Snapshot, now: datetime) -> Working:
    run, delivery = snapshot.run, snapshot.delivery
    if delivery is not None and delivery.visit != run.visit:
        raise AssertionError(f"run {run.id} is at visit {run.visit}, not {delivery.visit}")
    if (run.step is None) is not (run.visit == 0) or (run.state == "waiting" and run.step is None):
        raise AssertionError(f"run {run.id} is {run.state} at visit {run.visit} of step {run.step!r}")
    return Working(
        snapshot=snapshot,
        now=now,
        state=run.state,
        step_id=run.step,
        visit=run.visit,
        status_reason=run.status_reason,
        context=run.status_context,
        entered_at=run.entered_at,
        armed_step=run.armed_step,
        armed_entered_at=run.armed_entered_at,
        held_reason=run.held_reason,
        delivery=None if delivery is None else CurrentDelivery.stored(delivery),
        delivery_ids=snapshot.delivery_ids or {},
        mail=_by_number(snapshot.mail),
        repeats=repeats_in(run.status_context),
    )


def _by_number(mail: tuple[Mail, ...]) -> tuple[Mail, ...]:
    return tuple(sorted(mail, key=lambda one: one.number)) if len(mail) > 1 else mail


def _decision(rest: Rest, now: datetime) -> Decision:
    working, run, delivery = rest.working, rest.working.snapshot.run, rest.working.snapshot.delivery
    return Decision(
        kind=_kind(working.state),
        seen=Seen(
            revision=run.revision,
            mailbox=run.mailbox_count,
            delivery_id=delivery.id if delivery else None,
            delivery_revision=delivery.revision if delivery else None,
        ),
        now=now,
        transitions=working.transitions,
        after=_after(rest),
        planned=working.planned,
        cancelled=working.cancelled,
        consumed=working.consumed,
        elapsed="reactivated_from_wait" in [t.reason for t in working.transitions],
        inputs=inputs_of(working),
    )


def _kind(state: RunState) -> Literal["advanced", "waiting", "completed", "stopped"]:
    if state == "failed":
        raise AssertionError("only an operator fails a run")
    return "advanced" if state == "active" else state


def _after(rest: Rest) -> RunAfter:
    working = rest.working
    return RunAfter(
        state=working.state,
        step=working.step_id,
        visit=working.visit,
        status_reason=working.status_reason,
        status_context=working.context,
        pending_signals=listening(working).types,
        wake_at=_wake_at(rest),
        entered_at=working.entered_at,
        armed_step=working.armed_step,
        armed_entered_at=working.armed_entered_at,
        held_reason=working.held_reason,
    )


def _wake_at(rest: Rest) -> datetime | None:
    if rest.reason == "limit":
        return rest.working.now
    return read(rest.working.context.get("due_at")) if rest.working.state == "waiting" else None
