"""From rows, as JSON says them, to what readers get. Pure; instants come out in UTC."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from chimeway.errors import InvalidDefinition
from chimeway.progression.working import repeats_in
from chimeway.store.call import Row
from chimeway.store.views import (
    AttemptView,
    DeliveryView,
    FeedbackView,
    InboxItem,
    ListedRun,
    MailView,
    Page,
    RestoredView,
    RunView,
    Story,
    TransitionView,
    VerdictView,
    WaitingRun,
)
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

_T = TypeVar("_T")
_RUN_INSTANTS: Final = ("wake_at", "held_at", "created_at", "ended_at")
_DELIVERY_INSTANTS: Final = ("next_attempt_at", "created_at", "terminal_at")
_ITEM_INSTANTS: Final = ("created_at", "seen_at", "read_at", "interacted_at", "archived_at")


def instant(value: str | None) -> datetime | None:
    """Return an instant of a row, which may be null."""
    return None if value is None else moment(value)


def moment(value: str) -> datetime:
    """Return an instant of a row, in UTC whatever the session's zone."""
    return datetime.fromisoformat(value).astimezone(UTC)


def _typed(row: Row, *, ids: Collection[str] = ("id",), instants: Collection[str] = ()) -> dict[str, Any]:
    """Return the row with these of its columns as ids and instants."""
    found = dict(row)
    found.update((name, None if row[name] is None else UUID(row[name])) for name in ids)
    found.update((name, instant(row[name])) for name in instants)
    return found


def page(
    limit: int, view: Callable[[Row], _T], cursor: Callable[[Row], str]
) -> Callable[[Sequence[Row]], Page[_T]]:
    """Return how a page is read of its rows, and of one more where it is not the last."""

    def read(found: Sequence[Row]) -> Page[_T]:
        more = cursor(found[limit - 1]) if len(found) > limit else None
        return Page(tuple(view(row) for row in found[:limit]), more)

    return read


def run(row: Row) -> RunView:
    """Return a run's row."""
    typed = _typed(row, ids=("id", "event_id"), instants=_RUN_INSTANTS)
    return RunView(**{**typed, "pending_signals": tuple(row["pending_signals"])})


def transition(row: Row) -> TransitionView:
    """Return a row of the audit."""
    return TransitionView(**_typed(row, ids=("decision_id", "signal_id"), instants=("at",)))


def delivery(
    row: Row,
    attempts: Sequence[Row],
    told: Sequence[Row] = (),
    verdicts: Sequence[Row] = (),
    restored: Sequence[Row] = (),
) -> DeliveryView:
    """Return a delivery with those of these attempts, and of what was told, that are its own."""
    return DeliveryView(
        **_typed(row, instants=_DELIVERY_INSTANTS),
        attempts=tuple(_attempt(each) for each in attempts if each["delivery_id"] == row["id"]),
        feedback=tuple(_feedback(each) for each in told if each["delivery_id"] == row["id"]),
        verdicts=tuple(_verdict(each) for each in verdicts if each["delivery_id"] == row["id"]),
        restored=next((_restored(each) for each in restored if each["delivery_id"] == row["id"]), None),
    )


def _verdict(row: Row) -> VerdictView:
    typed = _typed(row, ids=("delivery_id",), instants=("until", "at"))
    del typed["delivery_id"]
    return VerdictView(**typed)


def _restored(row: Row) -> RestoredView:
    typed = _typed(row, ids=("delivery_id",), instants=("taken_at", "held_at", "decided_at"))
    del typed["delivery_id"]
    return RestoredView(**typed)


def _feedback(row: Row) -> FeedbackView:
    typed = _typed(row, ids=("delivery_id",), instants=("at", "recorded_at"))
    del typed["delivery_id"]
    return FeedbackView(**typed)


def _attempt(row: Row) -> AttemptView:
    return AttemptView(
        number=row["attempt_no"],
        node=UUID(row["node"]),
        started_at=moment(row["started_at"]),
        outcome=row["outcome"],
        error_class=row["error_class"],
        note=row["note"],
        provider_reference=row["provider_reference"],
        finished_at=instant(row["finished_at"]),
        provider=row["provider"],
    )


def story(  # noqa: PLR0913, PLR0917  (the rows of its statements)
    run_row: Row,
    context: Row,
    transitions: Sequence[Row],
    deliveries: Sequence[Row],
    attempts: Sequence[Row],
    told: Sequence[Row],
    mail: Sequence[Row],
    outside: Sequence[Row],
    verdicts: Sequence[Row],
    tenant: Sequence[Row],
    restored: Sequence[Row],
) -> Story:
    """Return all that is known of a run."""
    return Story(
        run=run(run_row),
        zone=(tenant[0]["timezone"] if tenant else None) or context["zone"],
        now=moment(context["now"]),
        definition=_definition(context["definition"]),
        paused_at=instant(context["paused_at"]),
        forgotten_at=instant(context["forgotten_at"]),
        transitions=tuple(transition(row) for row in transitions),
        deliveries=tuple(delivery(row, attempts, told, verdicts, restored) for row in deliveries),
        mail=(
            *(_mail(row, row["number"], row["consumed_by"]) for row in mail),
            *(_mail(row, None, None) for row in outside),
        ),
    )


def _definition(raw: Any) -> Definition | None:
    try:
        return parse(raw)
    except InvalidDefinition:
        return None


def _mail(row: Row, number: int | None, consumed_by: str | None) -> MailView:
    consumer = None if consumed_by is None else UUID(consumed_by)
    return MailView(number, UUID(row["signal_id"]), row["type"], moment(row["created_at"]), consumer)


def waiting(row: Row) -> WaitingRun:
    """Return a run of the waiting room."""
    return WaitingRun(
        run_id=UUID(row["id"]),
        tenant_id=row["tenant_id"],
        recipient_id=row["recipient_id"],
        workflow_key=row["workflow_key"],
        workflow_version=row["workflow_version"],
        step=row["step"],
        signals=tuple(row["pending_signals"]),
        since=instant(row["entered_at"]),
        until=instant(row["wake_at"]),
        then=row["status_context"].get("to_step"),
        held_reason=row["held_reason"],
        zone=row["zone"],
        paused_at=instant(row["paused_at"]),
        repeats=repeats_in(row["status_context"]),
    )


def listed(row: Row, kind: Literal["overdue", "stuck", "held", "waiting_for_node"]) -> ListedRun:
    """Return a run that people should look at."""
    return ListedRun(
        run_id=UUID(row["id"]),
        kind=kind,
        tenant_id=row["tenant_id"],
        recipient_id=row["recipient_id"],
        workflow_key=row["workflow_key"],
        workflow_version=row["workflow_version"],
        state=row["state"],
        step=row["step"],
        reason=row["reason"],
        since=moment(row["since"]),
        then=row["next_step"],
        zone=row["zone"],
    )


def item(row: Row) -> InboxItem:
    """Return an in-app item."""
    named = {name: value for name, value in row.items() if name != "arrival"}
    return InboxItem(**_typed(named, ids=("id", "run_id"), instants=_ITEM_INSTANTS))
