"""Says whether the node keeps up, with figures: to the log when that changes, and to whoever asks.

**What is measured.** The latest of what is due by now and not taken up, runs and deliveries as the near
sweeps see them (what waits for its own pause, is stuck, or is for a channel that is full or shut is not
counted: that has lines of its own), and signals that nobody has routed. What is taken up is bounded by
construction (places, lines, queues: `limits`), so it is the queue in the database that grows, and its age
that says how much.

**What is told.** `overload.began` once, `overload.over` once, by a slow hand (`strain`): a node that swings
about the bound writes no flood. While all is well nothing is asked of the database.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chimeway.clock import Clock
from chimeway.engine.lately import Took
from chimeway.engine.strain import Late, Strain
from chimeway.limits import READY_ASKED_S, READY_KEPT_S
from chimeway.log import Events
from chimeway.store.backlog import Backlog, counted_to, measure
from chimeway.store.faults import passes
from chimeway.store.pool import Database
from chimeway.store.questions import Question

_log = Events()
_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class AtWork:
    """What a node has taken up: how many, and how long ago the first of them was."""

    runs: int
    runs_s: float
    runs_took: Took
    """From being taken up until nothing more was to be decided, lately."""
    deliveries: int
    deliveries_s: float


@dataclass(frozen=True, slots=True)
class Sources:
    """Who is asked.

    `late` gives how late the runs and deliveries are that are due and not taken up, `routing` says whether
    more signals wait than one batch, `trusted` whether the database was heard of late; `shards` are those
    whose backlog is counted.
    """

    late: Callable[[], Sequence[Late]]
    routing: Callable[[], bool]
    at_work: Callable[[], AtWork]
    shards: Callable[[], Collection[int]]
    trusted: Callable[[], bool]


class Gauge:
    """Looks twice a second while the node works."""

    def __init__(self, database: Database, clock: Clock, sources: Sources, max_lateness_s: float) -> None:
        """Take whom to ask, and how late anything may be."""
        self._database = database
        self._clock = clock
        self._sources = sources
        self._strain = Strain(max_lateness_s)
        self._late = Late(0.0, "run")
        self._counted: Question[Backlog | None] = Question(waits_s=READY_ASKED_S, kept_s=READY_KEPT_S)

    def trusted(self) -> bool:
        """Say whether the database was heard of late, on a connection that no storm keeps busy."""
        return self._sources.trusted()

    def late(self) -> Late:
        """Return how late the latest was when it looked last, and what it was."""
        return self._late

    def overloaded(self) -> bool:
        """Say whether it was told that work is late, and not that it is in time again."""
        return self._strain.since is not None

    def at_work(self) -> AtWork:
        """Return what the node has taken up."""
        return self._sources.at_work()

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once, and say what has changed."""
        found = await self.backlog() if self._sources.routing() else None
        signals = Late(0.0 if found is None else found.signal_s, "signal")
        self._late = max((*self._sources.late(), signals), key=lambda late: late.seconds)
        since, now = self._strain.since, self._clock.monotonic()
        match self._strain.note(self._late, now):
            case "began":
                await self._say_began()
            case "over":
                assert since is not None, "what is over has begun"
                worst = self._strain.worst
                _log.info(
                    "overload.over", seconds=round(now - since, 3), lateness_s=round(worst.seconds, 3),
                    of=worst.of,
                )  # fmt: skip

    async def figures(self) -> dict[str, Any]:
        """Return what whoever asks is told beside the state: lateness, backlog, and what is at work."""
        backlog = await self.backlog()
        told: dict[str, Any] = {
            "lateness_s": round(self._late.seconds, 3),
            "backlog": None if backlog is None else _shown(backlog, counted_to(self._sources.shards())),
            "at_work": _at_work(self._sources.at_work()),
        }
        if self._strain.since is not None:
            worst = self._strain.worst
            told["overload"] = {
                "seconds": round(self._clock.monotonic() - self._strain.since, 3),
                "worst_lateness_s": round(worst.seconds, 3),
                "of": worst.of,
            }
        return told

    async def backlog(self) -> Backlog | None:
        """Count what waits, once a second at most; None: it cannot be counted now.

        In a storm all connections may be busy for so long, and a database that is lost is told elsewhere.
        """
        try:
            return await self._counted.answer(self._count)
        except TimeoutError:
            return None

    async def _count(self) -> Backlog | None:
        try:
            return await measure(self._database, self._sources.shards(), self._clock.now())
        except Exception as error:
            if not passes(error):
                raise
            return None

    async def _say_began(self) -> None:
        found, at_work = await self.backlog(), self._sources.at_work()
        counted = (None, None, None) if found is None else (found.runs, found.deliveries, found.signals)
        _log.warning(
            "overload.began", lateness_s=round(self._late.seconds, 3), of=self._late.of,
            runs=counted[0], deliveries=counted[1], signals=counted[2], at_work=at_work.runs,
        )  # fmt: skip


def _shown(found: Backlog, most: int) -> dict[str, int]:
    return {
        "runs": found.runs,
        "deliveries": found.deliveries,
        "signals": found.signals,
        "counted_to": most,
    }


def _at_work(found: AtWork) -> dict[str, float]:
    return {
        "runs": found.runs,
        "oldest_run_s": round(found.runs_s, 3),
        "run_p50_s": round(found.runs_took.p50, 3),
        "run_p99_s": round(found.runs_took.p99, 3),
        "run_longest_s": round(found.runs_took.longest, 3),
        "deliveries": found.deliveries,
        "oldest_delivery_s": round(found.deliveries_s, 3),
    }
