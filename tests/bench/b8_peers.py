"""B8: peers on the same server in the same run. What is compared was written down first: peers.md."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench.frame import Asked, Bench, Figure, Ratio, Stage
from tests.bench.frame.intervals import percentile
from tests.bench.peers import ours
from tests.bench.peers.driven import adapter, alone, database, driven
from tests.bench.peers.environment import base_python

_DBOS: Final = {"poll": 0.1, "threads": 16, "pool": 20}
_ABSURD: Final = {"workers": 8, "batch": 50, "poll": 0.05}
_OBAN: Final = {"limit": 500, "pool": 10}
_PGQUEUER: Final = {"batch": 500}
_SEE: Final = "What is done by each, with which settings and why: [peers](peers.md). "
_COST: Final = (
    Figure("worker CPU", "s per 1,000", "lower"),
    Figure("PostgreSQL CPU", "s per 1,000", "lower"),
)
_SPREAD: Final = (Figure("p50", "ms", "lower"), Figure("p99", "ms", "lower"))


def benches(asked: Asked) -> Sequence[Bench]:
    """Return the four comparisons with peers; none where they cannot run."""
    del asked
    try:
        base_python()
    except LookupError as why:
        print(f"B8 is left out: {why}")
        return []
    return [
        Bench(
            "B8a",
            "Journeys and jobs of peers",
            _SEE
            + "Journeys of Chimeway, DBOS and Absurd: begun in bulk, told in bulk when all wait, ended. Of "
            "DBOS also two steps with no message between. Oban and PgQueuer: jobs that do nothing, inserted "
            "before the clock runs.",
            {
                "chimeway": _ours,
                "dbos": _dbos,
                "dbos, two processes": _dbos_pair,
                "dbos, two steps, no message": _dbos_steps,
                "absurd": _absurd,
                "oban, no-op jobs": _oban,
                "pgqueuer, no-op jobs": _pgqueuer,
            },
            (Figure("per second", "1/s", "higher"), *_COST),
            ratios=[
                Ratio("per second", of="chimeway", to="dbos", target=25.0),
                Ratio("per second", of="chimeway", to="dbos, two processes"),
                Ratio("per second", of="chimeway", to="dbos, two steps, no message"),
                Ratio("per second", of="chimeway", to="absurd"),
                Ratio("per second", of="chimeway", to="oban, no-op jobs", target=1.0),
                Ratio("per second", of="chimeway", to="pgqueuer, no-op jobs"),
                Ratio("worker CPU", of="chimeway", to="dbos"),
                Ratio("PostgreSQL CPU", of="chimeway", to="dbos"),
            ],
        ),
        Bench(
            "B8b",
            "One message, beside DBOS",
            _SEE
            + "From before the call that tells one waiting journey until another connection sees that it "
            "was received.",
            {"chimeway": _our_latency, "dbos": _dbos_latency},
            _SPREAD,
            ratios=[Ratio(each, of="chimeway", to="dbos") for each in ("p50", "p99")],
        ),
        Bench(
            "B8c",
            "A thousand sleepers, beside DBOS",
            _SEE + "How late each of a thousand waits for one instant went on.",
            {"chimeway": _our_lateness, "dbos": _dbos_lateness},
            _SPREAD,
            ratios=[Ratio(each, of="chimeway", to="dbos") for each in ("p50", "p99")],
        ),
        Bench(
            "B8d",
            "Five thousand waiters, beside DBOS",
            _SEE
            + "What each costs in the memory of the worker, and after how long a worker that was killed and "
            "started again has ended ten of them that were told when it said that it was ready.",
            {"chimeway": _our_waiters, "dbos": _dbos_waiters},
            (Figure("per waiter", "KiB", "lower"), Figure("recovered", "s", "lower")),
            ratios=[Ratio(each, of="chimeway", to="dbos") for each in ("per waiter", "recovered")],
        ),
    ]


async def _ours(stage: Stage) -> Mapping[str, float]:
    return await ours.journeys(stage, stage.asked.sized(10_000, 2_000))


async def _dbos(stage: Stage) -> Mapping[str, float]:
    return await _journeys_of(stage, "dbos", stage.asked.sized(1_000, 200), _DBOS)


async def _dbos_pair(stage: Stage) -> Mapping[str, float]:
    return await _journeys_of(stage, "dbos", stage.asked.sized(1_000, 200), _DBOS, workers=2)


async def _dbos_steps(stage: Stage) -> Mapping[str, float]:
    return await _journeys_of(stage, "dbos", stage.asked.sized(1_000, 200), _DBOS, what="steps")


async def _absurd(stage: Stage) -> Mapping[str, float]:
    return await _journeys_of(stage, "absurd", stage.asked.sized(2_000, 200), _ABSURD)


async def _journeys_of(
    stage: Stage,
    name: str,
    many: int,
    settings: Mapping[str, float],
    *,
    workers: int = 1,
    what: str = "journeys",
) -> Mapping[str, float]:
    said, cost = await driven(stage, name, what, workers=workers, many=many, settings=settings)
    return {"per second": many / said["seconds"]} | cost


async def _oban(stage: Stage) -> Mapping[str, float]:
    return await _jobs_of(stage, "oban", stage.asked.sized(20_000, 2_000), _OBAN)


async def _pgqueuer(stage: Stage) -> Mapping[str, float]:
    return await _jobs_of(stage, "pgqueuer", stage.asked.sized(50_000, 5_000), _PGQUEUER)


async def _jobs_of(stage: Stage, name: str, many: int, settings: Mapping[str, float]) -> Mapping[str, float]:
    said, cost = await alone(stage, name, many=many, settings=settings)
    return {"per second": many / said["seconds"]} | cost


async def _our_latency(stage: Stage) -> Mapping[str, float]:
    return _spread(await ours.latencies(stage, stage.asked.sized(200, 20)))


async def _dbos_latency(stage: Stage) -> Mapping[str, float]:
    many = stage.asked.sized(200, 20)
    said, _ = await driven(stage, "dbos", "latency", many=many, settings=_DBOS)
    return _spread(said["took_ms"])


async def _our_lateness(stage: Stage) -> Mapping[str, float]:
    return _spread(await ours.lateness(stage, *_sleep(stage)))


async def _dbos_lateness(stage: Stage) -> Mapping[str, float]:
    many, seconds = _sleep(stage)
    said, _ = await driven(stage, "dbos", "sleepers", many=many, settings=_DBOS | {"seconds": seconds})
    return _spread(said["late_ms"])


def _sleep(stage: Stage) -> tuple[int, float]:
    return stage.asked.sized(1_000, 100), stage.asked.sized(20, 5)


def _spread(values: list[float]) -> dict[str, float]:
    return {"p50": percentile(values, 50), "p99": percentile(values, 99)}


_TOLD: Final = 10
"""How many of the waiters are told after the crash: the clock is to show recovery, not so many ends."""


async def _our_waiters(stage: Stage) -> Mapping[str, float]:
    return await ours.waiters(stage, stage.asked.sized(5_000, 300), _TOLD)


async def _dbos_waiters(stage: Stage) -> Mapping[str, float]:
    many = stage.asked.sized(5_000, 300)
    async with database(stage) as url:
        async with adapter("dbos", "work", url, **_DBOS) as worker:
            meter = worker.meter()
            before_mib = meter.now_mib if meter else 0.0
            async with adapter("dbos", "wait", url, many=many) as drive:
                await drive.goes()
            after_mib = meter.now_mib if meter else 0.0
            await worker.kill()
        async with adapter("dbos", "tell", url, many=many, told=_TOLD) as drive:
            began = time.monotonic()
            async with adapter("dbos", "work", url, **_DBOS):
                await drive.goes()
                recovered_s = time.monotonic() - began
    return {"per waiter": (after_mib - before_mib) * 1024 / many, "recovered": recovered_s}
