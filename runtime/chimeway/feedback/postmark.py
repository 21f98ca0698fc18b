"""Postmark's webhooks: Delivery, Bounce, SpamComplaint, SubscriptionChange; others are ignored.

Postmark signs nothing. It sends what its settings say: a user and a password in the URL (basic auth), or a
header of one's own with a secret. One of the two is needed here; its addresses should be let in by the
firewall alone, too.

Which delivery is meant stands in the metadata that was sent along (`chimeway-delivery`, by the header
`X-PM-Metadata-chimeway-delivery`), in the bounced message if Postmark includes it, or is found by its
MessageID where a channel that uses Postmark's API gave it as `Sent.provider_reference`.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.errors import InvalidInput
from chimeway.feedback.event import FeedbackEvent, FeedbackKind
from chimeway.feedback.reading import (
    by_name,
    detail,
    event_id,
    instant,
    json_object,
    refuse,
    text,
    uuid,
    uuid_within,
)
from chimeway.signatures import from_base64

METADATA: Final = "chimeway-delivery"
"""The metadata key that bears the delivery's id."""

_BOUNCES: Final[Mapping[str, FeedbackKind | None]] = {
    "HardBounce": "bounced",
    "BadEmailAddress": "bounced",
    "SoftBounce": "failed",  # after Postmark's own retries: it has given up
    "Blocked": "failed",
    "DMARCPolicy": "failed",
    "SpamNotification": "failed",
    "VirusNotification": "failed",
    "ManuallyDeactivated": "failed",
    "SMTPApiError": "failed",
    "TemplateRenderingFailed": "failed",
    "SpamComplaint": "complained",
    "Transient": "deferred",  # it is still trying
    "DnsError": "deferred",  # "a temporary DNS error"
    # answers of people and machines, and what says nothing of this message
    "AutoResponder": None,
    "AddressChange": None,
    "ChallengeVerification": None,
    "Subscribe": None,
    "Unsubscribe": None,
    "OpenRelayTest": None,
    "Unconfirmed": None,
    "InboundError": None,
}
"""Bounce's `Type` → what it says of the delivery. One that is not here is recorded and moves nothing."""
_SUPPRESSIONS: Final[Mapping[str, FeedbackKind]] = {"HardBounce": "bounced", "SpamComplaint": "complained"}
"""SubscriptionChange's `SuppressionReason`: the only word on bounces in broadcast streams."""


@dataclass(frozen=True, slots=True)
class Postmark:
    """Reads Postmark's webhooks, from whoever knows `user` and `password`, or the `secret` in `header`."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    header: str | None = None
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse to be open to everybody."""
        if not (self.user and self.password) and not (self.header and self.secret):
            hint = "give user and password, or header and secret"
            raise InvalidInput(f"anybody could tell what they like: {hint}", field="password", hint=hint)

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> tuple[FeedbackEvent, ...]:
        """Return what a request tells; nothing for what says nothing of deliveries.

        Raises:
            FeedbackRefused: neither password nor secret is right.
            InvalidInput: the body is not what Postmark sends.
        """
        del now  # nothing of it is signed, so nothing of it can be too old
        if not self._known(by_name(headers)):
            raise refuse("user and password, or the secret, are missing or wrong")
        told = json_object(body)
        kind, at, said = _meaning(told)
        delivery, reference = _delivery(told), text(told.get("MessageID"))
        if kind is None or (delivery is None and reference is None):
            return ()
        references = () if reference is None else (reference,)
        return (FeedbackEvent(_name(told), kind, delivery, references, at, said),)

    def _known(self, headers: Mapping[str, str]) -> bool:
        """Compare all that is set up, whichever is right."""
        by_password = by_secret = False
        if self.user and self.password:
            given = _basic(headers.get("authorization", ""))
            by_password = hmac.compare_digest(f"{self.user}:{self.password}".encode(), given)
        if self.header and self.secret:
            given = headers.get(self.header.lower(), "").encode("utf-8", "replace")
            by_secret = hmac.compare_digest(self.secret.encode(), given)
        return by_password or by_secret


def _basic(header: str) -> bytes:
    scheme, _, encoded = header.partition(" ")
    return (from_base64(encoded.strip()) or b"") if scheme.lower() == "basic" else b""


def _meaning(told: Mapping[str, Any]) -> tuple[FeedbackKind | None, datetime | None, str | None]:
    match told.get("RecordType"):
        case "Delivery":
            return "delivered", instant(told.get("DeliveredAt")), detail(told.get("Details"))
        case "Bounce":
            word = str(told.get("Type"))
            said = detail(word, told.get("Description"), told.get("Details"))
            return _BOUNCES.get(word, "deferred"), instant(told.get("BouncedAt")), said
        case "SpamComplaint":
            return "complained", instant(told.get("BouncedAt")), detail("SpamComplaint", told.get("Details"))
        case "SubscriptionChange" if told.get("SuppressSending") is True:
            reason = str(told.get("SuppressionReason"))
            return _SUPPRESSIONS.get(reason), instant(told.get("ChangedAt")), detail(reason)
        case _:
            return None, None, None


def _name(told: Mapping[str, Any]) -> str:
    """Return a name that is the same whenever Postmark sends this again: bounces have one of their own."""
    record = told.get("RecordType")
    if told.get("ID") is not None:
        return event_id(record, told["ID"])
    return event_id(record, told.get("MessageID"), told.get("DeliveredAt") or told.get("ChangedAt"))


def _delivery(told: Mapping[str, Any]) -> UUID | None:
    metadata = told.get("Metadata")
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if key.lower().replace("_", "-") == METADATA and (found := uuid(value)):
                return found
    return uuid_within(told.get("Content"))
