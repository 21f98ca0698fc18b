"""The calendar against clocks on a wall: ten zones around every change of 2026 and 2027."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimeway.workflow.calendar import (
    DAYS,
    EVERY_DAY,
    LocalTime,
    WeeklyWindow,
    WorkingCalendar,
    next_local_time,
    parse_local_time,
)
from kit.wall_clock import MINUTE, STEADY, ZONES, Scan, changes, moments, scan, shown

CASES = [(zone, around) for zone in ZONES for around in moments(zone)]
_CHRISTMAS = frozenset({date(2026, 12, 25), date(2026, 12, 28)})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_time(minute: int) -> LocalTime:
    return LocalTime(*divmod(minute, 60))


def test_the_zones_change_when_they_are_known_to() -> None:
    """The table is not empty: seven zones change four times in two years, by an hour or by half of one."""
    assert {zone: len(changes(zone)) for zone in ZONES if zone not in STEADY} == {
        zone: 4 for zone in ZONES if zone not in STEADY
    }
    assert changes("Europe/London")[0] == utc("2026-03-29T01:00")
    assert changes("Europe/London")[3] == utc("2027-10-31T01:00")
    before = changes("Australia/Lord_Howe")[0] - MINUTE
    assert shown(before + MINUTE, "Australia/Lord_Howe") - shown(before, "Australia/Lord_Howe") == (
        timedelta(minutes=-29)
    )


@pytest.mark.parametrize(("zone", "around"), CASES)
def test_the_next_local_time_is_what_clocks_show(zone: str, around: datetime) -> None:
    """Around a change local times come when clocks come to them, from whenever one looks."""
    seen = scan(zone, around)
    middle = shown(around, zone).date()
    for minute in range(0, 1440, 45):
        instants = [seen.instant(middle + timedelta(days=day), minute) for day in range(-3, 4)]
        for start in range(-2880, 2880, 97):
            at = around + start * MINUTE
            expected = min(instant for instant in instants if instant > at)
            assert next_local_time(at, zone, local_time(minute)) == expected, (minute, at)


@pytest.mark.parametrize(
    ("zone", "at", "time", "then"),
    [
        ("Europe/London", "2026-03-28T12:00", "01:30", "2026-03-29T01:00"),  # a gap: 02:00 of summer time
        ("Europe/London", "2026-10-24T12:00", "01:30", "2026-10-25T01:30"),  # an overlap: the later
        ("Europe/London", "2026-10-25T00:30", "01:30", "2026-10-25T01:30"),  # from the earlier, too
        ("Europe/London", "2026-10-25T01:30", "01:30", "2026-10-26T01:30"),  # strictly after
        ("Australia/Lord_Howe", "2026-10-03T00:00", "02:15", "2026-10-03T15:30"),  # half an hour is left out
        ("Africa/Cairo", "2026-04-23T12:00", "00:30", "2026-04-23T22:00"),  # midnight does not exist
        ("America/Santiago", "2026-04-04T12:00", "23:30", "2026-04-05T03:30"),  # twice, before midnight
        ("Asia/Kolkata", "2026-06-01T03:30", "09:00", "2026-06-02T03:30"),
        ("Pacific/Apia", "2011-12-29T20:00", "09:00", "2011-12-30T10:00"),  # a day that was skipped
    ],
)
def test_gaps_and_overlaps_by_hand(zone: str, at: str, time: str, then: str) -> None:
    """A few that were worked out on paper."""
    assert next_local_time(utc(at), zone, parse_local_time(time)) == utc(then)


def test_only_the_days_that_count_come() -> None:
    """Days of the week, working days less holidays, and both together."""
    friday, nine = utc("2026-12-24T12:00"), LocalTime(9, 0)
    working = WorkingCalendar(holidays=_CHRISTMAS)
    assert next_local_time(friday, "UTC", nine) == utc("2026-12-25T09:00")
    assert next_local_time(friday, "UTC", nine, frozenset({"mon"})) == utc("2026-12-28T09:00")
    assert next_local_time(friday, "UTC", nine, working=working) == utc("2026-12-29T09:00")
    both = next_local_time(friday, "UTC", nine, frozenset({"fri"}), WorkingCalendar(holidays=_CHRISTMAS))
    assert both == utc("2027-01-01T09:00")
    weekend = WorkingCalendar(frozenset({"sat", "sun"}))
    assert next_local_time(friday, "UTC", nine, working=weekend) == utc("2026-12-26T09:00")


@pytest.mark.parametrize(
    "text", ["9:00", "24:00", "09:60", "25:00", "0900", "09:00:60", "09:00 ", "", "\u0660\u0669:00"]
)
def test_what_is_no_local_time_is_refused(text: str) -> None:
    """Hours and minutes have two digits; the start of a day is 00:00."""
    with pytest.raises(ValueError, match=r"^given .*wanted a local time"):
        parse_local_time(text)


def test_local_times_are_read_and_written() -> None:
    """Seconds are said where there are some; 24:00 is where a window closes, and nowhere else."""
    assert str(parse_local_time("09:05")) == "09:05"
    assert str(parse_local_time("09:05:00")) == "09:05"
    assert str(parse_local_time("23:59:58")) == "23:59:58"
    assert str(parse_local_time("24:00", closing=True)) == "24:00"
    with pytest.raises(ValueError, match="24:00"):
        parse_local_time("24:01", closing=True)
    with pytest.raises(ValueError, match="24:00"):
        WeeklyWindow(LocalTime(24, 0), LocalTime(9, 0))
    with pytest.raises(ValueError, match="24:00"):
        next_local_time(utc("2026-01-01"), "UTC", LocalTime(24, 0))


def _open_minutes(seen: Scan, window: WeeklyWindow, first: date) -> list[tuple[datetime, datetime]]:
    """(opens, closes) of the days around, by what clocks showed."""
    start = window.start.hour * 60 + window.start.minute
    end = window.end.hour * 60 + window.end.minute
    spans = []
    for day in (first + timedelta(days=n) for n in range(18)):
        if DAYS[day.weekday()] in window.days and day not in window.holidays:
            over = 1440 if end <= start else 0
            last = day + timedelta(days=(end + over) // 1440)
            spans.append((seen.instant(day, start), seen.instant(last, (end + over) % 1440)))
    return spans


@settings(max_examples=200)
@given(
    case=st.sampled_from(CASES),
    start=st.one_of(st.integers(0, 1439), st.integers(0, 180)),
    end=st.one_of(st.integers(0, 1440), st.integers(0, 180)),
    days=st.frozensets(st.sampled_from(DAYS), min_size=1),
    holiday=st.integers(-3, 3) | st.none(),
    look=st.integers(-2 * 1440, 2 * 1440) | st.integers(-200, 200),
)
def test_windows_are_what_a_scan_finds(
    case: tuple[str, datetime],
    start: int,
    end: int,
    days: frozenset[str],
    holiday: int | None,
    look: int,
) -> None:
    """Open or not, when it opens, when it closes: as going through the minutes one by one says."""
    zone, around = case
    seen, at = scan(zone, around), around + look * MINUTE
    middle = shown(around, zone).date()
    off = frozenset() if holiday is None else frozenset({middle + timedelta(days=holiday)})
    window = WeeklyWindow(local_time(start), local_time(end), days, off)
    spans = _open_minutes(seen, window, middle - timedelta(days=9))

    def is_open(instant: datetime) -> bool:
        return any(opens <= instant < closes for opens, closes in spans)

    edges = sorted({edge for span in spans for edge in span if edge > at})
    assert window.contains(at, zone) is is_open(at)
    opens = at if is_open(at) else next((edge for edge in edges if is_open(edge)), None)
    if opens is not None:
        assert window.opens(at, zone) == opens
    closes = at if not is_open(at) else next(edge for edge in edges if not is_open(edge))
    if closes - around < timedelta(days=7):  # as far as the scan can tell
        if window.is_always_open():
            return
        assert window.closes(at, zone) == closes


@given(
    minutes=st.tuples(st.integers(0, 1439), st.integers(0, 1439)),
    at=st.integers(0, 2 * 365 * 1440),
    zone=st.sampled_from(STEADY),
)
def test_where_clocks_never_change_a_window_is_what_their_face_says(
    minutes: tuple[int, int], at: int, zone: str
) -> None:
    """The plain rule that everybody has in mind: the face is between start and end."""
    instant = utc("2026-01-01") + at * MINUTE
    face = shown(instant, zone).time()
    start, end = (local_time(minute) for minute in minutes)
    opening, closing = (f"{one.hour:02}:{one.minute:02}:00" for one in (start, end))
    now = face.isoformat()
    between = opening <= now < closing if opening < closing else now >= opening or now < closing
    assert WeeklyWindow(start, end).contains(instant, zone) is between


def test_whole_days_join() -> None:
    """Saturday and Sunday around the clock close on Monday; every day around the clock, never."""
    weekend = WeeklyWindow(LocalTime(0, 0), LocalTime(24, 0), frozenset({"sat", "sun"}))
    assert weekend.closes(utc("2026-03-28T12:00"), "Europe/London") == utc("2026-03-29T23:00")
    assert weekend.opens(utc("2026-03-27T12:00"), "Europe/London") == utc("2026-03-28T00:00")
    for never in (
        WeeklyWindow(LocalTime(9, 0), LocalTime(9, 0)),
        WeeklyWindow(LocalTime(0, 0), LocalTime(24, 0)),
    ):
        assert never.contains(utc("2026-03-28T12:00"), "UTC")
        with pytest.raises(ValueError, match="never closed"):
            never.closes(utc("2026-03-28T12:00"), "UTC")
    but_once = WeeklyWindow(LocalTime(0, 0), LocalTime(24, 0), EVERY_DAY, frozenset({date(2027, 5, 1)}))
    assert but_once.closes(utc("2026-03-28T12:00"), "UTC") == utc("2027-05-01T00:00")


def test_windows_of_gaps_and_overlaps_by_hand() -> None:
    """One that lies in a gap does not open that day; one that ends in an overlap ends the second time."""
    in_gap = WeeklyWindow(LocalTime(1, 15), LocalTime(1, 45))
    assert not in_gap.contains(utc("2026-03-29T01:00"), "Europe/London")
    assert in_gap.opens(utc("2026-03-29T00:30"), "Europe/London") == utc("2026-03-30T00:15")
    night = WeeklyWindow(LocalTime(22, 0), LocalTime(1, 30), frozenset({"sat"}))
    assert night.closes(utc("2026-10-24T22:00"), "Europe/London") == utc("2026-10-25T01:30")
    assert night.closes(utc("2026-10-24T20:00"), "Europe/London") == utc("2026-10-24T20:00")


def test_every_look_comes_to_an_end() -> None:
    """Holidays for more than ten years: ValueError, not a search for ever."""
    first = date(2026, 1, 1)
    always = frozenset(first + timedelta(days=n) for n in range(4_000))
    now = utc("2026-01-05T12:00")
    with pytest.raises(ValueError, match="within ten years"):
        next_local_time(now, "UTC", LocalTime(9, 0), working=WorkingCalendar(holidays=always))
    window = WeeklyWindow(LocalTime(9, 0), LocalTime(17, 0), EVERY_DAY, always)
    with pytest.raises(ValueError, match="within ten years"):
        window.opens(now, "UTC")
    assert window.closes(now, "UTC") == now
    later = WeeklyWindow(
        LocalTime(0, 0), LocalTime(0, 0), EVERY_DAY, frozenset({first + timedelta(days=5_000)})
    )
    with pytest.raises(ValueError, match="within ten years"):
        later.closes(now, "UTC")


def test_what_cannot_be_reckoned_is_refused() -> None:
    """No days, words that name none, a naive instant, an unknown zone, the end of the calendar."""
    nine, window = LocalTime(9, 0), WeeklyWindow(LocalTime(9, 0), LocalTime(17, 0))
    for days in (frozenset[str](), frozenset({"monday"})):
        with pytest.raises(ValueError, match="wanted at least one of mon, tue"):
            WeeklyWindow(nine, nine, days)
        with pytest.raises(ValueError, match="wanted at least one of mon, tue"):
            WorkingCalendar(days)
        with pytest.raises(ValueError, match="wanted at least one of mon, tue"):
            next_local_time(utc("2026-01-01"), "UTC", nine, days)
    with pytest.raises(ValueError, match="no UTC offset"):
        window.contains(utc("2026-01-01").replace(tzinfo=None), "UTC")
    with pytest.raises(ValueError, match="IANA"):
        window.opens(utc("2026-01-01"), "Mars/Olympus")
    with pytest.raises(ValueError, match="9999"):
        next_local_time(utc("9999-12-31T23:00"), "UTC", nine)
    with pytest.raises(ValueError, match="no time of day"):
        LocalTime(12, 60)
