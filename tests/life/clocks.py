"""Local time by zoneinfo alone: what the model of a life reckons with, and nothing of the engine's calendar.

The rules are those of semantics 2.1: a wall time that clocks leave out is the first instant after the
gap, one that they show twice is the later of the two.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
AHEAD = 16
"""Days that are searched: more than any row of closed days in the script."""


def wall(at: datetime, zone: str) -> datetime:
    """Return what the clocks show, naive."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def instant(shown: datetime, zone: str) -> datetime:
    """Return when clocks show this, or would."""
    early, late = sorted(shown.replace(tzinfo=ZoneInfo(zone), fold=f).astimezone(UTC) for f in (0, 1))
    if wall(late, zone) == shown:
        return late
    at = early.replace(second=0, microsecond=0)  # clocks are changed at whole minutes
    while wall(at, zone) < shown:
        at += timedelta(minutes=1)
    return at


def days_later(at: datetime, days: int, zone: str) -> datetime:
    """Return the same wall time so many days later."""
    return instant(wall(at, zone) + timedelta(days=days), zone)


def later(at: datetime, span: str, zone: str) -> datetime:
    """Return when a span is over that begins at `at`; the few forms that the script uses: PT2H, P7D, P1W."""
    number = int(span.strip("PTHDW"))
    if span.startswith("PT"):
        return at + timedelta(hours=number)
    return days_later(at, 7 * number if span.endswith("W") else number, zone)


def next_at(
    at: datetime, clock: str, zone: str, days: Collection[str], holidays: Collection[date]
) -> datetime:
    """Return when it is `clock` next, strictly after `at`, on one of these days."""
    for day in _days(at, zone, 0):
        found = instant(datetime.combine(day, time.fromisoformat(clock)), zone)
        if found > at and _name(day) in days and day not in holidays:
            return found
    raise AssertionError("no such day is near")


@dataclass(frozen=True)
class Span:
    """Hours of the day, on the days on which they begin."""

    begins: str
    ends: str
    days: frozenset[str] = frozenset(WEEK)
    holidays: frozenset[date] = frozenset()

    @classmethod
    def of(cls, form: dict[str, Any]) -> "Span":
        """Read `{from, to, days}`."""
        return cls(form["from"], form["to"], frozenset(form.get("days", WEEK)))

    def times(self, at: datetime, zone: str) -> list[tuple[datetime, datetime]]:
        """Return from when until when they last, around `at` and for some days on."""
        return [(begin, end) for begin, end in self._times(at, zone) if begin < end]

    def _times(self, at: datetime, zone: str) -> Iterator[tuple[datetime, datetime]]:
        for day in _days(at, zone, -2):
            if _name(day) in self.days and day not in self.holidays:
                last = day + DAY if self.ends <= self.begins or self.ends == "24:00" else day
                ends = "00:00" if self.ends == "24:00" else self.ends
                yield (
                    instant(datetime.combine(day, time.fromisoformat(self.begins)), zone),
                    instant(datetime.combine(last, time.fromisoformat(ends)), zone),
                )


def _days(at: datetime, zone: str, first: int) -> Iterator[date]:
    today = wall(at, zone).date()
    return (today + timedelta(days=n) for n in range(first, AHEAD))


def _name(day: date) -> str:
    return WEEK[day.weekday()]
