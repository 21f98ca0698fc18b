"""How long and until when: ISO 8601 durations, RFC 3339 instants and local times.

A duration has a calendar part (years, months, weeks, days) and an exact part (hours, minutes,
seconds). The calendar part is added to the recipient's wall clock, the exact part to the instant.
Nothing here knows what time it is.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from chimeway.limits import MAX_WAIT_YEARS

LONGEST_DAYS: Final = MAX_WAIT_YEARS * 365 + (MAX_WAIT_YEARS + 2) // 4
"""The days that `MAX_WAIT_YEARS` have at most: 3,653 in ten years with three leap days."""
LONGEST_SECONDS: Final = LONGEST_DAYS * 86_400

_DURATION = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,12})Y)?(?:([0-9]{1,12})M)?(?:([0-9]{1,12})W)?(?:([0-9]{1,12})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,12})H)?(?:([0-9]{1,12})M)?(?:([0-9]{1,12})(?:[.,]([0-9]+))?S)?)?"
)
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
# Names that some machines have and others lack, or (right/) that count leap seconds.
_NO_ZONES = re.compile(r"localtime|posixrules|(?:posix|right)/.*")
_WANTED = "wanted an ISO 8601 duration such as PT2H, P3D or P1DT12H30M"


class BeyondCalendar(ValueError):  # noqa: N818  (what is so, not that it is wrong)
    """The instant lies beyond the year 9999."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the instant lies beyond the year 9999")


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time: `months` and `days` on the calendar, `exact` on the clock."""

    months: int = 0
    days: int = 0
    exact: timedelta = timedelta(0)

    def after(self, anchor: datetime, zone: str) -> datetime:
        """Return the instant (UTC) that lies this long after `anchor`, for a person in `zone`.

        Raises ValueError when `anchor` is naive or the zone unknown; BeyondCalendar, one of them, when the
        year exceeds 9999.
        """
        if anchor.tzinfo is None:
            raise ValueError("the anchor has no UTC offset")
        instant = anchor.astimezone(UTC)
        try:
            if self.months or self.days:
                local = instant.astimezone(_zone(zone)).replace(tzinfo=None, fold=0)
                moved = _months_later(local, self.months) + timedelta(days=self.days)
                instant = resolve_local(moved, zone)
            return instant + self.exact
        except OverflowError:
            raise BeyondCalendar from None


def seconds_after(anchor: datetime, seconds: float) -> datetime:
    """Return the instant so many seconds later; raises BeyondCalendar."""
    try:
        return anchor + timedelta(seconds=seconds)
    except OverflowError:
        raise BeyondCalendar from None


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> Duration:
    """Read an ISO 8601 duration: more than zero, at most ten years, fractions in seconds only.

    Raises ValueError with a sentence that says what was given and what is wanted.
    """
    found = _DURATION.fullmatch(text) if len(text) <= 100 else None
    if found is None:
        raise ValueError(f"given {text[:60]!r}; {_WANTED}")
    fraction = found[8] or ""
    if len(fraction) > 6:
        raise ValueError(f"given {text!r}; seconds have at most six decimals")
    years, months, weeks, days, hours, minutes, seconds = (int(found[group] or 0) for group in range(1, 8))
    months += years * 12
    days += weeks * 7
    microseconds = (hours * 3600 + minutes * 60 + seconds) * 1_000_000
    microseconds += int(fraction.ljust(6, "0"))
    if not (months or days or microseconds):
        raise ValueError(f"given {text!r}; wanted more than zero")
    if _exceeds_limit(months, days, microseconds):
        raise ValueError(f"given {text!r}; wanted at most {MAX_WAIT_YEARS} years")
    return Duration(months, days, timedelta(microseconds=microseconds))


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant, whose offset (or Z) is required; return it in UTC.

    Raises ValueError with a sentence that says what was given and what is wanted.
    """
    found = _INSTANT.fullmatch(text) if len(text) <= 100 else None
    if found is None:
        raise ValueError(
            f"given {text[:60]!r}; wanted an instant with its offset, "
            "such as 2026-03-29T09:00:00Z or 2026-03-29T09:00:00+01:00"
        )
    fields = [int(found[group]) for group in range(1, 7)]
    try:
        if int(found[10] or 0) > 59:
            raise ValueError("offset minutes must be in 0..59")
        offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
        zone = timezone(-offset if found[8] == "-" else offset)
        microsecond = int((found[7] or "").ljust(6, "0"))
        year, month, day, hour, minute, second = fields
        local = datetime(year, month, day, hour, minute, second, microsecond, zone)
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise ValueError(f"given {text!r}, which is no instant: {fault}") from None


