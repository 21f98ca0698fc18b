"""What a channel may answer, how it is classified, and the channel that only writes a line."""

from typing import Self

import pytest
from structlog.testing import capture_logs

from chimeway.clock import SystemClock
from chimeway.delivery.channel import (
    RETRIED,
    Bounced,
    Channel,
    ConfigurationFailure,
    ErrorClass,
    Message,
    PermanentFailure,
    RateLimited,
    SendFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
    checked,
    classify,
    needs_address,
    opened,
    retry_after,
)
from chimeway.delivery.channels.log import LogChannel, Options, build
from chimeway.log import EVENTS

MESSAGE = Message(
    delivery_id="d1",
    run_id="r1",
    tenant_id="org_456",
    recipient_id="user_123",
    channel="log",
    address=None,
    subject="S",
    body="<p>B</p>",
    text="B",
)


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (TransientFailure(), "transient"),
        (ConnectionRefusedError(), "transient"),
        (ConnectionResetError(), "unknown"),
        (BrokenPipeError(), "unknown"),
        (ConnectionAbortedError(), "unknown"),
        (OSError(), "transient"),
        (TimeoutError(), "timeout"),
        (RateLimited(30.0), "rate_limited"),
        (UnknownOutcome(), "unknown"),
        (SendFailure(), "unknown"),
        (KeyError("id"), "unknown"),
        (PermanentFailure(), "permanent"),
        (ConfigurationFailure(), "configuration"),
        (Bounced("no such user", smtp_code=550), "bounced"),
    ],
)
def test_classification(error: Exception, error_class: ErrorClass) -> None:
    """Whatever a channel raises has one error class."""
    assert classify(error) == error_class


def test_what_is_tried_again() -> None:
    """Four classes are tried again, and no other."""
    assert set(RETRIED) == {"transient", "timeout", "rate_limited", "unknown"}


def test_rate_limit_bears_the_wait() -> None:
    """A provider's Retry-After goes along; it may have named none."""
    assert RateLimited(2.5).retry_after == 2.5
    assert RateLimited().retry_after is None
    assert RateLimited(2.5, "slower, please").message == "slower, please"


@pytest.mark.parametrize("answer", [None, "ok", 200, Sent])
def test_rubbish_is_unknown(answer: object) -> None:
    """An answer that is no `Sent` says nothing of whether the message went out."""
    with pytest.raises(UnknownOutcome):
        checked(answer)
    assert checked(Sent("x")) == Sent("x")


class Plain:
    """The least that a channel can be."""

    name = "plain"

    async def send(self, message: Message) -> Sent:
        """Send nothing."""
        return Sent(message.delivery_id)


class Entered(Plain):
    """A channel that wants to be opened and closed."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.seen: list[str] = []

    async def __aenter__(self) -> Self:
        """Note it."""
        self.seen.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Note it."""
        self.seen.append("closed")


async def test_opening_is_optional() -> None:
    """A channel is entered and left when it can be, and used as it is when not."""
    entered = Entered()
    channels: list[Channel] = [Plain(), entered]
    for channel in channels:
        async with opened(channel) as ready:
            assert await ready.send(MESSAGE) == Sent("d1")
    assert entered.seen == ["opened", "closed"]


def test_needs_an_address_unless_it_says_no() -> None:
    """A channel needs an address unless it says otherwise."""
    assert needs_address(Plain())
    assert not needs_address(LogChannel())


async def test_log_channel_writes_one_line() -> None:
    """The log channel succeeds, and its line has all that would have been sent."""
    with capture_logs() as lines:
        assert await LogChannel("sms").send(MESSAGE) == Sent()
    assert lines == [
        {
            "event": "delivery.logged",
            "log_level": "info",
            "delivery_id": "d1",
            "run_id": "r1",
            "tenant_id": "org_456",
            "recipient_id": "user_123",
            "channel": "log",
            "subject": "S",
            "body": "B",
        }
    ]
    assert lines[0]["event"] in EVENTS


async def test_log_channel_without_content() -> None:
    """Where people's messages may not be read, the line says only that there was one."""
    with capture_logs() as lines:
        assert await build(Options(content=False), "sms", SystemClock()).send(MESSAGE) == Sent()
    assert lines[0].keys() == {
        "event", "log_level", "delivery_id", "run_id", "tenant_id", "recipient_id", "channel",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (None, None), (0, 0), (2.5, 2.5), (31_536_000, 31_536_000), (float("inf"), float("inf")),
        (-5, None), (float("nan"), None), ("soon", None), (True, None),
    ],
)  # fmt: skip
def test_a_retry_after_that_is_rubbish_was_not_said(asked: object, seconds: float | None) -> None:
    """Only a number that is not negative is a time to wait, whoever says it."""
    assert retry_after(RateLimited(asked)) == seconds  # type: ignore[arg-type]
    assert retry_after(TransientFailure(retry_after=asked)) == seconds  # type: ignore[arg-type]
    assert retry_after(PermanentFailure(retry_after=asked)) is None
