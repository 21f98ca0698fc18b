"""Local times, weekly windows and working days: when something is, on a person's own clock.

Everything is reckoned by days: an occurrence begins on a local date, and its start and its end are
made instants by `resolve_local` (in a gap the first instant after it, in an overlap the later one).
That never swaps two local times, so occurrences stand in the order of their dates, and looking from
one date to the next finds the first. No look goes further than `LONGEST_DAYS` (ten years), the
longest that anything waits: a calendar without a working day in all that time raises ValueError.
Nothing here knows what time it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final

from chimeway.workflow.durations import LONGEST_DAYS, BeyondCalendar, local_of, resolve_local

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week as definitions and preferences write them, in order."""
EVERY_DAY: Final = frozenset(DAYS)
MONDAY_TO_FRIDAY: Final = frozenset(DAYS[:5])

_LOCAL_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")
_DAY: Final = timedelta(days=1)
# Where clocks go back over midnight, and where a day was skipped, a local date may be off by so much.
_SLACK_DAYS: Final = 2


@dataclass(frozen=True, slots=True, order=True)
class LocalTime:
    """A time of day on a wall clock. 24:00 is the end of a day: where a window closes, and only there."""

    hour: int
    minute: int
    second: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where no clock shows this."""
        within = 0 <= self.hour <= 23 and 0 <= self.minute <= 59 and 0 <= self.second <= 59
        if not within and (self.hour, self.minute, self.second) != (24, 0, 0):
            raise ValueError(f"no time of day: {self.hour}:{self.minute}:{self.second}")

    def __str__(self) -> str:
        """Write it as it is read: seconds only where there are some."""
        return f"{self.hour:02}:{self.minute:02}" + (f":{self.second:02}" if self.second else "")

    @property
    def ends_day(self) -> bool:
        """Tell whether this is 24:00."""
        return self.hour == 24

    def on(self, day: date, zone: str) -> datetime:
        """Return the instant (UTC) of this time on `day` in `zone`; raises ValueError, BeyondCalendar."""
        return _instant(day, self.hour, self.minute, self.second, zone)


@lru_cache(maxsize=4096)  # people share days, zones and round times: six times quicker
def _instant(day: date, hour: int, minute: int, second: int, zone: str) -> datetime:
    try:
        midnight = datetime.combine(day, time())
        return resolve_local(midnight + timedelta(hours=hour, minutes=minute, seconds=second), zone)
    except OverflowError:
        raise BeyondCalendar from None


def parse_local_time(text: str, *, closing: bool = False) -> LocalTime:
    """Read `HH:MM` or `HH:MM:SS`, with 24 hours; where a window closes (`closing`) also `24:00`.

    Raises ValueError with a sentence that says what was given and what is wanted.
    """
    found = _LOCAL_TIME.fullmatch(text) if len(text) <= 20 else None
    wanted = "wanted a local time of 24 hours such as 09:00 or 17:30" + (", or 24:00" if closing else "")
    if found is None:
        raise ValueError(f"given {text[:60]!r}; {wanted}")
    try:
        at = LocalTime(int(found[1]), int(found[2]), int(found[3] or 0))
    except ValueError:
        raise ValueError(f"given {text!r}; {wanted}") from None
    if at.ends_day and not closing:
        raise ValueError(f"given {text!r}; {wanted} (the start of a day is 00:00)")
    return at


def _judge_days(days: frozenset[str]) -> None:
    if not days or days - EVERY_DAY:
        raise ValueError(f"given the days {sorted(days)}; wanted at least one of {', '.join(DAYS)}")


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """On which days a tenant works: days of the week, less its holidays."""

    working_days: frozenset[str] = MONDAY_TO_FRIDAY
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        """Raise ValueError for no days, or words that name none."""
        _judge_days(self.working_days)

    def is_working(self, day: date) -> bool:
        """Tell whether people work on this day."""
        return day_of(day) in self.working_days and day not in self.holidays


USUAL_DAYS: Final = WorkingCalendar()
"""The calendar of who says nothing else: Monday to Friday, no holidays."""


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """Hours of some days of the week: from `start` until before `end`, by wall clocks.

    `days` are those on which it begins, less `holidays`. Where `end` is not after `start` it closes on
    the day after; equal, it is open for the whole 24 hours.
    """

    start: LocalTime
    end: LocalTime
    days: frozenset[str] = EVERY_DAY
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        """Raise ValueError for no days, words that name none, or a start at 24:00."""
        _judge_days(self.days)
        if self.start.ends_day:
            raise ValueError("a window cannot open at 24:00; 00:00 of the next day is that instant")

    def contains(self, at: datetime, zone: str) -> bool:
        """Tell whether it is open at this instant, for a person in `zone`.

        Raises ValueError when `at` is naive, the zone unknown, or the calendar comes to its end.
        """
        return any(opens <= at < closes for opens, closes in self._occurrences(at, zone, 2 * _SLACK_DAYS))

    def opens(self, at: datetime, zone: str) -> datetime:
        """Return `at` itself when it is open, else the next instant (UTC) at which it opens.

        Raises ValueError when `at` is naive, the zone unknown, the calendar comes to its end, or all
        its days are holidays for ten years.
        """
        if self.contains(at, zone):
            return at
        for opens, closes in self._occurrences(at, zone, LONGEST_DAYS):
            if at < opens < closes:
                return opens
        raise ValueError("the window does not open within ten years: all its days are holidays")

    def closes(self, at: datetime, zone: str) -> datetime:
        """Return `at` itself when it is closed, else the first later instant (UTC) at which it is.

        What begins when another occurrence ends is one with it. Raises ValueError when it is never
        closed, `at` is naive, the zone unknown, or the calendar comes to its end.
        """
        if self.is_always_open():
            raise ValueError("the window is never closed")
        for opens, closes in self._occurrences(at, zone, LONGEST_DAYS):
            if opens > at:
                return at
            at = max(at, closes)
        if self.contains(at, zone):
            raise ValueError("the window is not closed within ten years")
        return at

    def is_always_open(self) -> bool:
        """Tell whether it is open on every day around the clock."""
        whole = self.start == self.end or (self.end.ends_day and self.start == LocalTime(0, 0))
        return whole and self.days == EVERY_DAY and not self.holidays

    def _occurrences(self, at: datetime, zone: str, days: int) -> Iterator[tuple[datetime, datetime]]:
        """Yield (opens, closes) of the occurrences around `at` and later; one in a gap is empty."""
        over_midnight = self.end <= self.start
        for day in _days_from(at, zone, days):
            if day_of(day) in self.days and day not in self.holidays:
                last = _shifted(day, 1) if over_midnight else day
                yield self.start.on(day, zone), self.end.on(last, zone)


def next_local_time(
    at: datetime,
    zone: str,
    time: LocalTime,
    days: frozenset[str] | None = None,
    working: WorkingCalendar | None = None,
) -> datetime:
    """Return the next instant (UTC), strictly after `at`, at which clocks in `zone` come to `time`.

    Args:
        at: after which instant; aware.
        zone: an IANA name.
        time: what the clock shows.
        days: the days of the week that count; None for all.
        working: where given, only its working days count.

    Raises:
        ValueError: `at` is naive, the zone unknown, `time` 24:00, or no day counts within ten years.
        BeyondCalendar: one of them: the year would exceed 9999.
    """
    if time.ends_day:
        raise ValueError("24:00 is where a window closes; 00:00 of the next day is that instant")
    if days is not None:
        _judge_days(days)
    for day in _days_from(at, zone, LONGEST_DAYS):
        if (days is None or day_of(day) in days) and (working is None or working.is_working(day)):
            found = time.on(day, zone)
            if found > at:
                return found
    raise ValueError("no such day comes within ten years: all of them are holidays")


def day_of(day: date) -> str:
    """Return the day of the week of a date, as `DAYS` has it."""
    return DAYS[day.weekday()]


def in_order(days: frozenset[str]) -> list[str]:
    """Return days of the week from Monday on."""
    return [day for day in DAYS if day in days]


def _days_from(at: datetime, zone: str, days: int) -> Iterator[date]:
    """Yield the local dates from a little before `at` until so many days after."""
    today = local_of(at, zone).date()
    for ahead in range(-_SLACK_DAYS, days + 1):
        yield _shifted(today, ahead)


def _shifted(day: date, days: int) -> date:
    try:
        return day + days * _DAY
    except OverflowError:
        raise BeyondCalendar from None
