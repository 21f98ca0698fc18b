"""The table of semantics §5 once more, written from the text and not from the code.

`CASES` is the product of its columns; `expected` names the first row that fits, and what it writes.
It says nothing of what the same evaluation does after that row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

from chimeway.progression.instants import written
from chimeway.progression.snapshot import Delivery, Snapshot
from pure.progression_rows import NOW, delivery, mail, run, snapshot

NOTIFIES = ("plain", "target", "ruled", "routed", "until", "stray", "last")
STEPS = (None, "gone", "wait", *NOTIFIES)
OPEN = ("pending", "dispatched", "deferred", "digested", "failed")
DELIVERIES: tuple[Delivery | None, ...] = (
    None,
    *(delivery(status) for status in OPEN[:4]),
    *(delivery(status, attempts=1, failed_attempts=1) for status in OPEN),
    delivery("dispatched", attempts=1),
    delivery("succeeded"),
    delivery("suppressed", "no_address"),
    *(
        delivery("cancelled", reason)
        for reason in ("retries_exhausted", "permanent_failure", "bounced", "superseded", None)
    ),
)
MAIL = ((), ("other",), ("halt",), ("read",), ("skip",), ("jump",), ("lost",), ("other", "skip", "halt"))
HELD = (None, "by_hand", "paused")
ARMED = (None, "wait", "until")
_SAID = {"anchor_delivery_status": "succeeded", "workflow_outcome": "delivered"}
_FULL = {**_SAID, "rule_kind": "wait", "due_at": written(NOW), "to_step": "target", "from_step": "wait"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "due": _FULL,
    "not due": {**_FULL, "due_at": written(NOW + timedelta(microseconds=1))},
    "to the end": {**_FULL, "to_step": "end"},
    "to nowhere": {**_FULL, "to_step": "nowhere"},
    "without due_at": {**_SAID, "rule_kind": "wait", "to_step": "target"},
    "garbled due_at": {**_FULL, "due_at": "soon"},
    "without to_step": {**_SAID, "rule_kind": "wait", "due_at": written(NOW)},
}


@dataclass(frozen=True)
class Case:
    """One combination of the columns."""

    state: str
    held: str | None
    step: str | None
    delivery: Delivery | None
    mail: tuple[str, ...]
    armed: str | None
    context: str

    def rows(self) -> Snapshot:
        """Return the rows that it means."""
        of = run(
            self.state,
            self.step,
            held_reason=None if self.held == "paused" else self.held,
            status_context=CONTEXTS[self.context],
            armed_step=self.armed,
            armed_entered_at=None if self.armed is None else NOW - timedelta(hours=2),
        )
        return snapshot(
            of,
            delivery=self.delivery,
            mail=tuple(mail(i + 1, signal) for i, signal in enumerate(self.mail)),
            workflow_paused=self.held == "paused",
        )


@dataclass(frozen=True)
class Row:
    """The first row that fits: a noop's reason, or the reasons of the transitions it writes."""

    number: str
    noop: str | None = None
    writes: tuple[str, ...] = ()


def cases() -> Iterator[Case]:
    """Yield the product, without the columns that a state does not look at."""
    for state, held in product(("completed", "stopped", "failed"), HELD):
        for step, said in product(STEPS, MAIL):
            yield Case(state, held, step, None, said, None, "due")
    for held, step, said in product(HELD, STEPS, MAIL):
        yield Case("active", held, step, None, said, None, "due")
    for step, row, said, armed in product(NOTIFIES, DELIVERIES, MAIL, ARMED):
        yield Case("active", None, step, row, said, armed, "due")
    for step, said, context in product(("gone", "wait"), MAIL, CONTEXTS):
        yield Case("waiting", None, step, None, said, None, context)
    for step, row, said, context in product(NOTIFIES, DELIVERIES, MAIL, CONTEXTS):
        yield Case("waiting", None, step, row, said, None, context)


