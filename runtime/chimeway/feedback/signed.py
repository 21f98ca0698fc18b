"""Our own JSON, signed as Standard Webhooks says: for a channel of one's own, or a relay before it.

    POST, webhook-id, webhook-timestamp (seconds), webhook-signature ("v1,<base64>", several apart by blanks)

    {"events": [{"id": "evt-1", "delivery_id": "019b0a4e-...", "type": "bounced",
                 "at": "2026-01-05T09:00:00Z", "detail": "550 5.1.1 unknown"}]}

`provider_reference` (a text, or a list of texts) may stand in place of `delivery_id`. The signature is
HMAC-SHA256 over `id.timestamp.body`. An old request is refused, so that one that was overheard cannot be
sent again later; within the tolerance a repetition changes nothing, since each event counts once.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from chimeway.errors import InvalidInput
from chimeway.feedback.event import KINDS, FeedbackEvent
from chimeway.feedback.reading import by_name, detail, instant, json_object, refuse, text, uuid
from chimeway.limits import FEEDBACK_TOLERANCE_S, MAX_FEEDBACK_EVENTS, MAX_IDENTIFIER_CHARS
from chimeway.signatures import PREFIX, digest, from_base64, written
from chimeway.spelling import did_you_mean
from chimeway.workflow.problems import shown

_SIGNATURES: Final = 16
"""Signatures looked at in one request: senders that change their secret send two."""
_KEYS: Final = ("id", "delivery_id", "provider_reference", "type", "at", "detail")


def secret_of(given: str) -> bytes:
    """Return the key that a secret is (`whsec_` and base64); InvalidInput, which shows nothing, for none."""
    hint = f"give {PREFIX} and at least 24 bytes in base64"
    key = from_base64(given.removeprefix(PREFIX))
    if key is None:
        raise InvalidInput(f"secret is no base64: {hint}", field="secret", hint=hint)
    if len(key) < 24:
        raise InvalidInput(f"secret has {len(key)} bytes: {hint}", field="secret", hint=hint)
    return key


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """Reads signed JSON. Any of the secrets will do, so that one can be changed without a gap."""

    secrets: Sequence[str] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse secrets that are none."""
        if not self.secrets or isinstance(self.secrets, str):
            raise InvalidInput("secrets is no list of secrets: give at least one", field="secrets")
        for secret in self.secrets:
            secret_of(secret)

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> tuple[FeedbackEvent, ...]:
        """Return what a request tells.

        Raises:
            FeedbackRefused: the signature is missing, wrong or too old.
            InvalidInput: the body is not what it must be.
        """
        _check(by_name(headers), body, now, [secret_of(each) for each in self.secrets])
        return events_of(json_object(body))


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers under which a body is to be sent: what a sender does."""
    stamp = str(int(at.timestamp()))
    signature = written(digest(secret_of(secret), message_id, stamp, body))
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def _check(headers: Mapping[str, str], body: bytes, now: datetime, keys: Sequence[bytes]) -> None:
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ")[:_SIGNATURES]
    if not message_id or not stamp or given == [""]:
        raise refuse("the request is not signed")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise refuse("webhook-timestamp is no number of seconds")
    # All are compared, whichever fits: how long it takes says nothing. Each digest is made once, or sixteen
    # signatures of a stranger would cost as many megabytes.
    digests = [digest(key, message_id, stamp, body) for key in keys]
    fits = [hmac.compare_digest(ours, theirs) for ours in digests for theirs in map(_signature, given)]
    if not any(fits):
        raise refuse("the signature does not fit")
    if abs(now.astimezone(UTC).timestamp() - int(stamp)) > FEEDBACK_TOLERANCE_S:
        raise refuse("the request is too old, or from the future: its clock or ours is wrong")


def _signature(given: str) -> bytes:
    version, _, encoded = given.partition(",")
    return (from_base64(encoded) or b"") if version == "v1" else b""


def events_of(content: Mapping[str, Any]) -> tuple[FeedbackEvent, ...]:
    """Return the events of a body, or raise InvalidInput that names the first that is none."""
    given = content.get("events")
    if set(content) != {"events"} or not isinstance(given, list):
        raise InvalidInput('the body is no {"events": [...]}', field="body")
    if len(given) > MAX_FEEDBACK_EVENTS:
        raise InvalidInput(f"events is a list of {len(given)}: at most {MAX_FEEDBACK_EVENTS}", field="events")
    return tuple(_event(f"events[{place}]", each) for place, each in enumerate(given))


def _event(path: str, given: object) -> FeedbackEvent:
    if not isinstance(given, dict):
        raise InvalidInput(f"{path} is no object", field=path)
    for key in given:
        if key not in _KEYS:
            raise InvalidInput(
                f"{path} has the unknown key {shown(key)}{did_you_mean(key, _KEYS)}", field=path
            )
    kind, own = given.get("type"), text(given.get("id"))
    if kind not in KINDS:
        raise InvalidInput(
            f"{path}.type is {shown(kind)}: give one of {', '.join(KINDS)}", field=f"{path}.type"
        )
    if own is None or len(own) > MAX_IDENTIFIER_CHARS:
        hint = f"give a text of 1 to {MAX_IDENTIFIER_CHARS} characters, the same whenever it is sent"
        raise InvalidInput(f"{path}.id is no name: {hint}", field=f"{path}.id")
    delivery, references = _named(path, given)
    at = None if given.get("at") is None else instant(given["at"])
    if given.get("at") is not None and at is None:
        hint = "give RFC 3339 text, such as 2026-01-05T09:00:00Z"
        raise InvalidInput(f"{path}.at is no instant: {hint}", field=f"{path}.at")
    return FeedbackEvent(own, kind, delivery, references, at, detail(given.get("detail")))


def _named(path: str, given: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the delivery's id, or the references by which it may be known."""
    delivery = given.get("delivery_id")
    found = uuid(delivery)
    if delivery is not None and found is None:
        raise InvalidInput(f"{path}.delivery_id is no UUID", field=f"{path}.delivery_id")
    reference = given.get("provider_reference")
    listed = [] if reference is None else reference if isinstance(reference, list) else [reference]
    references = tuple(each for each in map(text, listed) if each)
    if len(references) != len(listed) or (found is None and not references):
        hint = "give it, or provider_reference: a text or a list of texts"
        raise InvalidInput(f"{path}.delivery_id is missing: {hint}", field=f"{path}.delivery_id")
    return found, references
