"""The time of a journey: the database's clock and the engine's, moved together, and never back."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from chimeway.clock import ManualClock
from chimeway.errors import InvalidInput
from chimeway.store.pool import Database
from chimeway.store.watching import move_clock
from chimeway.workflow.durations import known_zone, parse_duration, parse_instant

Span: TypeAlias = str | timedelta | float
"""ISO 8601 (`PT1H59M`), a timedelta, or seconds."""
Instant: TypeAlias = datetime | str
"""An aware datetime, or RFC 3339 text (`2026-03-29T09:00:00Z`)."""

_TICK: Final = timedelta(microseconds=1)
START: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""Where a journey's time stands at first: a Monday morning, far from any change of clocks."""


class JourneyTime:
    """Two clocks that show the same."""

    def __init__(self, start: datetime) -> None:
        """Stand at `start`; the database's clock is set by `begin`."""
        self.clock = ManualClock(start)

    async def begin(self, database: Database) -> None:
        """Set the database's clock to the start."""
        await move_clock(database, self.clock.now())

    async def move(self, database: Database, instant: datetime) -> None:
        """Move both. The database's first: nobody may decide with a time that is ahead of it."""
        await move_clock(database, instant)
        self.clock.move_to(instant)

    async def tick(self, database: Database) -> None:
        """Let the smallest span pass, where before and after must differ."""
        await self.move(database, self.clock.now() + _TICK)


def end_of(span: Span, start: datetime, zone: str) -> datetime:
    """Return where a span ends that begins at `start`; its calendar part counts in `zone`.

    Raises:
        InvalidInput: it is none, or leads back.
    """
    if not known_zone(zone):
        raise InvalidInput(f"zone: given {zone!r}, wanted an IANA name like Europe/London", field="zone")
    if isinstance(span, str):
        try:
            return parse_duration(span).after(start, zone)
        except ValueError as fault:
            raise InvalidInput(f"by: {fault}", field="by") from None
    return start + _exact(span)


def instant_of(field: str, given: Instant) -> datetime:
    """Return an instant in UTC.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given.astimezone(UTC)
    if isinstance(given, str):
        try:
            return parse_instant(given)
        except ValueError as fault:
            raise InvalidInput(f"{field}: {fault}", field=field) from None
    wanted = "an aware datetime, or a text like 2026-03-29T09:00:00Z"
    raise InvalidInput(f"{field}: given {given!r}; wanted {wanted}", field=field)


def _exact(span: object) -> timedelta:
    wanted = 'wanted a duration like "PT1H59M", a timedelta, or seconds'
    if isinstance(span, bool) or not isinstance(span, timedelta | int | float):
        raise InvalidInput(f"by: given {span!r}; {wanted}", field="by")
    if isinstance(span, float) and not math.isfinite(span):
        raise InvalidInput(f"by: given {span!r}; {wanted}", field="by")
    try:
        exact = span if isinstance(span, timedelta) else timedelta(seconds=span)
    except OverflowError:
        raise InvalidInput(f"by: given {span!r}; {wanted}", field="by") from None
    if exact < timedelta(0):
        raise InvalidInput(f"by: given {span!r}; time goes forward only", field="by")
    return exact
