"""Quiet hours and send windows: until when a message is put off, also where clocks change."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from chimeway.progression.policy import Asked, Verdict, judge, merged, parse_preferences, read_preferences
from chimeway.workflow.calendar import DAYS, WorkingCalendar, parse_local_time
from chimeway.workflow.definition import Hours

ZONES = (
    "Europe/London",
    "America/New_York",
    "America/Santiago",  # midnight is skipped
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",  # back for a month
    "Asia/Beirut",  # midnight is skipped, and repeated
    "Pacific/Auckland",
    "Asia/Kathmandu",  # never changes
)
_MINUTE = timedelta(minutes=1)
_NIGHT = {"from": "22:00", "to": "07:00"}


def _judged(
    preferences: Any, now: str | datetime, *, zone: str = "Europe/London", channel: str = "email", **more: Any
) -> Verdict:
    at = now if isinstance(now, datetime) else datetime.fromisoformat(now)
    both = merged(read_preferences({}), parse_preferences(preferences))
    return judge(both, Asked(channel, "w", zone=zone, **more), at)


def _until(verdict: Verdict) -> str | None:
    return None if verdict.until is None else verdict.until.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (_NIGHT, "2026-11-27T21:59:59Z", None),
        (_NIGHT, "2026-11-27T22:00:00Z", "2026-11-28T07:00:00Z"),
        (_NIGHT, "2026-11-28T06:59:59Z", "2026-11-28T07:00:00Z"),
        (_NIGHT, "2026-11-28T07:00:00Z", None),
        ({**_NIGHT, "days": ["fri"]}, "2026-11-28T03:00:00Z", "2026-11-28T07:00:00Z"),  # begun on Friday
        ({**_NIGHT, "days": ["fri"]}, "2026-11-27T03:00:00Z", None),  # begun on Thursday
        ({**_NIGHT, "channels": ["sms"]}, "2026-11-27T23:00:00Z", None),
        ({**_NIGHT, "channels": ["sms", "email"]}, "2026-11-27T23:00:00Z", "2026-11-28T07:00:00Z"),
        ({"from": "00:00", "to": "24:00", "days": ["sat", "sun"]},
         "2026-11-28T12:00Z", "2026-11-30T00:00:00Z"),
        ([_NIGHT, {"from": "07:00", "to": "09:00", "days": ["sat"]}],
         "2026-11-27T23:00Z", "2026-11-28T09:00:00Z"),
        ([], "2026-11-27T23:00:00Z", None),
        (_NIGHT, "2026-03-28T23:00:00Z", "2026-03-29T06:00:00Z"),  # a night of eight hours
        (_NIGHT, "2026-10-24T21:30:00Z", "2026-10-25T07:00:00Z"),  # and one of ten
    ],
)  # fmt: skip
def test_quiet_hours(hours: Any, now: str, until: str | None) -> None:
    """They hold from their first instant until before their end, on the days on which they begin."""
    verdict = _judged({"quiet_hours": hours}, now)
    assert _until(verdict) == until
    assert (verdict.kind, verdict.reason) == (("defer", "quiet_hours") if until else ("send", None))


def test_the_inbox_is_never_quiet() -> None:
    """What is in_app disturbs nobody, and waits for no hour."""
    verdict = _judged({"quiet_hours": _NIGHT}, "2026-11-27T23:00:00Z", channel="in_app")
    assert (verdict.kind, verdict.silent) == ("send", True)


def test_what_is_critical_disturbs() -> None:
    """Quiet hours do not hold it back, and the inputs say until when they would have."""
    verdict = _judged({"quiet_hours": _NIGHT}, "2026-11-27T23:00:00Z", critical=True)
    assert verdict.kind == "send"
    told = {"verdict": "defer", "reason": "quiet_hours", "until": "2026-11-28T07:00:00Z"}
    assert verdict.inputs["otherwise"] == told
    by_day = _judged({"quiet_hours": _NIGHT}, "2026-11-27T12:00:00Z", critical=True)
    assert "otherwise" not in by_day.inputs


def test_the_recipients_hours_replace_the_tenants() -> None:
    """His own hold instead, also when he says that there are none."""
    tenant = read_preferences({"quiet_hours": _NIGHT})
    at = datetime(2026, 11, 27, 23, tzinfo=UTC)
    for mine, kind in (
        ({}, "defer"),
        ({"quiet_hours": []}, "send"),
        ({"quiet_hours": {"from": "12:00", "to": "13:00"}}, "send"),
    ):
        assert judge(merged(tenant, read_preferences(mine)), Asked("email", "w"), at).kind == kind


def test_a_zone_that_is_not_known_counts_as_utc() -> None:
    """A row may name a zone that this machine lacks: that must not hold anybody's message for ever."""
    verdict = _judged({"quiet_hours": _NIGHT}, "2026-11-27T23:00:00Z", zone="Mars/Olympus")
    assert _until(verdict) == "2026-11-28T07:00:00Z"
    assert verdict.inputs["zone"] == "UTC"


