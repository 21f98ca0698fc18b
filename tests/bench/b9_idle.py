"""B9: what a daemon costs that has nothing to do, with a million runs that wait."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg
from tests.bench.frame import Asked, Bench, Figure, Stage, Target, own_server
from tests.bench.parked import WORKFLOWS, Crowd

_WHAT = """A daemon whose runs all wait for days, and to whom nobody speaks: how many statements a second it
makes (those that reach the server from outside, as pg_stat_statements counts them), and the CPU of its
process and of PostgreSQL's whole process tree, the lease's beats, autovacuum and the counting itself
included. With a million parked runs, and with none."""
_SETTLES_S = 15.0
_FIGURES = (
    Figure("statements", "1/s", "lower"),
    Figure("daemon CPU", "% of a core", "lower"),
    Figure("PostgreSQL CPU", "% of a core", "lower"),
    Figure("daemon memory", "MiB", "lower"),
)
_COUNTED = """select sum(calls)::float8 from pg_stat_statements
  where toplevel and dbid = (select oid from pg_database where datname = current_database())"""


def benches(asked: Asked) -> Sequence[Bench]:
    """Return B9."""
    crowd = Crowd(asked.sized(1_000_000, 10_000))
    many = f"{crowd.many:,} parked runs"
    targets = [Target("statements", many, at_most=3.0), Target("daemon CPU", many, at_most=1.0)]

    @asynccontextmanager
    async def stage(asked: Asked) -> AsyncIterator[Stage]:
        async with own_server(statements=True)(asked) as bare:
            await crowd.fill(bare)
            yield bare

    sides = {many: _among, "none": _alone}
    return [Bench("B9", "An idle daemon", _WHAT, sides, _FIGURES, targets=targets, stage=stage)]


async def _alone(stage: Stage) -> Mapping[str, float]:
    async with stage.database() as url:
        return await _idle(stage, url)


async def _among(stage: Stage) -> Mapping[str, float]:
    return await _idle(stage, stage.url)


async def _idle(stage: Stage, url: str) -> Mapping[str, float]:
    settles_s, seconds = (5.0, 10.0) if stage.asked.quick else (_SETTLES_S, max(30.0, stage.asked.seconds))
    async with stage.daemon(url, WORKFLOWS) as daemon:
        await asyncio.sleep(settles_s)
        before, found = await _counted(url), {"daemon": daemon.meter(), "PostgreSQL": stage.server.meter()}
        await asyncio.sleep(seconds)
        used = {f"{name} CPU": 100 * each.cpu_s / seconds for name, each in found.items() if each is not None}
        many = await _counted(url) - before - 1  # but for the first count
        told = {"statements": many / seconds, **used}
        return told if (meter := found["daemon"]) is None else told | {"daemon memory": meter.peak_mib}


async def _counted(url: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        many: float = await connection.fetchval(_COUNTED)
    finally:
        await connection.close()
    return many
