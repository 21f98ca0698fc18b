"""What clocks on a wall show, minute by minute: a source of truth that shares nothing with the product.

It only ever asks a zone what an instant looks like there (UTC to local), and never the reverse.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
ZONES = (
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Cairo",
    "America/Santiago",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Asia/Tehran",
)
STEADY = ("America/Sao_Paulo", "Asia/Kolkata", "Asia/Tehran")
"""Zones whose clocks change neither in 2026 nor in 2027: they are looked at on these days all the same."""
_ANY_DAYS = (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC))


def shown(instant: datetime, zone: str) -> datetime:
    """Return what a clock there shows."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """Return the instants of 2026 and 2027 at which clocks there are put forward or back."""
    found, at = [], datetime(2026, 1, 1, tzinfo=UTC)
    while at.year < 2028:
        if shown(at + timedelta(hours=1), zone) - shown(at, zone) != timedelta(hours=1):
            minute = at
            while shown(minute + MINUTE, zone) - shown(minute, zone) == MINUTE:
                minute += MINUTE
            found.append(minute + MINUTE)
        at += timedelta(hours=1)
    return tuple(found)


def moments(zone: str) -> tuple[datetime, ...]:
    """Return the moments around which to look."""
    return _ANY_DAYS if zone in STEADY else changes(zone)


@dataclass(frozen=True)
class Scan:
    """Every minute of the days around a moment, and what clocks showed."""

    zone: str
    around: datetime
    days: int = 10

    @cached_property
    def minutes(self) -> list[tuple[datetime, datetime]]:
        """(instant, shown), in order."""
        first = self.around - timedelta(days=self.days)
        return [
            (at, shown(at, self.zone)) for at in (first + n * MINUTE for n in range(self.days * 2 * 1440))
        ]

    @cached_property
    def latest(self) -> dict[datetime, datetime]:
        """The latest instant at which clocks showed this."""
        return {local: at for at, local in self.minutes}

    def instant(self, day: date, minute: int) -> datetime:
        """When clocks come to this minute of that day: twice: the later; never: the first after it."""
        wanted = datetime(day.year, day.month, day.day) + minute * MINUTE  # noqa: DTZ001  (a clock's face)
        if wanted in self.latest:
            return self.latest[wanted]
        return next(at for at, local in self.minutes if local > wanted)


@cache
def scan(zone: str, around: datetime) -> Scan:
    """Return the scan, made once."""
    return Scan(zone, around)