def test_the_end_of_the_calendar_is_no_error() -> None:
    """Where no instant can be reckoned any more hours hold nothing, and a window does not open."""
    last = datetime(9999, 12, 31, 12, tzinfo=UTC)
    assert _judged({"quiet_hours": _NIGHT}, last).kind == "send"
    assert _judged({}, last, send_window=_window("13:00", "14:00")).kind == "suppress"


def test_the_inputs_tell_the_hours() -> None:
    """Which hours, whose, by whose clock, and how the instant came about."""
    mine = {"quiet_hours": [{**_NIGHT, "days": ["mon"]}, {"from": "12:00", "to": "14:00"}]}
    verdict = _judged(mine, "2026-11-27T12:30:00Z")
    assert verdict.inputs == {
        "workflow": "w",
        "channel": "email",
        "zone": "Europe/London",
        "quiet_hours": [
            {"path": "quiet_hours[0]", "whose": "recipient", "from": "22:00", "to": "07:00", "days": ["mon"],
             "holds": False},
            {"path": "quiet_hours[1]", "whose": "recipient", "from": "12:00", "to": "14:00", "holds": True},
        ],
        "moves": [{"reason": "quiet_hours", "path": "quiet_hours[1]", "until": "2026-11-27T14:00:00Z"}],
    }  # fmt: skip


# ── where clocks change: against a scan of every minute ──


@cache
def _changes(zone: str) -> tuple[datetime, ...]:
    """Return the hours of 2026 and 2027 in which clocks of a zone change, found by looking at each."""
    place = ZoneInfo(zone)
    at, found = datetime(2026, 1, 1, tzinfo=UTC), []
    while at.year < 2028:
        later = at + timedelta(hours=1)
        if at.astimezone(place).utcoffset() != later.astimezone(place).utcoffset():
            found.append(at)
        at = later
    return tuple(found)


@cache
def _clocks(zone: str, around: datetime) -> dict[str, datetime]:
    """Return for each minute that clocks show, some days around, the last instant at which they show it."""
    place, shown = ZoneInfo(zone), {}
    at = around - timedelta(days=4)
    while at < around + timedelta(days=4):
        shown[at.astimezone(place).strftime("%Y-%m-%dT%H:%M")] = at
        at += _MINUTE
    return shown


def _instant(zone: str, around: datetime, local: datetime) -> datetime:
    """Return when clocks show a local time last, or, where they skip it, the first instant after."""
    shown = _clocks(zone, around)
    while (found := shown.get(local.strftime("%Y-%m-%dT%H:%M"))) is None:
        local += _MINUTE
    return found


def _spans(zone: str, around: datetime, hours: dict[str, Any]) -> Iterator[tuple[datetime, datetime]]:
    noon = around.astimezone(ZoneInfo(zone)).replace(hour=12, minute=0, tzinfo=None)
    for ahead in range(-2, 3):
        day = noon + timedelta(days=ahead)
        if DAYS[day.weekday()] in hours.get("days", DAYS):
            start, end = (
                day.replace(hour=int(hours[key][:2]) % 24, minute=int(hours[key][3:]))
                for key in ("from", "to")
            )
            end += timedelta(days=1 if end <= start or hours["to"] == "24:00" else 0)
            yield _instant(zone, around, start), _instant(zone, around, end)


@pytest.mark.parametrize("zone", ZONES)
def test_hours_where_clocks_change(zone: str) -> None:
    """On every change of 2026 and 2027 a message waits exactly as long as a scan of the minutes says."""
    quiet = (
        {"from": "22:00", "to": "07:00"},
        {"from": "00:00", "to": "02:30"},
        {"from": "02:30", "to": "24:00", "days": ["sat", "sun"]},
        {"from": "01:30", "to": "00:15"},
    )
    changes = _changes(zone)
    assert bool(changes) == (zone != "Asia/Kathmandu")
    for around in changes or (datetime(2026, 3, 29, 1, tzinfo=UTC),):
        for hours in quiet:
            spans = list(_spans(zone, around, hours))
            for ahead in range(-26 * 60, 26 * 60, 67):
                now = around + ahead * _MINUTE
                expected = now
                for start, end in spans:  # in order of their days
                    if start <= expected < end:
                        expected = end
                verdict = _judged({"quiet_hours": hours}, now, zone=zone)
                assert (verdict.until or now) == expected, (now, hours)