def iso_duration(span: timedelta) -> str:
    """Write an exact span as ISO 8601: `timedelta(hours=2)` is `PT2H`, one day is `PT24H`."""
    if span < timedelta(0):
        return f"-{iso_duration(-span)}"  # which parse_duration refuses, with both in its message
    minutes, seconds = divmod(span.days * 86_400 + span.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{span.microseconds:06}".rstrip("0") if span.microseconds else ""
    text = f"{hours}H" if hours else ""
    text += f"{minutes}M" if minutes else ""
    text += f"{seconds}{fraction}S" if seconds or fraction else ""
    return f"PT{text or '0S'}"


def iso_instant(instant: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC, ending in Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def known_zone(name: str) -> bool:
    """Tell whether `name` is an IANA time zone that this machine knows."""
    try:
        _zone(name)
    except ValueError:
        return False
    return True


def local_of(instant: datetime, zone: str) -> datetime:
    """Return what clocks in `zone` show at an instant, as a naive datetime.

    Raises ValueError when the instant is naive or the zone unknown; BeyondCalendar, one of them, when the
    clock would show a year before 1 or after 9999.
    """
    if instant.tzinfo is None:
        raise ValueError("the instant has no UTC offset")
    try:
        return instant.astimezone(_zone(zone)).replace(tzinfo=None, fold=0)
    except OverflowError:
        raise BeyondCalendar from None


def resolve_local(local: datetime, zone: str) -> datetime:
    """Return the instant (UTC) at which clocks in `zone` show `local` (a naive datetime).

    In a gap it is the first instant after the gap, in an overlap the later of the two. Raises
    ValueError when `local` has an offset, the zone is unknown, or the year exceeds 9999.
    """
    if local.tzinfo is not None:
        raise ValueError("a local time has no UTC offset")
    place = _zone(zone)
    before = _offset(local.replace(tzinfo=place, fold=0))
    after = _offset(local.replace(tzinfo=place, fold=1))
    try:
        if before < after:
            return _first_after_gap(local - after, local - before, place)
        return (local - after).replace(tzinfo=UTC, fold=0)  # overlap: fold=1 is the later
    except OverflowError:
        raise ValueError("the instant lies outside the years 1 to 9999") from None


def _first_after_gap(low: datetime, high: datetime, place: ZoneInfo) -> datetime:
    # The clocks change between `low` and `high` (UTC, naive), on a whole second: look for it.
    early = low.replace(microsecond=0, fold=0, tzinfo=UTC)
    late = high.replace(microsecond=0, fold=0, tzinfo=UTC)
    offset = _offset(early.astimezone(place))
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=int((late - early).total_seconds()) // 2)
        if _offset(middle.astimezone(place)) == offset:
            early = middle
        else:
            late = middle
    return late


def _months_later(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    if year > 9999:
        raise OverflowError
    return local.replace(year=year, month=month + 1, day=min(local.day, monthrange(year, month + 1)[1]))


def _exceeds_limit(months: int, days: int, microseconds: int) -> bool:
    # Every month counts as a 120th of the longest ten years, so that P10Y is just allowed.
    parts = MAX_WAIT_YEARS * 12
    total = months * LONGEST_SECONDS + days * 86_400 * parts
    return total * 1_000_000 + microseconds * parts > LONGEST_SECONDS * parts * 1_000_000


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None
    return offset


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    if not (_ZONE_NAME.fullmatch(name) and len(name) <= 100) or _NO_ZONES.fullmatch(name):
        raise ValueError(f"given the time zone {name[:60]!r}; wanted an IANA name")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no zone file; a folder such as "Europe"
        raise ValueError(f"given the time zone {name!r}; wanted an IANA name") from None
