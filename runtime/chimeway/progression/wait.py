"""A wait: from when it counts, when it is due, and what follows once it is.

Rows 8, 9, 10 and 17 of semantics §5; §2.1 for anchors. A `due_at`, once written, never moves by
itself: rows 8 and 9 read it from the context and compute nothing.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from chimeway.progression.instants import read, written
from chimeway.progression.outcome import is_terminal
from chimeway.progression.repeats import counted, onward
from chimeway.progression.working import CurrentDelivery, Leave, Move, Rest, Working
from chimeway.workflow.calendar import WorkingCalendar
from chimeway.workflow.definition import AtLocalTime, DataRef, Step, WaitAction, Within
from chimeway.workflow.durations import BeyondCalendar, parse_duration, parse_instant
from chimeway.workflow.moments import needs_calendar, next_moment

_SLACK: Final = timedelta(days=5)
"""By how much the local dates that were looked at may lie before the one instant and after the other."""


def enter_wait(working: Working, step: Step, action: WaitAction, left: CurrentDelivery | None) -> Working:
    """Row 17: the wait begins.

    Args:
        working: the draft on which the wait step has just been entered.
        step: that step.
        action: its action.
        left: the delivery of the step the run came from, when that was a notify. The wait counts
            from its terminal moment; without one, or when it is still being retried, from now. One for
            a local time or for hours counts from now, but never from before the message's end: `now` may be
            late by a round trip, and the nine o'clock that brought a message would come again.

    Returns:
        the waiting state. Where `until` names no instant in the data (the trigger checks it, so
        only other hands can bring this about), or all working days of ten years are holidays, `due_at`
        is null: row 10 lists the run as stuck, and signals still reach it.
    """
    by_clock = isinstance(action.until, AtLocalTime | Within)
    ended = left if left is not None and is_terminal(left.status) else None
    anchored = None if by_clock else ended
    entered_at = working.entered_at or working.now
    anchor = (ended.terminal_at if ended else None) or entered_at
    if by_clock:
        anchor = max(anchor, entered_at)
    due_at = _due_at(working, action, anchor)
    entered = written(entered_at)
    context = {
        "rule_kind": "wait",
        "anchor": "prior_delivery_terminal_at" if anchored else "step_entered_at",
        "anchor_delivery_id": anchored.id if anchored else None,
        "anchor_delivery_visit": anchored.visit if anchored else None,
        "anchor_delivery_status": anchored.status if anchored else None,
        "anchor_timestamp": entered if anchor is entered_at else written(anchor),
        "due_at": None if due_at is None else written(due_at),
        "from_step": step.id,
        "to_step": onward(working, step),
        "zone": working.snapshot.zone,
        "entered_at": entered,
    }
    return working.write("waiting_for_step_progression", "waiting", context)


def _due_at(draft: Working, action: WaitAction, anchor: datetime) -> datetime | None:
    """Return when the wait is over; note what of data and calendar that depends on."""
    if action.duration is not None:
        return parse_duration(action.duration).after(anchor, draft.snapshot.zone)
    match action.until:
        case DataRef(name=name):
            at = _instant(draft.snapshot.data.get(name))
            draft.instants = {**draft.instants, name: None if at is None else written(at)}
            return at
        case datetime() as at:
            return at
        case AtLocalTime() | Within() as until:
            return _by_clock(draft, until, anchor)
        case None:
            raise AssertionError("a wait has neither duration nor until")
        case _:
            assert_never(action.until)


def _by_clock(draft: Working, until: AtLocalTime | Within, entered: datetime) -> datetime | None:
    calendar = draft.snapshot.working
    try:
        due_at = next_moment(until, entered, draft.snapshot.zone, calendar)
    except BeyondCalendar:
        raise
    except ValueError:
        due_at = None
    if needs_calendar(until):
        used = _looked_at(calendar, entered, due_at)
        if (before := draft.calendar) is not None:
            used = replace(used, holidays=used.holidays | before.holidays)
        draft.calendar = used
    return due_at


def _looked_at(calendar: WorkingCalendar, entered: datetime, due_at: datetime | None) -> WorkingCalendar:
    """Return the calendar with those holidays only on which the answer can have depended."""
    if due_at is None:
        return calendar
    first, last = (entered - _SLACK).date(), (due_at + _SLACK).date()
    return replace(calendar, holidays=frozenset(day for day in calendar.holidays if first <= day <= last))


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return parse_instant(value)
    except ValueError:
        return None


def elapse(working: Working) -> Move:
    """Rows 8, 9 and 10: the run waits, and no signal has ended that."""
    context = working.context
    if context.get("due_at") is None:
        return Rest(working, "wait_missing_due_at")  # row 10
    due_at = read(context["due_at"])
    if due_at is None:
        return Rest(working, "invalid_due_at")  # row 10
    if working.now < due_at:
        return Rest(working, "wait_not_due")  # row 8
    to, kind = context.get("to_step"), context.get("rule_kind")
    if not isinstance(to, str) or kind not in ("wait", "wait_until"):
        return Rest(working, "wait_context_incomplete")  # row 10
    elapsed = {**context, "reactivated_at": written(working.now)}
    reason_to_leave = {
        "rule_kind": kind,
        "workflow_outcome": "wait_elapsed",
        "anchor_delivery_id": context.get("anchor_delivery_id"),
        "anchor_delivery_visit": context.get("anchor_delivery_visit"),
    }
    reactivated = working.draft().write("reactivated_from_wait", "active", elapsed)
    if kind == "wait" and working.step is not None:
        reason_to_leave.update(counted(reactivated, working.step))
    return Leave(reactivated, to, reason_to_leave, armed=True)  # row 9
