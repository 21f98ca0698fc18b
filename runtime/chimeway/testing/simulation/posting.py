"""What becomes of messages in the rows: `begin_attempts`, `record_results`, `record_feedback`. See `rows`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from chimeway.progression.notify import matching_rule
from chimeway.progression.outcome import outcome_of
from chimeway.progression.snapshot import LIVE, TERMINAL, Delivery
from chimeway.testing.simulation.facts import Answered, Attempted, Told
from chimeway.testing.simulation.rows import OPEN, Answer, Rows
from chimeway.testing.simulation.tables import Attempt, MessageRow, SignalRow, signal_id

_RANK: Final = {"delivered": 1, "failed": 2, "bounced": 3}
_FEEDBACK: Final[Mapping[str, tuple[Any, str | None, str]]] = {
    "delivered": ("succeeded", None, "succeeded"),
    "failed": ("cancelled", "permanent_failure", "failed"),
    "bounced": ("cancelled", "bounced", "bounced"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt (`number`), or of a message that nobody sent (None), and what follows."""

    number: int | None
    result: Literal["succeeded", "failed", "unknown"] | None
    status: Literal["succeeded", "failed", "cancelled", "suppressed", "deferred"]
    reason: str | None = None
    error_class: str | None = None
    next_attempt_at: datetime | None = None


def begin_attempt(
    rows: Rows,
    run_id: UUID,
    visit: int,
    seen: tuple[int, int],
    found: tuple[SignalRow, ...],
    looked: int,
) -> Answer:
    """Guard, write an attempt and commit. `seen`: the delivery's revision, and the mailbox."""
    row, each, guards = rows.put(run_id, found), rows.messages[run_id][visit], rows.guards
    run, delivery, (revision, mailbox) = row.run, each.delivery, seen
    fresh = delivery.status in ("pending", "failed", "deferred") or not guards.status
    fresh = fresh and (delivery.revision == revision or not guards.attempt_revision)
    heard = run.state not in LIVE or run.mailbox_count == mailbox or not guards.attempt_mailbox
    retry = delivery.attempts > 0 and run.mailbox_count == row.mailbox_seen
    allowed = (run.held_reason is None or not guards.attempt_held) and (
        not rows.paused or retry or not guards.attempt_paused
    )
    if not (fresh and heard and allowed):
        return "unseen" if fresh and not heard else "stale"
    number = delivery.attempts + 1
    delivery = replace(delivery, status="dispatched", attempts=number)
    attempts = (*each.attempts, Attempt(number))
    rows.change(run_id, visit, replace(each, delivery=delivery, attempts=attempts, next_attempt_at=None))
    rows.told.append((run_id, Attempted(visit, number, rows.unseen(looked))))
    return "begun"


def record(rows: Rows, run_id: UUID, visit: int, wanted: Result) -> Answer:
    """Record a result, or the end of a message that nobody sent: `record_results`."""
    if run_id in rows.locks and rows.guards.lock:
        return "busy"
    each = rows.messages[run_id][visit]
    if not _is_fresh(rows, each, wanted):
        return "repeat"
    attempts = tuple(
        replace(attempt, result=wanted.result) if attempt.number == wanted.number else attempt
        for attempt in each.attempts
    )
    delivery = each.delivery
    failed = delivery.failed_attempts + (wanted.result in ("failed", "unknown"))
    delivery = replace(
        delivery,
        failed_attempts=failed,
        last_outcome=wanted.result or delivery.last_outcome,
        last_error_class=wanted.error_class,
    )
    due = each.next_attempt_at
    if delivery.status not in TERMINAL:
        delivery, due = _resulting(rows, each, delivery, wanted)
    rows.change(run_id, visit, replace(each, delivery=delivery, attempts=attempts, next_attempt_at=due))
    told = Answered(visit, wanted.number, wanted.result, wanted.status, rows.clock, wanted.reason)
    rows.told.append((run_id, told))
    rows.nudge(run_id, visit)
    return "applied"


def _is_fresh(rows: Rows, each: MessageRow, wanted: Result) -> bool:
    if wanted.number is None:
        return each.delivery.status in ("pending", "failed", "deferred")
    attempt = each.attempts[wanted.number - 1]
    return attempt.result is None or not rows.guards.one_result


def _resulting(
    rows: Rows, each: MessageRow, delivery: Delivery, wanted: Result
) -> tuple[Delivery, datetime | None]:
    if wanted.status == "succeeded":
        return replace(delivery, status="succeeded", suppression_reason=None, terminal_at=rows.clock), None
    if each.stop_requested:
        ended = replace(
            delivery, status="cancelled", suppression_reason="run_stopped", terminal_at=rows.clock
        )
        return ended, None
    if wanted.status in OPEN:
        return replace(delivery, status=wanted.status), wanted.next_attempt_at
    reason = wanted.reason
    return replace(delivery, status=wanted.status, suppression_reason=reason, terminal_at=rows.clock), None


def feedback(rows: Rows, run_id: UUID, visit: int, kind: str) -> bool:
    """Record what a provider says later; the run's lock is free. False: it was told as much before."""
    each, rank = rows.messages[run_id][visit], _RANK[kind]
    if rank <= each.told:
        return False
    status, reason, word = _FEEDBACK[kind]
    delivery = each.delivery
    moved = (delivery.status, delivery.suppression_reason) != (status, reason)
    due = each.next_attempt_at
    if moved:
        delivery = replace(delivery, status=status, suppression_reason=reason, terminal_at=rows.clock)
        due = None
    rows.change(run_id, visit, replace(each, delivery=delivery, told=rank, next_attempt_at=due))
    rows.told.append((run_id, Told(visit, kind, rows.clock)))
    if moved:
        _nudge_again(rows, run_id, visit)
    run, arrival = rows.runs[run_id].run, rows.next_arrival()
    payload = {"delivery_id": str(delivery.id)}
    about = (signal_id(arrival), f"chimeway.delivery.{word}", payload, arrival, rows.clock)
    rows.say(SignalRow(*about, tenant=run.tenant_id, actor=run.recipient_id, run_id=run_id))
    return True


def _nudge_again(rows: Rows, run_id: UUID, visit: int) -> None:
    """Wake a run for feedback; one that waits after this message only for a rule that is about it."""
    row, delivery = rows.runs[run_id], rows.messages[run_id][visit].delivery
    run, context = row.run, row.run.status_context
    if run.visit != visit or run.state not in LIVE or not rows.guards.wakes:
        return
    step = rows.definition.step(run.step)
    outcome = outcome_of(delivery.status, delivery.suppression_reason, delivery.failed_attempts)
    changed = context.get("workflow_outcome") != outcome
    ruled = step is not None and changed and matching_rule(step, outcome) is not None
    if run.state == "active" or ruled:
        rows.wake(row, rows.clock)
    elif isinstance(context.get("due_at"), str):
        at = datetime.fromisoformat(context["due_at"])
        rows.runs[run_id] = replace(row, run=replace(run, wake_at=at))
