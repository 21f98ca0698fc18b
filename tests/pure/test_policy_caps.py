"""Caps: how many sends count, until when a message is delayed, and when it is dropped."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chimeway.progression.policy import Asked, Cap, Preferences, Verdict, judge, merged, parse_preferences
from chimeway.workflow.durations import Duration

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def _cap(limit: int, per: str, then: str, channel: str = "email") -> dict[str, Any]:
    return {"channel": channel, "limit": limit, "per": per, "then": then}


def _judged(
    caps: Any, hours_ago: tuple[float, ...], *, tenant: Any = (), now: datetime = NOW, **more: Any
) -> Verdict:
    both = merged(
        parse_preferences({"caps": list(tenant)}), parse_preferences({} if caps is None else {"caps": caps})
    )
    sent = tuple(now - timedelta(hours=ago) for ago in hours_ago)
    return judge(both, Asked(**{"channel": "email", "workflow": "w", "sent": sent} | more), now)


def _in_hours(verdict: Verdict) -> float | None:
    return None if verdict.until is None else (verdict.until - NOW) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("caps", "sent", "answer"),
    [
        ([_cap(3, "PT24H", "delay")], (), "send"),
        ([_cap(3, "PT24H", "delay")], (5, 3), "send"),
        ([_cap(3, "PT24H", "delay")], (5, 3, 1), 19),  # the oldest of three leaves
        ([_cap(3, "PT24H", "delay")], (24, 3, 1), "send"),  # the oldest has just left
        ([_cap(3, "PT24H", "delay")], (23, 5, 3, 1), 19),  # one more than allowed (it was critical)
        ([_cap(1, "PT1H", "delay")], (0,), 1),
        ([_cap(1, "PT1H", "delay")], (-0.5,), 1.5),  # another node's clock is ahead
        ([_cap(3, "PT24H", "drop")], (5, 3, 1), "drop"),
        ([_cap(3, "PT24H", "drop")], (25, 3, 1), "send"),
        ([_cap(3, "PT24H", "drop")], (24, 3, 1), "send"),
        ([_cap(2, "PT24H", "delay")], (1, 30, 3), 21),  # in any order
        ([_cap(1, "PT1H", "delay"), _cap(3, "PT24H", "delay")], (5, 3, 0.5), 19),  # the later of both
        ([_cap(1, "PT2H", "delay"), _cap(3, "PT24H", "drop")], (5, 3, 0.5), "drop"),
        # By the time the first cap has a place, so has the second: nothing is lost.
        ([_cap(1, "PT2H", "delay"), _cap(3, "PT24H", "drop")], (23, 3, 0.5), 1.5),
        ([_cap(1, "PT1H", "drop", "sms")], (0,), "send"),  # of another channel
        ({"channel": "email", "limit": 1, "per": "PT1H", "then": "drop"}, (0,), "drop"),  # one, no list
    ],
)  # fmt: skip
def test_caps(caps: Any, sent: tuple[float, ...], answer: float | str) -> None:
    """A send counts until it is `per` old; one that delays waits for a place, one that drops does not."""
    verdict = _judged(caps, sent)
    if isinstance(answer, str):
        expected = ("suppress", "cap") if answer == "drop" else ("send", None)
        assert (verdict.kind, verdict.reason, verdict.until) == (*expected, None)
    else:
        assert (verdict.kind, verdict.reason, _in_hours(verdict)) == ("defer", "cap", answer)
    assert verdict.counts == (
        sent != (0,) or caps[0]["channel"] == "email" if isinstance(caps, list) else True
    )


def test_days_are_those_of_the_recipient() -> None:
    """A cap of one a day counts from the same local time of the day before, on days of any length."""
    caps = [_cap(1, "P1D", "delay")]
    now = datetime(2026, 3, 29, 12, tzinfo=UTC)  # a day of 23 hours in London
    verdict = _judged(caps, (16,), now=now, zone="Europe/London")
    assert verdict.until == datetime(2026, 3, 29, 19, tzinfo=UTC)
    assert _judged(caps, (16,), now=now).until == datetime(2026, 3, 29, 20, tzinfo=UTC)


def test_the_recipients_caps_replace_the_tenants() -> None:
    """His own hold instead of the tenant's, also when he says that there are none."""
    tenant = [_cap(1, "PT24H", "drop")]
    assert _judged(None, (1,), tenant=tenant).kind == "suppress"
    assert _judged([_cap(2, "PT24H", "drop")], (1,), tenant=tenant).kind == "send"
    without = _judged([], (1,), tenant=tenant)
    assert (without.kind, without.counts, without.silent) == ("send", False, True)


def test_what_is_critical_counts_and_is_not_capped() -> None:
    """It goes in any case, and what others may still send is less."""
    verdict = _judged([_cap(1, "PT24H", "delay")], (1,), critical=True)
    assert (verdict.kind, verdict.counts) == ("send", True)
    assert verdict.inputs["otherwise"]["reason"] == "cap"


def test_the_inbox_may_be_capped_and_is_never_delayed() -> None:
    """A cap that drops holds for in_app; one that delays (from older data) does not."""
    hour = Duration(exact=timedelta(hours=1))
    delaying = Preferences(caps=(Cap("in_app", 1, hour, "PT1H", "delay", "caps"),))
    assert judge(delaying, Asked("in_app", "w", sent=(NOW,)), NOW).kind == "send"
    drop = _judged([_cap(1, "PT24H", "drop", "in_app")], (1,), channel="in_app")
    assert (drop.kind, drop.reason, drop.counts) == ("suppress", "cap", True)


def test_the_inputs_tell_what_was_counted() -> None:
    """Whose cap it was, how many sends it saw, when the oldest was, and when it will have a place."""
    verdict = _judged([_cap(2, "PT24H", "delay"), _cap(9, "P1W", "drop")], (30, 20, 2))
    assert [verdict.inputs["caps"], verdict.inputs["moves"]] == [
        [
            {"path": "caps[0]", "whose": "recipient", "limit": 2, "per": "PT24H", "then": "delay", "sent": 2,
             "oldest": "2026-11-26T16:00:00Z", "counted_at": "2026-11-27T12:00:00Z", "full": True,
             "free": "2026-11-27T16:00:00Z"},
            {"path": "caps[1]", "whose": "recipient", "limit": 9, "per": "P1W", "then": "drop", "sent": 3,
             "oldest": "2026-11-26T06:00:00Z", "counted_at": "2026-11-27T16:00:00Z", "full": False,
             "free": "2026-11-27T16:00:00Z"},
        ],
        [{"reason": "cap", "path": "caps[0]", "until": "2026-11-27T16:00:00Z"}],
    ]  # fmt: skip


def test_after_a_cap_the_hours_are_asked_again() -> None:
    """A place that comes free in the night is used in the morning."""
    both = merged(
        parse_preferences({"quiet_hours": {"from": "22:00", "to": "07:00"}}),
        parse_preferences({"caps": [_cap(1, "PT12H", "delay")]}),
    )
    verdict = judge(both, Asked("email", "w", sent=(NOW - timedelta(hours=1),)), NOW)
    assert (verdict.reason, verdict.until) == ("cap", datetime(2026, 11, 28, 7, tzinfo=UTC))
    assert [move["reason"] for move in verdict.inputs["moves"]] == ["cap", "quiet_hours"]
