"""The time of a scenario: one clock for all its nodes, moved together with the database's, in leaps."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chimeway.testing.simulation.loop import SteppedLoop, Timer
from chimeway.testing.simulation.scheduler import Draw

START: Final = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""Where the time of every scenario begins: a Monday morning."""


class SteppedClock:
    """The clock of a node: the loop's, which the scheduler moves together with the database's."""

    def __init__(self, loop: SteppedLoop) -> None:
        """Take the loop."""
        self._loop = loop

    def now(self) -> datetime:
        """Return the present instant."""
        return START + timedelta(microseconds=round(self._loop.time() * 1_000_000))

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep until the scheduler has moved the time so far."""
        await asyncio.sleep(seconds)

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until the scheduler has moved the time there."""
        while (remaining := (instant - self.now()).total_seconds()) > 0:  # noqa: ASYNC110  (time is no event)
            await asyncio.sleep(remaining)


def instant_of(seconds: float) -> datetime:
    """Return an instant of a scenario."""
    return START + timedelta(microseconds=round(seconds * 1_000_000))


def dues(rows: Mapping[str, Any]) -> list[float]:
    """Return the seconds at which something is due, by the rows."""
    texts = [run["wake_at"] for run in rows["runs"]]
    texts += [delivery["next_attempt_at"] for delivery in rows["deliveries"]]
    return [(datetime.fromisoformat(text) - START).total_seconds() for text in texts if text is not None]


def drawn_leap(draw: Draw, now: float, due: Iterable[float], timer: float | None) -> float:
    """Draw where time goes next: to what is due next, mostly; else to a timer, or about so far."""
    coming = sorted(at for at in due if at > now)
    targets: list[tuple[float, float]] = [(0.2, now + draw.between(0.0, 5.0))]
    if timer is not None and timer > now:
        targets.append((0.2, timer))
    if coming:
        targets.append((6.0, coming[0]))
        targets.append((0.5, draw.one(coming) + draw.between(0.0, 1.0)))
    return float(draw.weighed(targets))


def calm_leap(now: float, due: Sequence[float], timer: float | None) -> float:
    """Return where time goes when nothing but time is wanted: to what is due next, or on for a while.

    While something is due already only for a while: who is to find it looks once in a second, and has not
    had that second if time goes on by an hour (a run that one node unparks is found by the other so).
    """
    coming = [at for at in due if at > now]
    awhile = max(timer or 0.0, now + 5.0)
    if not coming:
        return awhile
    return min(*coming, awhile) if len(coming) < len(due) else min(coming)


def deeds_to_come(loop: SteppedLoop) -> list[Timer]:
    """Return what people are going to do later."""
    now = loop.time()
    return [
        timer for timer in loop.timers
        if timer.owner.startswith("deed") and not timer.cancelled() and timer.when() > now
    ]  # fmt: skip
