"""Durations, instants and local times: eight zones around the changes of 2026 and 2027."""

from datetime import UTC, datetime, timedelta

import pytest

from chimeway.workflow.durations import (
    LONGEST_SECONDS,
    Duration,
    iso_duration,
    known_zone,
    parse_duration,
    parse_instant,
    resolve_local,
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "months", "days", "exact"),
    [
        ("PT2H", 0, 0, timedelta(hours=2)),
        ("P1Y2M3W4DT5H6M7.5S", 14, 25, timedelta(hours=5, minutes=6, seconds=7.5)),
        ("P3W", 0, 21, timedelta(0)),
        ("PT0.000001S", 0, 0, timedelta(microseconds=1)),
        ("PT1,5S", 0, 0, timedelta(seconds=1.5)),
        ("P10Y", 120, 0, timedelta(0)),
        ("P120M", 120, 0, timedelta(0)),
        ("P3653D", 0, 3653, timedelta(0)),
        ("P0DT1S", 0, 0, timedelta(seconds=1)),
        (f"PT{LONGEST_SECONDS}S", 0, 0, timedelta(seconds=LONGEST_SECONDS)),
    ],
)
def test_durations_are_read(text: str, months: int, days: int, exact: timedelta) -> None:
    """Every form has its calendar part and its exact part."""
    assert parse_duration(text) == Duration(months, days, exact)


