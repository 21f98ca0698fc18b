"""Amazon SES by way of SNS: both of its formats, feedback notifications and event publishing.

Which delivery is meant stands in the original message's headers (event publishing sends them; for feedback
notifications it is a setting of the identity), or is found by the name that SES gave it when it took it:
`mail.messageId`, over SMTP as the answer `Ok <messageId>`.

A *transient* or *undetermined* bounce is two things. With a status of the receiving server, or a reason of
its own, SES has given up: `failed`. Without, it may be the answer of somebody who is on holiday: recorded,
and moves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.errors import InvalidInput
from chimeway.feedback import sns
from chimeway.feedback.event import FeedbackEvent, FeedbackKind
from chimeway.feedback.reading import (
    detail,
    event_id,
    instant,
    json_object,
    refuse,
    text,
    uuid,
    uuid_within,
)

_GIVEN_UP: Final = frozenset({"MailboxFull", "MessageTooLarge", "ContentRejected", "AttachmentRejected"})
_PLACES: Final[Mapping[str, str]] = {
    "Bounce": "bounce",
    "Complaint": "complaint",
    "Delivery": "delivery",
    "DeliveryDelay": "deliveryDelay",
    "Reject": "reject",
    "Rendering Failure": "failure",
}
"""Type of an event → where what it says stands. Others (Send, Open, Click, ...) say nothing of delivery."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """SNS asks whether it may send: whoever wants it fetches `url` once, and follows no redirect."""

    topic: str
    url: str


@dataclass(frozen=True, slots=True)
class AmazonSes:
    """Reads what SNS sends for these topics (their ARNs); each other topic is refused."""

    topics: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse to listen to every topic there is: anybody can make one."""
        if not self.topics or isinstance(self.topics, str):
            raise InvalidInput("topics is no list of ARNs: give at least one", field="topics")
        for topic in self.topics:
            if not topic.startswith("arn:aws"):
                raise InvalidInput("topics has what is no ARN, such as arn:aws:sns:...", field="topics")

    def certificate_url(self, body: bytes) -> str:
        """Return where the certificate lies that is to have signed this request; it is Amazon's.

        Raises:
            FeedbackRefused: it is no message of one of the topics, or names another place.
            InvalidInput: the body is no JSON.
        """
        return self._message(body).certificate_url

    def read(
        self, body: bytes, certificate: bytes, now: datetime
    ) -> tuple[FeedbackEvent, ...] | Subscription:
        """Return what a request tells, or that SNS wants a subscription confirmed.

        Args:
            body: the request's, as it came.
            certificate: what lies at `certificate_url`, in PEM.
            now: the time.

        Raises:
            FeedbackRefused: Amazon has not signed it, or it is of another topic.
            InvalidInput: it is signed, and not what SES sends.
            MissingExtra: the package that knows certificates is not installed.
        """
        message = self._message(body)
        sns.check(message, certificate, now)
        if message.type == "SubscriptionConfirmation" and message.subscribe_url is not None:
            return Subscription(message.topic, message.subscribe_url)
        return _events(message) if message.type == "Notification" else ()

    def _message(self, body: bytes) -> sns.SnsMessage:
        message = sns.message_of(body)
        if message.topic not in self.topics:
            raise refuse("the topic is none of those set up")
        return message


def _events(message: sns.SnsMessage) -> tuple[FeedbackEvent, ...]:
    try:
        told = json_object(message.message.encode("utf-8", "replace"), "Message")
    except InvalidInput:
        return ()  # a greeting: SES tries a topic with a sentence when it is set up
    name = told.get("eventType") or told.get("notificationType")
    place = _PLACES.get(str(name))
    if place is None:
        return ()
    found, mail = told.get(place), told.get("mail")
    if not isinstance(found, dict) or not isinstance(mail, dict):
        raise InvalidInput(f"a message of type {name} without {place} and mail", field="Message")
    delivery, references = _delivery(mail), _references(mail)
    if delivery is None and not references:
        return ()
    kind, said = _meaning(str(name), found)
    at = instant(found.get("timestamp")) or instant(mail.get("timestamp"))
    event = FeedbackEvent(event_id(message.message_id), kind, delivery, references, at, said)
    return (event,)


def _meaning(name: str, found: Mapping[str, Any]) -> tuple[FeedbackKind, str | None]:
    match name:
        case "Delivery":
            return "delivered", detail(found.get("smtpResponse"))
        case "Bounce":
            return _bounce(found)
        case "Complaint" if found.get("complaintSubType") == "OnAccountSuppressionList":
            return "failed", detail("OnAccountSuppressionList")  # SES sent nothing
        case "Complaint":
            return "complained", detail(found.get("complaintFeedbackType"))
        case "DeliveryDelay":
            return "deferred", detail(found.get("delayType"))
        case _:  # Reject, Rendering Failure: it never left
            return "failed", detail(name, found.get("reason"), found.get("errorMessage"))


def _bounce(found: Mapping[str, Any]) -> tuple[FeedbackKind, str | None]:
    kind, subtype = found.get("bounceType"), found.get("bounceSubType")
    listed = found.get("bouncedRecipients")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    said = detail(kind, subtype, first.get("diagnosticCode"))
    if kind == "Permanent":
        return "bounced", said
    given_up = subtype in _GIVEN_UP or str(first.get("action")).lower() == "failed"
    return "failed" if given_up else "deferred", said


def _delivery(mail: Mapping[str, Any]) -> UUID | None:
    """Return the delivery that the original message's headers name."""
    listed = mail.get("headers")
    headers = {
        str(each.get("name")).lower(): each.get("value")
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
    }
    return uuid(headers.get("x-chimeway-delivery")) or uuid_within(headers.get("message-id"))


def _references(mail: Mapping[str, Any]) -> tuple[str, ...]:
    name = text(mail.get("messageId"))
    return () if name is None else (name, f"Ok {name}")
