"""Signed JSON: who may tell, and what may be told."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimeway.errors import FeedbackRefused, InvalidInput
from chimeway.feedback import AmazonSes, FeedbackEvent, Postmark, SignedWebhook
from chimeway.feedback.signed import sign

NOW: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER: Final = "whsec_" + "A" * 32
DELIVERY: Final = UUID("019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21")
EVENT: Final = {"id": "evt-1", "delivery_id": str(DELIVERY), "type": "bounced"}
BODY: Final = json.dumps({"events": [EVENT]}).encode()


def read(body: bytes = BODY, at: datetime = NOW, **changed: str) -> tuple[FeedbackEvent, ...]:
    """Sign a body, change some headers, and read it."""
    headers = sign(SECRET, "msg-1", at, body)
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return SignedWebhook([SECRET]).read({name.title(): value for name, value in headers.items()}, body, NOW)


def events(*given: Any) -> bytes:
    """Return a body of events."""
    return json.dumps({"events": given}).encode()


def test_what_is_signed_is_read() -> None:
    """A signed body gives its events, whatever the case of the headers."""
    assert read() == (FeedbackEvent("evt-1", "bounced", DELIVERY),)


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks' own documents is signed as there."""
    body = b'{"test": 2432232314}'
    headers = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"webhook_id": ""}, "not signed"),
        ({"webhook_id": "msg-2"}, "does not fit"),
        ({"webhook_timestamp": "soon"}, "no number of seconds"),
        ({"webhook_timestamp": "²"}, "no number of seconds"),
        ({"webhook_timestamp": "9" * 400}, "no number of seconds"),
        ({"webhook_timestamp": "1767603601"}, "does not fit"),
        ({"webhook_signature": ""}, "not signed"),
        ({"webhook_signature": "v1,"}, "does not fit"),
        ({"webhook_signature": "v1,Zm9v"}, "does not fit"),
        ({"webhook_signature": "v1,é"}, "does not fit"),
        ({"webhook_signature": "v0,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "does not fit"),
    ],
)
def test_what_is_not_signed_is_refused(changed: dict[str, str], why: str) -> None:
    """A header that is missing, wrong or none refuses the request, and nobody learns what would have fit."""
    with pytest.raises(FeedbackRefused, match=why):
        read(**changed)


def test_another_body_is_refused() -> None:
    """One byte more under the same signature is no longer what was signed."""
    with pytest.raises(FeedbackRefused, match="does not fit"):
        SignedWebhook([SECRET]).read(sign(SECRET, "m", NOW, BODY), BODY + b" ", NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_old_and_future_requests_are_refused(minutes: int) -> None:
    """Five minutes to either side are taken, six are not: what was overheard is of no use tomorrow."""
    assert read(at=NOW + timedelta(seconds=50 * minutes))
    with pytest.raises(FeedbackRefused, match="too old"):
        read(at=NOW + timedelta(minutes=minutes))


def test_a_secret_is_changed_without_a_gap() -> None:
    """Either of two secrets will do, and one of several signatures that fits."""
    both = SignedWebhook([OTHER, SECRET])
    assert both.read(sign(SECRET, "m", NOW, BODY), BODY, NOW)
    assert both.read(sign(OTHER, "m", NOW, BODY), BODY, NOW)
    two = sign(SECRET, "m", NOW, BODY)
    two["webhook-signature"] = (
        f"{sign(OTHER, 'm', NOW, BODY)['webhook-signature']} {two['webhook-signature']}"
    )
    assert SignedWebhook([SECRET]).read(two, BODY, NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_?", "whsec_c2hvcnQ=", "short"])
def test_a_weak_secret_is_refused_and_not_shown(secret: str) -> None:
    """A secret is at least 24 bytes in base64; the error names the field and not the value."""
    with pytest.raises(InvalidInput, match="secret") as refused:
        SignedWebhook([secret])
    assert not secret or secret not in str(refused.value).replace("whsec_ and", "")
    with pytest.raises(InvalidInput, match="at least one"):
        SignedWebhook([])


def test_secrets_are_not_printed() -> None:
    """Whoever prints a source sees no secret of it."""
    shown = repr(
        [SignedWebhook([SECRET]), Postmark("u", "pass-word"), Postmark(header="X", secret="hush-hush")]
    )
    assert not any(word in shown for word in (SECRET, "pass-word", "hush-hush"))


def test_an_event_is_read_whole() -> None:
    """Reference, moment and detail are taken; a detail is cut to what a row holds."""
    body = events(
        {"id": "1", "provider_reference": ["a", "Ok a"], "type": "failed", "at": "2026-01-05T10:00:00+01:00",
         "detail": "x\0" * 2_000},
        {"id": "2", "delivery_id": None, "provider_reference": "a", "type": "delivered"},
    )  # fmt: skip
    first, second = read(body)
    assert first == FeedbackEvent("1", "failed", None, ("a", "Ok a"), NOW, "x" * 1_000)
    assert second.references == ("a",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"{}", "body"),
        (b'{"events": {}}', "body"),
        (b'{"events": [], "more": 1}', "body"),
        (b'{"events": NaN}', "body"),
        (b"[" * 100_000, "body"),
        (b'{"events": "' + b"x" * 1_048_576 + b'"}', "body"),
        (events(*[EVENT] * 1_001), "events"),
        (events(7), "events[0]"),
        (events(EVENT | {"kind": "bounced"}), "events[0]"),
        (events(EVENT, EVENT | {"type": "opened"}), "events[1].type"),
        (events(EVENT | {"type": ["bounced"]}), "events[0].type"),
        (events(EVENT | {"id": ""}), "events[0].id"),
        (events(EVENT | {"id": 7}), "events[0].id"),
        (events(EVENT | {"id": "x" * 256}), "events[0].id"),
        (events(EVENT | {"delivery_id": "7"}), "events[0].delivery_id"),
        (events(EVENT | {"delivery_id": None}), "events[0].delivery_id"),
        (events(EVENT | {"provider_reference": ["a", 7]}), "events[0].delivery_id"),
        (events(EVENT | {"at": "soon"}), "events[0].at"),
        (events(EVENT | {"at": 7}), "events[0].at"),
    ],
)
def test_what_is_no_event_is_refused_by_its_path(body: bytes, field: str) -> None:
    """Every fault names its field; a typo is never passed over."""
    with pytest.raises(InvalidInput) as refused:
        read(body)
    assert refused.value.details["field"] == field


HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "webhook-id", "webhook-timestamp", "webhook-signature", "X-Secret"]),
    st.text(max_size=40),
)


@given(headers=HEADERS, body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.just(BODY))
def test_rubbish_is_refused_in_our_words(headers: dict[str, str], body: bytes) -> None:
    """Whatever bytes come, a source answers with events or with an error of ours."""
    sources = [
        lambda: SignedWebhook([SECRET]).read(headers, body, NOW),
        lambda: Postmark("u", "p", "X-Secret", "s").read(headers, body, NOW),
        lambda: Postmark(header="X-Secret", secret="s").read({**headers, "x-secret": "s"}, body, NOW),
        lambda: AmazonSes(["arn:aws:sns:eu-west-1:1:t"]).certificate_url(body),
    ]
    for source in sources:
        with suppress(FeedbackRefused, InvalidInput):
            source()
