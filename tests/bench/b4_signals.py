"""B4: from the commit of a signal to the commit of the stop that it brings, with a crowd that waits."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
from tests.bench.frame import Asked, Bench, Given, Side, Stage, Target
from tests.bench.paced import FIGURES, FLOOR, floor, latencies, paced, pacing, ratios, seconds, told
from tests.bench.parked import WARM_S, WORKFLOWS, Crowd, ended

RATES: Final = (1, 100, 1_000)
_ENDED_WITHIN_S: Final = 120.0
_WAITED_MS: Final = """
    select 1000 * extract(epoch from pg_xact_commit_timestamp(t.xid::xid)
                                     - pg_xact_commit_timestamp(s.xid::xid))::float8 as ms
      from chimeway.signals s
      join chimeway.run_mailbox b on b.signal_id = s.id and b.shard = s.shard
      join chimeway.workflow_transitions t on t.run_id = b.run_id and t.reason = 'workflow_stopped'
     where s.id = any($1::uuid[])
"""
_RUNS: Final = "select run_id from chimeway.run_mailbox where signal_id = any($1::uuid[])"
_HOW: Final = (
    "Both ends are the server's own record of when a transaction committed (`track_commit_timestamp`): of one"
    " clock, and taken before the commit is flushed, so that one flush lies between them, the signal's."
    " Recipients are drawn from the whole crowd, seven of ten of one tenant, the others of a thousand."
    " Producers' connections have spoken before: on a new one a first call costs 20 ms of CPU."
)


def benches(asked: Asked) -> Sequence[Bench]:
    """Signals at three rates; and one alone, after a minute in which nothing happened."""
    return _at_rates(asked, Crowd(asked.sized(1_000_000, 10_000))), _alone(
        asked, Crowd(asked.sized(1_000_000, 10_000))
    )


def _at_rates(asked: Asked, crowd: Crowd) -> Bench:
    fastest = told(RATES[-1])
    return Bench(
        code="B4",
        title="From a signal to the stop",
        what=f"{crowd.many:,} runs wait. Signals come at a steady rate over 16 connections; each stops a run."
        f" {_HOW} {FLOOR}",
        sides={told(rate): _signals(crowd, rate, seconds(rate, asked)) for rate in RATES}
        | {f"floor {told(rate)}": floor(rate, seconds(rate, asked)) for rate in RATES},
        figures=FIGURES,
        ratios=ratios(RATES),
        targets=[
            Target("p99", fastest, at_most=15.0, where=Given("p99", f"floor {fastest}", at_most=5.0)),
        ],
        stage=crowd.stage,
    )


def _alone(asked: Asked, crowd: Crowd) -> Bench:
    idle_s, many = asked.sized(60, 5), asked.sized(2, 1)
    return Bench(
        code="B4b",
        title="One signal alone",
        what=f"{crowd.many:,} runs wait, and for {idle_s} seconds nothing happens; then comes one signal."
        f" {many} such make a round, and the worst of them counts. {_HOW}",
        sides={"alone": _signals(crowd, 1 / idle_s, idle_s * many, warm_s=idle_s)},
        figures=FIGURES,
        targets=[Target("worst", "alone", at_most=25.0)],
        stage=crowd.stage,
    )


def _signals(crowd: Crowd, rate: float, seconds: float, warm_s: float = WARM_S) -> Side:

    async def play(stage: Stage) -> Mapping[str, float]:
        people = await crowd.draw(stage.url, max(1, round(rate * seconds)))
        async with stage.daemon(stage.url, WORKFLOWS), pacing(stage.url) as connections:
            await asyncio.sleep(warm_s)
            return await sent(connections, rate, people)

    return play


async def sent(
    connections: "Sequence[asyncpg.Connection[Any]]", rate: float, people: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Send these people a signal each, at a rate; return how long their runs took to stop."""

    async def send(connection: "asyncpg.Connection[Any]", number: int) -> object:
        return await connection.fetchval("select chimeway.signal('read', $1, $2)", *people[number])

    for connection in connections:  # a producer's connection is no new one
        await connection.execute("select chimeway.signal('none', 'bench', 'nobody')")
    await asyncio.sleep(WARM_S)
    ids = await paced(connections, rate, len(people), send)
    async with asyncio.timeout(_ENDED_WITHIN_S):
        while len(runs := await connections[0].fetch(_RUNS, ids)) < len(ids):  # noqa: ASYNC110  (a row is no event)
            await asyncio.sleep(0.2)
        await ended(connections[0], [row["run_id"] for row in runs], _ENDED_WITHIN_S)
    waited = [row["ms"] for row in await connections[0].fetch(_WAITED_MS, ids)]
    assert len(waited) == len(ids), f"{len(waited)} of {len(ids)} runs stopped by their signal"
    return latencies(waited)
