"""Postmark's webhooks: who sends them, and what each kind says of a delivery."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from chimeway.errors import FeedbackRefused, InvalidInput
from chimeway.feedback import FeedbackEvent, Postmark

NOW: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
DELIVERY: Final = UUID("019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21")
NAME: Final = "883953f4-6105-42a2-a16a-77a8eac79483"
SOURCE: Final = Postmark("chimeway", "päss")
HEADERS: Final = {"Authorization": "Basic " + base64.b64encode("chimeway:päss".encode()).decode()}
BOUNCE: Final[dict[str, Any]] = {
    "RecordType": "Bounce", "ID": 692560173, "Type": "HardBounce", "TypeCode": 1, "MessageID": NAME,
    "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
    "Details": "550 5.1.1 unknown", "Email": "ada@example.org", "BouncedAt": "2026-01-05T08:59:30.5100000Z",
    "Metadata": {"chimeway-delivery": str(DELIVERY)},
}  # fmt: skip
DELIVERED: Final[dict[str, Any]] = {
    "RecordType": "Delivery", "MessageID": NAME, "Recipient": "ada@example.org",
    "DeliveredAt": "2026-01-05T08:59:30Z", "Details": "250 2.0.0 OK",
    "Metadata": {"chimeway-delivery": str(DELIVERY)},
}  # fmt: skip
COMPLAINT: Final[dict[str, Any]] = BOUNCE | {"RecordType": "SpamComplaint", "Type": "SpamComplaint"}
SUPPRESSED: Final[dict[str, Any]] = {
    "RecordType": "SubscriptionChange", "MessageID": NAME, "ChangedAt": "2026-01-05T08:59:30Z",
    "SuppressSending": True, "SuppressionReason": "HardBounce",
    "Metadata": {"chimeway_delivery": str(DELIVERY)},
}  # fmt: skip


def read(told: dict[str, Any]) -> tuple[FeedbackEvent, ...]:
    """Read what Postmark tells."""
    return SOURCE.read(HEADERS, json.dumps(told).encode(), NOW)


@pytest.mark.parametrize(
    ("told", "kind", "name"),
    [
        (DELIVERED, "delivered", f"Delivery:{NAME}:2026-01-05T08:59:30Z"),
        (BOUNCE, "bounced", "Bounce:692560173"),
        (BOUNCE | {"Type": "BadEmailAddress"}, "bounced", "Bounce:692560173"),
        (BOUNCE | {"Type": "SoftBounce"}, "failed", "Bounce:692560173"),
        (BOUNCE | {"Type": "Blocked"}, "failed", "Bounce:692560173"),
        (BOUNCE | {"Type": "Transient"}, "deferred", "Bounce:692560173"),
        (BOUNCE | {"Type": "DnsError"}, "deferred", "Bounce:692560173"),
        (BOUNCE | {"Type": "SpamComplaint"}, "complained", "Bounce:692560173"),
        (BOUNCE | {"Type": "WhoKnows"}, "deferred", "Bounce:692560173"),
        (COMPLAINT, "complained", "SpamComplaint:692560173"),
        (SUPPRESSED, "bounced", f"SubscriptionChange:{NAME}:2026-01-05T08:59:30Z"),
    ],
)
def test_each_record_says_one_thing(told: dict[str, Any], kind: str, name: str) -> None:
    """Kind and name follow from the record, the delivery from the metadata, the reference is MessageID."""
    (event,) = read(told)
    assert (event.kind, event.id) == (kind, name)
    assert (event.delivery_id, event.references) == (DELIVERY, (NAME,))
    assert event.at is not None
    assert (event.at.hour, event.at.minute, event.at.second) == (8, 59, 30)


@pytest.mark.parametrize(
    "told",
    [
        {"RecordType": "Open", "MessageID": NAME},
        {"RecordType": "Click"},
        {"RecordType": ["Bounce"]},
        {},
        BOUNCE | {"Type": "AutoResponder"},
        BOUNCE | {"Type": "ChallengeVerification"},
        SUPPRESSED | {"SuppressSending": False},
        SUPPRESSED | {"SuppressionReason": "ManualSuppression"},
        BOUNCE | {"Metadata": {}, "MessageID": None},
        SUPPRESSED | {"Metadata": {}, "MessageID": None},
    ],
)
def test_what_says_nothing_of_deliveries_is_ignored(told: dict[str, Any]) -> None:
    """Opens, clicks and people's automatic answers give no event, and are no error."""
    assert read(told) == ()


@pytest.mark.parametrize("content", ["X-Chimeway-Delivery: {0}\r\n", "Message-ID: <{0}@chimeway>\r\nTo: a"])
def test_the_bounced_message_names_its_delivery(content: str) -> None:
    """Without metadata the header or the Message-ID in the bounced message does."""
    told = BOUNCE | {"Metadata": {}, "Content": f"Return-Path: <>\r\n{content.format(DELIVERY)}"}
    assert read(told)[0].delivery_id == DELIVERY


def test_metadata_of_others_is_nobodys_delivery() -> None:
    """What is no UUID is passed over; the reference is left to find it by."""
    (event,) = read(BOUNCE | {"Metadata": {"chimeway-delivery": "7", "delivery": str(DELIVERY)}})
    assert (event.delivery_id, event.references) == (None, (NAME,))


def test_an_event_without_a_name_is_refused() -> None:
    """Without id and MessageID nobody could know the event again."""
    with pytest.raises(InvalidInput, match="no id"):
        read({name: DELIVERED[name] for name in ("RecordType", "DeliveredAt", "Metadata")})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer chimeway"},
        {"Authorization": "Basic ?"},
        {"Authorization": "Basic " + base64.b64encode(b"chimeway:pass").decode()},
        {"Authorization": "Basic " + base64.b64encode(b":").decode()},
        {"X-Secret": "x"},
    ],
)
def test_strangers_are_refused(headers: dict[str, str]) -> None:
    """Without the right user and password nothing is read."""
    with pytest.raises(FeedbackRefused, match="missing or wrong"):
        SOURCE.read(headers, json.dumps(BOUNCE).encode(), NOW)


def test_a_secret_header_will_do() -> None:
    """A header of one's own with a secret opens as well."""
    source = Postmark(header="X-Secret", secret="hush")
    assert source.read({"x-secret": "hush"}, json.dumps(BOUNCE).encode(), NOW)
    with pytest.raises(FeedbackRefused):
        source.read({"x-secret": ""}, json.dumps(BOUNCE).encode(), NOW)


@pytest.mark.parametrize("given", [{}, {"user": "u"}, {"user": "u", "password": ""}, {"secret": "s"}])
def test_a_source_without_secret_is_refused(given: dict[str, str]) -> None:
    """Nobody can set it up so that anybody may tell."""
    with pytest.raises(InvalidInput, match="anybody could tell"):
        Postmark(**given)
