"""Any preferences, any message, any moment: what a verdict promises."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from chimeway.errors import InvalidInput
from chimeway.progression.policy import (
    NONE,
    Asked,
    Preferences,
    judge,
    merged,
    parse_preferences,
    read_preferences,
)
from chimeway.workflow.calendar import DAYS, parse_local_time
from chimeway.workflow.definition import Hours

_GRAIN = timedelta(minutes=30)
_START = datetime(2026, 10, 22, tzinfo=UTC)  # a few days before clocks change
_ZONES = st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Tokyo"])
_TIMES = st.integers(0, 47).map(lambda half: f"{half // 2:02}:{half % 2 * 30:02}")
_days = st.sets(st.sampled_from(DAYS), min_size=1).map(sorted)
_moments = st.integers(0, 8 * 48).map(lambda halves: _START + halves * _GRAIN)
_channels = st.lists(st.sampled_from(["email", "sms"]), min_size=1, max_size=2)
_hours = st.fixed_dictionaries(
    {"from": _TIMES, "to": _TIMES}, optional={"days": _days, "channels": _channels}
)
_caps = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(["email", "sms"]),
        "limit": st.integers(1, 3),
        "per": st.integers(1, 80).map(lambda halves: f"PT{halves * 30}M"),
        "then": st.sampled_from(["delay", "drop"]),
    }
)
_words = st.dictionaries(st.sampled_from(["email", "sms"]), st.booleans(), max_size=2)
_topics = st.dictionaries(st.sampled_from(["t", "u"]), st.booleans() | _words, max_size=2)
_documents = st.fixed_dictionaries(
    {},
    optional={
        "channels": _words,
        "categories": _topics,
        "workflows": _topics,
        "quiet_hours": st.lists(_hours, max_size=3),
        "caps": st.lists(_caps, max_size=3),
    },
)
_windows = st.builds(
    lambda start, end, days: Hours(parse_local_time(start), parse_local_time(end), frozenset(days)),
    _TIMES,
    _TIMES,
    _days,
)
_messages = st.builds(
    Asked,
    channel=st.sampled_from(["email", "sms", "in_app"]),
    workflow=st.just("t"),
    category=st.sampled_from([None, "u"]),
    critical=st.sampled_from([False, False, True]),
    zone=_ZONES,
    send_window=st.none() | _windows,
    sent=st.lists(_moments, max_size=6).map(tuple),
)
_both = st.tuples(_documents, _documents).map(lambda two: merged(*map(read_preferences, two)))


@given(_both, _messages, _moments)
def test_a_verdict_is_sound(preferences: Preferences, asked: Asked, now: datetime) -> None:
    """Its instant lies ahead, there the message goes, and its trace is JSON."""
    verdict = judge(preferences, asked, now)
    json.dumps(verdict.inputs, allow_nan=False)
    assert (verdict.kind == "defer") == (verdict.until is not None)
    assert (verdict.kind == "send") == (verdict.reason is None)
    if verdict.until is not None:
        assert verdict.until > now
        again = judge(preferences, asked, verdict.until)
        assert again.kind == "send", "nothing was sent meanwhile, and still it may not go"
    if verdict.silent:
        assert verdict.kind == "send"
        assert not verdict.counts
    if asked.channel == "in_app":
        assert verdict.kind != "defer"
    if asked.critical:
        bare = judge(NONE, asked, now)
        assert (verdict.kind, verdict.reason, verdict.until) == (bare.kind, bare.reason, bare.until)


@given(_both, _messages, _moments)
def test_who_sends_on_is_let_through_in_the_end(
    preferences: Preferences, asked: Asked, now: datetime
) -> None:
    """Of messages sent as fast as policy lets them, each is sent or dropped after few verdicts."""
    for _ in range(4):
        verdict = judge(preferences, asked, now)
        for _ in range(2):
            if verdict.until is not None:
                now = verdict.until
                verdict = judge(preferences, asked, now)
        assert verdict.kind != "defer"
        if verdict.kind == "suppress":
            return
        asked = replace(asked, sent=(*asked.sent, now))


def _scanned(document: dict[str, Any], asked: Asked, now: datetime) -> datetime | str:
    """Look at each half hour for the first at which a message may go: a second opinion."""
    caps = [cap for cap in document.get("caps", []) if cap["channel"] == asked.channel]
    for halves in range(18 * 48):
        at = now + halves * _GRAIN
        full = {cap["then"] for cap in caps if _seen(cap, asked.sent, at) >= cap["limit"]}
        quiet = [
            hours
            for hours in document.get("quiet_hours", [])
            if asked.channel in hours.get("channels", [asked.channel])
        ]
        held = any(_within(hours, at, asked.zone) for hours in quiet) or "delay" in full
        window = asked.send_window
        if window is not None:
            told = {"from": str(window.start), "to": str(window.end), "days": window.on}
            held = held or not _within(told, at, asked.zone)
        if not held:
            return "drop" if "drop" in full else at
    return "never"


def _seen(cap: dict[str, Any], sent: tuple[datetime, ...], at: datetime) -> int:
    span = timedelta(minutes=int(cap["per"][2:-1]))
    return sum(at - span < each for each in sent)


def _within(hours: dict[str, Any], at: datetime, zone: str) -> bool:
    """Read the clock on the wall: in zones whose clocks stand on the same offset that day."""
    local = at.astimezone(ZoneInfo(zone))
    shown, days = local.strftime("%H:%M"), hours.get("days", DAYS)
    today, yesterday = DAYS[local.weekday()] in days, DAYS[local.weekday() - 1] in days
    if hours["from"] < hours["to"]:
        return today and hours["from"] <= shown < hours["to"]
    return (today and shown >= hours["from"]) or (yesterday and shown < hours["to"])


@settings(max_examples=80)
@given(_documents, _messages, _moments)
def test_the_first_instant_that_is_allowed(document: dict[str, Any], asked: Asked, now: datetime) -> None:
    """Hours, windows and caps together come to what a scan of half hours finds."""
    asked = replace(asked, critical=False, channel="email", zone="Asia/Tokyo")
    document = {part: document[part] for part in ("quiet_hours", "caps") if part in document}
    document["quiet_hours"] = [
        hours
        for hours in document.get("quiet_hours", [])
        if hours["from"] != hours["to"] or set(hours.get("days", DAYS)) != set(DAYS)
    ]
    verdict = judge(read_preferences(document), asked, now)
    found = _scanned(document, asked, now)
    if verdict.kind == "suppress":
        assert found == ("drop" if verdict.reason == "cap" else "never")
    else:
        assert found == (verdict.until or now)


@given(_documents)
def test_what_is_read_strictly_is_read_leniently(document: dict[str, Any]) -> None:
    """A good document says the same at the border and at run time."""
    try:
        strict = parse_preferences(document)
    except InvalidInput:  # hours that never end
        return
    assert read_preferences(document) == strict
