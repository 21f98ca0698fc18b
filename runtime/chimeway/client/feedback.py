"""What providers told: from what callers give to what is asked of the database. Pure, of both clients."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from chimeway.client import checks
from chimeway.feedback.event import KINDS, FeedbackEvent, FeedbackKind
from chimeway.limits import MAX_FEEDBACK_EVENTS, MAX_NOTE_CHARS
from chimeway.spelling import did_you_mean
from chimeway.store import statements
from chimeway.store.call import Call, Row, known, one, uuid
from chimeway.store.text import storable

FeedbackAnswer: TypeAlias = Literal["recorded", "repeat", "unknown", "unsent", "busy"]
_KEYS: Final = ("id", "delivery_id", "provider_reference", "type", "at", "detail")


@dataclass(frozen=True, slots=True)
class FeedbackReceipt:
    """What became of one event.

    recorded: it is written down, and its delivery is what it says. repeat: it was told before. unknown: no
    such delivery (of this tenant). unsent: no provider was ever asked for it, so it cannot be true; nothing
    was written. busy: somebody has its run locked; only for those who did not want to wait.
    """

    event_id: str
    delivery_id: UUID | None
    answer: FeedbackAnswer


def record_one(
    tenant: str | None,
    delivery_id: UUID | str,
    kind: FeedbackKind,
    *,
    source: str,
    event_id: str,
    at: datetime | None,
    detail: str | None,
) -> Call[FeedbackReceipt]:
    """Ask for the record of one event."""
    given = {"id": event_id, "delivery_id": delivery_id, "type": kind, "at": at, "detail": detail}
    call = record_many(tenant, source, [given])
    return call.then(lambda receipts: receipts[0])


def record_many(
    tenant: str | None,
    source: str,
    events: Iterable[FeedbackEvent | Mapping[str, Any]],
    *,
    patient: bool = True,
) -> Call[tuple[FeedbackReceipt, ...]]:
    """Ask for the record of many events, all or none; receipts come in their order."""
    whose = checks.optional_identifier("tenant", tenant)
    by = checks.identifier("source", source)
    found = list(_written(events))
    if not found:
        return known(())
    return one(statements.record_feedback(by, found, whose, patient=patient), _receipts)


def _receipts(rows: Sequence[Row]) -> tuple[FeedbackReceipt, ...]:
    ordered = sorted(rows, key=lambda row: int(row["place"]))
    return tuple(
        FeedbackReceipt(
            row["event_id"], None if row["delivery_id"] is None else uuid(row["delivery_id"]), row["answer"]
        )
        for row in ordered
    )


def _written(events: Iterable[FeedbackEvent | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
        raise checks.refused("events", checks.quoted(events), "give a list of events")
    for place, each in enumerate(events):
        if place == MAX_FEEDBACK_EVENTS:
            hint = f"at most {MAX_FEEDBACK_EVENTS} in one call"
            raise checks.refused("events", f"a list of more than {MAX_FEEDBACK_EVENTS}", hint)
        path = f"events[{place}]"
        yield _event(path, _as_mapping(each) if isinstance(each, FeedbackEvent) else each)


def _as_mapping(event: FeedbackEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "delivery_id": event.delivery_id,
        "provider_reference": event.references or None,
        "type": event.kind,
        "at": event.at,
        "detail": event.detail,
    }


def _event(path: str, given: object) -> dict[str, Any]:
    """Return an event as the database takes it, or raise InvalidInput that names what is wrong."""
    if not isinstance(given, Mapping):
        raise checks.refused(path, checks.quoted(given), "give a FeedbackEvent, or a mapping of its parts")
    for key in given:
        if key not in _KEYS:
            near = did_you_mean(key, _KEYS) if isinstance(key, str) else ""
            raise checks.refused(
                f"a key in {path}", checks.quoted(key), f"known are {', '.join(_KEYS)}{near}"
            )
    if given.get("type") not in KINDS:
        hint = f"give one of {', '.join(KINDS)}"
        raise checks.refused(f"{path}.type", checks.quoted(given.get("type")), hint)
    delivery, at = given.get("delivery_id"), checks.instant(f"{path}.at", given.get("at"))
    references = _references(path, given.get("provider_reference"))
    if delivery is None and not references:
        raise checks.refused(f"{path}.delivery_id", "None", "give it, or provider_reference")
    return {
        "id": checks.identifier(f"{path}.id", given.get("id")),
        "delivery_id": None if delivery is None else str(checks.uuid(f"{path}.delivery_id", delivery)),
        "provider_reference": references or None,
        "type": given["type"],
        "at": None if at is None else at.isoformat(),
        "detail": _detail(path, given.get("detail")),
    }


def _references(path: str, given: object) -> list[str]:
    field = f"{path}.provider_reference"
    if given is None:
        return []
    listed = [given] if isinstance(given, str) else given
    if isinstance(listed, bytes | Mapping) or not isinstance(listed, Iterable):
        raise checks.refused(field, checks.quoted(given), "give a text, or a list of texts")
    texts = list(listed)
    for text in texts:
        if not isinstance(text, str) or not text:
            raise checks.refused(field, checks.quoted(text), "give a text, or a list of texts")
    return [storable(text) for text in texts]


def _detail(path: str, given: object) -> str | None:
    """Return free text, cut: it is the provider's, and nobody can make it shorter."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise checks.refused(f"{path}.detail", checks.quoted(given), "give a text")
    return storable(given[:MAX_NOTE_CHARS])
