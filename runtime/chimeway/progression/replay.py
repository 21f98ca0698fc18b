"""Deciding again from what was written down: semantics I10.

Payloads and data are not kept with a decision, so replay does not match again: it takes from the
inputs which condition each mailbox row met. All else is decided anew by the same core.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, get_args
from uuid import UUID

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop, PlannedDelivery, Transition
from chimeway.progression.fold import Folded
from chimeway.progression.instants import read, read_required
from chimeway.progression.snapshot import Delivery, DeliveryStatus, Mail, Run, Snapshot
from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import Condition, Definition, Step

_NOBODY = UUID(int=0)


def replay(definition: Definition, before: Folded, inputs: Mapping[str, Any]) -> Decision | Noop:
    """Decide again what was decided once.

    Args:
        definition: the run's pinned definition.
        before: the fold of the run's transitions before the decision.
        inputs: those of the decision's first transition.

    Returns:
        what `decide` answers. Its `seen` means nothing, and its births bear neither notes nor verdicts.

    Raises:
        KeyError, ValueError, AssertionError: the inputs are not ones that a decision wrote.
    """
    fit_of = {row["n"]: row["fit"] for row in inputs["mailbox"]}
    births = {int(visit): _birth(birth) for visit, birth in inputs["births"].items()}

    def fits(mail: Mail, condition: Condition, path: str) -> bool:
        del condition
        return bool(fit_of[mail.number] == path)

    def born(step: Step, visit: int) -> Birth:
        del step
        return births[visit]

    snapshot = _snapshot(definition, before, inputs)
    return decide(snapshot, read_required(inputs["now"]), born, fits)


def differences(recorded: Decision, replayed: Decision | Noop) -> tuple[str, ...]:
    """Return the names of the parts in which a decision and its replay differ; empty when equal.

    Compared are `transitions`, `after`, `planned`, `cancelled` and `consumed`; deliveries by their
    visit, since the id of one that was born in the decision was not known to it.
    """
    if isinstance(replayed, Noop):
        return (f"noop {replayed.reason}",)
    pairs: dict[str, tuple[Any, Any]] = {
        "transitions": (
            [by_visit(t) for t in recorded.transitions],
            [by_visit(t) for t in replayed.transitions],
        ),
        "after": (_after(recorded), _after(replayed)),
        "planned": (_without_notes(recorded), _without_notes(replayed)),
        "cancelled": (recorded.cancelled, replayed.cancelled),
        "consumed": (recorded.consumed, replayed.consumed),
    }
    return tuple(name for name, (one, other) in pairs.items() if one != other)


def by_visit(transition: Transition) -> Transition:
    """Return the transition with `anchor_delivery_id` written as `visit:<n>` in its context.

    So a row whose placeholder the ledger has replaced equals the transition that was decided.
    """
    context = _context_by_visit(transition.context)
    return transition if context is transition.context else replace(transition, context=context)


def _context_by_visit(context: Mapping[str, Any]) -> Mapping[str, Any]:
    visit = context.get("anchor_delivery_visit")
    return context if visit is None else {**context, "anchor_delivery_id": f"visit:{visit}"}


def _after(decision: Decision) -> Any:
    after = decision.after
    return replace(after, status_context=_context_by_visit(after.status_context))


def _without_notes(decision: Decision) -> list[PlannedDelivery]:
    return [replace(plan, birth=replace(plan.birth, note=None, verdict=None)) for plan in decision.planned]


def _birth(row: Mapping[str, Any]) -> Birth:
    until = row.get("until")
    return Birth(**{**row, "until": None if until is None else read_required(until)})


def _snapshot(definition: Definition, before: Folded, inputs: Mapping[str, Any]) -> Snapshot:
    now = read_required(inputs["now"])
    mail = tuple(
        Mail(row["n"], UUID(row["signal_id"]), row["type"], payload=None, created_at=now)
        for row in inputs["mailbox"]
    )
    run = Run(
        id=_NOBODY,
        tenant_id="",
        recipient_id="",
        state=before.state,
        step=before.step,
        visit=before.visit,
        revision=0,
        mailbox_count=max((row.number for row in mail), default=0),
        status_reason=before.status_reason,
        status_context=before.context,
        entered_at=read(inputs["entered_at"]),
        armed_step=inputs["armed_step"],
        armed_entered_at=read(inputs["armed_entered_at"]),
    )
    return Snapshot(
        run=run,
        definition=definition,
        data=inputs["instants"],
        zone=inputs["zone"],
        mail=mail,
        delivery=_delivery(inputs["delivery"]),
        workflow_paused=inputs["paused"],
        working=_calendar(inputs.get("working")),
    )


def _calendar(used: Mapping[str, Any] | None) -> WorkingCalendar:
    if used is None:
        return USUAL_DAYS
    holidays = frozenset(date.fromisoformat(day) for day in used["holidays"])
    return WorkingCalendar(frozenset(used["days"]), holidays)


def _delivery(row: Mapping[str, Any] | None) -> Delivery | None:
    if row is None:
        return None
    if row["status"] not in get_args(DeliveryStatus):
        raise ValueError(f"no status of a delivery: {row['status']!r}")
    return Delivery(
        id=UUID(row["id"]),
        visit=row["visit"],
        step_id=row["step"],
        status=row["status"],
        revision=0,
        suppression_reason=row["reason"],
        terminal_at=read(row["terminal_at"]),
        attempts=row["attempts"],
        failed_attempts=row["failed"],
        last_outcome=row["last_outcome"],
        last_error_class=row["last_error_class"],
    )