def expected(case: Case) -> Row:
    """Return the first row of the table that fits."""
    if case.state in ("completed", "stopped", "failed"):
        return Row("1", noop="run_not_active")
    if case.held is not None:
        return Row("2", noop="workflow_paused" if case.held == "paused" else "run_held")
    for signal in case.mail:
        if row := _heard(case, signal):
            return row
    if case.step is None:
        return Row("4", writes=("step_activated",))
    if case.step == "gone":
        return Row("18", noop="unknown_step")
    if case.state == "waiting":
        return _corrected(case) or _waited(case)
    if case.step == "wait":
        return Row("17", writes=("waiting_for_step_progression",))
    return _notified(case)


def _heard(case: Case, signal: str) -> Row | None:
    stopped = ("signal_received", "workflow_stopped")
    if case.state == "waiting" and case.step in ("wait", "until") and signal == "read":
        return Row("5", writes=stopped)
    if case.state == "waiting" and case.step == "wait":
        if signal in ("skip", "jump"):
            return Row("6", writes=("signal_received", "step_activated"))
        if signal == "lost":
            return Row("18", noop="unknown_to_step")
    unsent = case.delivery is not None and case.delivery.status in OPEN and case.delivery.attempts == 0
    if case.state == "active" and case.armed and unsent and signal == "read":
        return Row("5a", writes=stopped)
    return Row("3", writes=stopped) if signal == "halt" else None


def outcome(row: Delivery | None) -> str | None:
    """Return the outcome by semantics §4."""
    if row is None:
        return None
    if row.status in OPEN:
        return "temporary_failure" if row.failed_attempts else None
    words = ("retries_exhausted", "permanent_failure", "bounced")
    by_status = {"succeeded": "delivered", "suppressed": "suppressed"}
    return by_status.get(row.status) or (row.suppression_reason if row.suppression_reason in words else None)


RULES = {
    "ruled": {"temporary_failure": "target", "bounced": "target", "permanent_failure": "stop"},
    "routed": {"bounced": "wait"},
    "until": {"bounced": "target"},
    "stray": {"bounced": "nowhere"},
}


def _by_rule(case: Case, number: str) -> Row | None:
    to = RULES.get(case.step or "", {}).get(outcome(case.delivery) or "")
    if to == "nowhere":
        return Row("18", noop="unknown_to_step")
    then = "workflow_stopped" if to == "stop" else "step_activated"
    return Row(number, writes=("progressed_on_delivery_outcome", then)) if to else None


def _corrected(case: Case) -> Row | None:
    return None if outcome(case.delivery) == "delivered" else _by_rule(case, "7")


def _waited(case: Case) -> Row:
    match case.context:
        case "without due_at":
            return Row("10", noop="wait_missing_due_at")
        case "garbled due_at":
            return Row("10", noop="invalid_due_at")
        case "without to_step":
            return Row("10", noop="wait_context_incomplete")
        case "not due":
            return Row("8", noop="wait_not_due")
        case "to nowhere":
            return Row("18", noop="unknown_to_step")
        case "to the end":
            return Row("9", writes=("reactivated_from_wait", "workflow_completed"))
        case _:
            return Row("9", writes=("reactivated_from_wait", "step_activated"))


def _notified(case: Case) -> Row:
    if row := _by_rule(case, "11"):
        return row
    if case.delivery is None:
        return Row("12", noop="no_active_step_delivery")
    if case.delivery.status in OPEN:
        rules = RULES.get(case.step or "")
        if case.step == "until":
            return Row("13", noop="prior_delivery_not_converged")
        return Row("13", noop="no_matching_progress_rule" if rules else "no_progress_rules")
    if case.step == "until":
        return Row("14", writes=("waiting_for_step_progression",))
    on = ("progressed_on_delivery_outcome", "step_activated")
    match case.step:
        case "ruled" | "stray":
            return Row("15", writes=("workflow_completed",))
        case "routed":
            return Row("15", writes=on)
        case "last":
            return Row("16", writes=("workflow_completed",))
        case _:
            return Row("16", writes=on)