@pytest.mark.parametrize(
    "text",
    [
        *("", "P", "PT", "P1", "1D", "p1d", "PT2h", "+P1D", "-P1D", "P-1D", "P1DT", "PT1D", "P1H"),
        *("P1.5D", "PT1.5H", "PT.5S", "PT1.S", "P1D2W", "PT1S2M", " P1D", "P1D ", "P1D\n", "P1D\0"),
        *("PT0S", "P0Y", "P0W", "PT0.0S", "PT0.0000001S", "P11Y", "P121M", "P10YT1S", "P3654D"),
        *("PT87673H", "P9999999999999Y", "P" + "9" * 5000 + "D", "P\uff11D", "PT2H30", "P1Y1Y"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Signs, lower case, empty parts, zero, more than ten years: ValueError that quotes it."""
    with pytest.raises(ValueError, match=r"^given '"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("zone", "anchor", "duration", "due"),
    [
        # Gaps: the first instant after them.
        ("Europe/London", "2026-03-28T01:30", "P1D", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-28T01:30", "P1D", "2026-03-29T01:00"),
        ("America/New_York", "2026-03-07T07:30", "P1D", "2026-03-08T07:00"),
        ("Australia/Lord_Howe", "2026-10-02T15:45", "P1D", "2026-10-03T15:30"),
        ("America/Santiago", "2026-09-05T04:30", "P1D", "2026-09-06T04:00"),
        ("Europe/London", "2027-02-28T01:30", "P1M", "2027-03-28T01:00"),
        # Overlaps: the later of the two.
        ("Europe/London", "2026-10-24T00:30", "P1D", "2026-10-25T01:30"),
        ("Europe/Berlin", "2026-10-24T00:30", "P1D", "2026-10-25T01:30"),
        ("America/New_York", "2026-10-31T05:30", "P1D", "2026-11-01T06:30"),
        ("Australia/Lord_Howe", "2026-04-03T14:45", "P1D", "2026-04-04T15:15"),
        ("America/New_York", "2027-11-06T05:30", "P1D", "2027-11-07T06:30"),
        # Over the change, the wall clock stays.
        ("Europe/London", "2026-03-28T09:00", "P1D", "2026-03-29T08:00"),
        ("America/New_York", "2026-10-31T13:00", "P1D", "2026-11-01T14:00"),
        ("Africa/Casablanca", "2026-02-14T10:00", "P1W", "2026-02-21T11:00"),
        # The exact part comes second, and knows no clocks.
        ("Europe/London", "2026-03-28T00:30", "P1DT2H", "2026-03-29T02:30"),
        ("Europe/London", "2026-03-28T09:00", "PT24H", "2026-03-29T09:00"),
        ("Europe/Berlin", "2026-03-28T01:30", "P1DT30M", "2026-03-29T01:30"),
        # No change of clocks; half and quarter hours.
        ("Asia/Kolkata", "2026-03-28T20:00", "P1D", "2026-03-29T20:00"),
        ("Asia/Kathmandu", "2026-12-31T18:20", "P1M", "2027-01-31T18:20"),
        ("UTC", "2026-10-24T01:30", "P1D", "2026-10-25T01:30"),
        # Months are clamped to their end; the day is the local one.
        ("UTC", "2026-01-31T12:00", "P1M", "2026-02-28T12:00"),
        ("UTC", "2027-12-31T12:00", "P2M", "2028-02-29T12:00"),
        ("UTC", "2028-02-29T12:00", "P1Y", "2029-02-28T12:00"),
        ("UTC", "2026-01-31T12:00", "P1M1D", "2026-03-01T12:00"),
        ("Pacific/Auckland", "2026-01-30T12:00", "P1M", "2026-02-27T12:00"),
        ("America/New_York", "2026-02-01T03:00", "P1M", "2026-03-01T03:00"),
    ],
)
def test_the_calendar_part_moves_the_wall_clock(zone: str, anchor: str, duration: str, due: str) -> None:
    """Calendar first, in the recipient's zone, clamped; then the exact part; gap and overlap."""
    assert parse_duration(duration).after(utc(anchor), zone) == utc(due)


def test_an_anchor_in_another_offset_is_the_same_instant() -> None:
    """The anchor's own offset plays no part, and the answer is in UTC."""
    anchor = datetime.fromisoformat("2026-03-28T10:30+09:00")
    due = parse_duration("P1D").after(anchor, "Europe/London")
    assert (due, due.tzinfo) == (utc("2026-03-29T01:00"), UTC)


def test_the_second_hour_of_an_overlap_does_not_leak_into_the_target() -> None:
    """An anchor in the later half of an overlap moves like any other."""
    later = parse_duration("P1D").after(utc("2026-10-25T01:30"), "Europe/London")
    assert later == utc("2026-10-26T01:30")


def test_a_day_that_does_not_exist_gives_the_first_instant_after_it() -> None:
    """Samoa left out 30 December 2011."""
    due = resolve_local(datetime(2011, 12, 30, 12), "Pacific/Apia")  # noqa: DTZ001  (local)
    assert due == utc("2011-12-30T10:00")


def test_microseconds_survive_and_the_gap_swallows_them() -> None:
    """In a gap it is the very instant of the change."""
    local = datetime(2026, 3, 29, 1, 59, 59, 999_999)  # noqa: DTZ001  (local)
    assert resolve_local(local, "Europe/London") == utc("2026-03-29T01:00")
    assert resolve_local(local, "UTC") == utc("2026-03-29T01:59:59.999999")


def test_a_wrong_use_is_a_value_error() -> None:
    """Naive anchors, aware local times, unknown zones and the end of the calendar are refused."""
    day = parse_duration("P1D")
    with pytest.raises(ValueError, match="no UTC offset"):
        day.after(datetime(2026, 1, 1), "UTC")  # noqa: DTZ001  (the fault)
    with pytest.raises(ValueError, match="no UTC offset"):
        resolve_local(utc("2026-01-01"), "UTC")
    with pytest.raises(ValueError, match="time zone 'Mars/Olympus'"):
        day.after(utc("2026-01-01"), "Mars/Olympus")
    for text in ("P1D", "P1M", "P1Y", "PT24H"):
        with pytest.raises(ValueError, match="9999"):
            parse_duration(text).after(utc("9999-12-31T12:00"), "UTC")


@pytest.mark.parametrize(
    "name",
    [
        *("", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "Europe/../UTC", "UTC\0"),
        *("localtime", "posixrules", "right/UTC", "posix/UTC", "zone.tab", "x" * 5000, "Europe/"),
    ],
)
def test_names_that_are_no_zones(name: str) -> None:
    """Folders, paths, files beside the zones, and zones that not all machines have."""
    assert not known_zone(name)


def test_names_that_are_zones() -> None:
    """IANA names, also the odd ones."""
    for name in ("UTC", "Etc/GMT+12", "America/Argentina/Buenos_Aires", "America/Port-au-Prince"):
        assert known_zone(name)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-29T09:00:00Z", "2026-03-29T09:00"),
        ("2026-03-29T09:00:00.25+01:00", "2026-03-29T08:00:00.25"),
        ("2026-03-29t09:00:00z", "2026-03-29T09:00"),
        ("2026-03-29T09:00:00-23:59", "2026-03-30T08:59"),
        ("2026-03-29T09:00:00-00:00", "2026-03-29T09:00"),
    ],
)
def test_instants_are_read(text: str, instant: str) -> None:
    """RFC 3339 with an offset; the answer is in UTC."""
    found = parse_instant(text)
    assert (found, found.tzinfo) == (utc(instant), UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "tomorrow",
            "2026-03-29",
            "2026-03-29T09:00:00",
            "2026-03-29 09:00:00Z",
            "20260329T090000Z",
        ),
        *(
            "2026-03-29T09:00Z",
            "2026-02-30T09:00:00Z",
            "2026-03-29T24:00:00Z",
            "2026-03-29T09:00:60Z",
        ),
        *("2026-03-29T09:00:00.1234567Z", "2026-03-29T09:00:00+24:00", "2026-03-29T09:00:00+01:60"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        *("2026-03-29T09:00:00Z\n", "\uff12026-03-29T09:00:00Z"),
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Without an offset, off the calendar, finer than a microsecond: ValueError that quotes it."""
    with pytest.raises(ValueError, match=r"^given '"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=2), "PT2H"),
        (timedelta(days=1), "PT24H"),
        (timedelta(days=3, minutes=1, microseconds=500_000), "PT72H1M0.5S"),
        (timedelta(0), "PT0S"),
        (timedelta(seconds=-5), "-PT5S"),
    ],
)
def test_a_timedelta_is_written_as_an_exact_span(span: timedelta, text: str) -> None:
    """A timedelta knows no calendar: one day is 24 hours."""
    assert iso_duration(span) == text