# ── send windows, and both together ──


def _window(start: str, end: str, days: tuple[str, ...] = DAYS) -> Hours:
    return Hours(parse_local_time(start), parse_local_time(end, closing=True), frozenset(days))


@pytest.mark.parametrize(
    ("quiet", "window", "now", "until", "reason"),
    [
        ([], ("09:00", "17:00"), "2026-11-27T12:00Z", None, None),
        ([], ("09:00", "17:00"), "2026-11-27T17:00Z", "2026-11-28T09:00:00Z", "send_window"),
        ([], ("09:00", "17:00", ("mon",)), "2026-11-27T12:00Z", "2026-11-30T09:00:00Z", "send_window"),
        (_NIGHT, ("09:00", "17:00"), "2026-11-27T23:00Z", "2026-11-28T09:00:00Z", "quiet_hours"),
        (_NIGHT, ("06:00", "17:00"), "2026-11-27T18:00Z", "2026-11-28T07:00:00Z", "send_window"),
        # Handed to and fro: quiet until five, when the window closes; it opens while it is quiet again.
        ([{"from": "09:00", "to": "17:00", "days": ["fri", "sat"]}], ("09:00", "17:00"),
         "2026-11-27T12:00Z", "2026-11-29T09:00:00Z", "quiet_hours"),
        ([{"from": "09:00", "to": "17:00"}], ("09:00", "17:30"),
         "2026-11-27T12:00Z", "2026-11-27T17:00:00Z", "quiet_hours"),
    ],
)  # fmt: skip
def test_both_must_allow(quiet: Any, window: Any, now: str, until: str | None, reason: str | None) -> None:
    """A message waits for the first instant at which all hours allow it; the reason is why not now."""
    verdict = _judged({"quiet_hours": quiet}, now, send_window=_window(*window))
    assert (_until(verdict), verdict.reason) == (until, reason)
    assert not verdict.silent


def test_working_days_are_the_tenants() -> None:
    """A window on working days opens on those of the tenant's calendar, and on no holiday of it."""
    nine, five = parse_local_time("09:00"), parse_local_time("17:00")
    working = WorkingCalendar(frozenset({"sun", "mon"}), frozenset({date(2026, 11, 29)}))
    verdict = _judged({}, "2026-11-27T12:00Z", send_window=Hours(nine, five, "working_days"), working=working)
    assert (_until(verdict), verdict.reason) == ("2026-11-30T09:00:00Z", "send_window")
    assert verdict.inputs["send_window"] == {
        "from": "09:00", "to": "17:00", "days": ["mon", "sun"], "on": "working_days",
        "holidays": 1, "open": False,
    }  # fmt: skip


@pytest.mark.parametrize("now", ["2026-11-27T12:00Z", "2026-11-27T20:00Z"])
@pytest.mark.parametrize(
    "quiet",
    [
        [{"from": "09:00", "to": "17:00"}],
        [{"from": "08:00", "to": "12:00"}, {"from": "12:00", "to": "18:00"}],
        [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}],
        [{"from": "09:00", "to": "17:00", "days": [day]} for day in DAYS],
    ],
)
def test_hours_that_exclude_each_other_suppress(quiet: Any, now: str) -> None:
    """What no hours will ever allow is not held for ever; the inputs say that there is no instant."""
    verdict = _judged({"quiet_hours": quiet}, now, send_window=_window("09:00", "17:00"))
    assert (verdict.kind, verdict.until) == ("suppress", None)
    assert verdict.reason in ("quiet_hours", "send_window")
    assert verdict.inputs["never"] is True
    assert len(verdict.inputs["moves"]) <= 8


def test_what_is_critical_keeps_its_own_window() -> None:
    """Only the step's window holds it: that is how the workflow itself wants it."""
    window = _window("09:00", "17:00")
    mine = {"quiet_hours": {"from": "09:00", "to": "17:00"}, "channels": {"email": False}}
    inside = _judged(mine, "2026-11-27T12:00Z", critical=True, send_window=window)
    assert inside.kind == "send"
    outside = _judged(mine, "2026-11-27T18:00Z", critical=True, send_window=window)
    assert (_until(outside), outside.reason) == ("2026-11-28T09:00:00Z", "send_window")
