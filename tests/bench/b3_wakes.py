"""B3: from the instant at which a wait is over to the commit of what follows it."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from tests.bench.frame import Asked, Bench, Figure, Given, Side, Stage, Target
from tests.bench.paced import FIGURES, FLOOR, floor, latencies, paced, pacing, ratios, seconds, told
from tests.bench.parked import TENANT, WARM_S, WORKFLOWS, Crowd, connected, ended, parked
from tests.kit import multitude

RATES: Final = (10, 100, 1_000)
_PARKED_A_SECOND: Final = 400
"""So many runs at least are triggered and come to their wait in a second, also on a slow machine."""
_ENDED_WITHIN_S: Final = 600.0
_PLAYED: Final = 20
_LATE_MS: Final = """
    select 1000 * extract(epoch from pg_xact_commit_timestamp(t.xid::xid) - due)::float8 as ms,
           t.at < due as early, t.run_id, due as due_at, pg_xact_commit_timestamp(t.xid::xid) as committed_at
      from chimeway.workflow_transitions t
     cross join lateral (select (t.context->>'due_at')::timestamptz as due) d
     where t.run_id = any($1::uuid[]) and t.reason = 'reactivated_from_wait'
"""
_HOW: Final = (
    "Lateness is from a run's due_at to the commit of the decision that its wait is over, as the server"
    " records it (`track_commit_timestamp`): of one clock, taken before the commit is flushed. No wake may"
    " be early, by the database's clock: a round in which one was fails."
)


def benches(asked: Asked) -> Sequence[Bench]:
    """Waits that are over at three rates; and a great many that are over in one second."""
    return _at_rates(asked, Crowd(asked.sized(10_000, 1_000))), _at_once(
        asked, Crowd(asked.sized(10_000, 1_000)), asked.sized(100_000, 2_000)
    )


def _at_rates(asked: Asked, crowd: Crowd) -> Bench:
    fastest = told(RATES[-1])
    return Bench(
        code="B3",
        title="Wake lateness",
        what="Runs, triggered one by one, wait until instants that follow each other at a steady rate; then"
        f" comes an in-app message, and the end. {_HOW} Beside them {crowd.many:,} runs wait. {FLOOR}",
        sides={told(rate): wakes(rate, seconds(rate, asked)) for rate in RATES}
        | {f"floor {told(rate)}": floor(rate, seconds(rate, asked)) for rate in RATES},
        figures=FIGURES,
        ratios=ratios(RATES),
        targets=[Target("p99", fastest, at_most=15.0, where=Given("p99", f"floor {fastest}", at_most=5.0))],
        stage=crowd.stage,
    )


def _at_once(asked: Asked, crowd: Crowd, many: int) -> Bench:
    del asked
    return Bench(
        code="B3b",
        title="A great many due in one second",
        what=f"{many:,} runs that wait (copies of {_PLAYED} that were played) fall due in one second; each"
        f" is given an in-app message and ends. From the first due instant until all are decided. {_HOW}",
        sides={"at once": _drain(many)},
        figures=(
            Figure("drained", "s", "lower"),
            Figure("per_s", "1/s", "higher"),
            *FIGURES,
        ),
        stage=crowd.stage,
    )


def wakes(rate: float, seconds: float) -> Side:
    """Return a side in which waits are over at a rate."""

    async def play(stage: Stage) -> Mapping[str, float]:
        async with stage.daemon(stage.url, WORKFLOWS), pacing(stage.url) as connections:
            await asyncio.sleep(WARM_S)
            return await woken(connections, rate, round(rate * seconds))

    return play


async def woken(connections: "Sequence[asyncpg.Connection[Any]]", rate: float, many: int) -> dict[str, float]:
    """Park so many runs whose waits are over at a rate; return how late they went on."""
    began = time.monotonic()
    first = datetime.now(UTC) + timedelta(seconds=2 + many / _PARKED_A_SECOND)

    async def trigger(connection: "asyncpg.Connection[Any]", number: int) -> object:
        at = _data(first + timedelta(seconds=number / rate))
        person = f"due_{began}_{number}"
        return await connection.fetchval("select chimeway.trigger('due', $1, $2, $3)", TENANT, person, at)

    runs = await paced(connections, 2 * _PARKED_A_SECOND, many, trigger)
    await asyncio.sleep((first - datetime.now(UTC)).total_seconds() + many / rate)
    await ended(connections[0], runs, _ENDED_WITHIN_S)
    return latencies([row["ms"] for row in await _late(connections[0], runs)])


async def _late(connection: "asyncpg.Connection[Any]", runs: Sequence[object]) -> list[asyncpg.Record]:
    rows = await connection.fetch(_LATE_MS, runs)
    assert len(rows) == len(runs), f"{len(rows)} of {len(runs)} waits are over"
    early = [row["run_id"] for row in rows if row["early"]]
    assert not early, f"{len(early)} runs went on before they were due: {early[:3]}"
    return list(rows)


def _drain(many: int) -> Side:
    async def play(stage: Stage) -> Mapping[str, float]:
        first = datetime.now(UTC) + timedelta(seconds=20 + many / 2_000)
        async with connected(stage.url) as connection:
            recipient = f"flood_{first.timestamp():.0f}"
            async with stage.daemon(stage.url, WORKFLOWS):
                for number in range(_PLAYED):
                    at = _data(first + timedelta(seconds=number / _PLAYED))
                    await connection.fetchval(
                        "select chimeway.trigger('due', $1, $2, $3)", TENANT, f"{recipient}_{number}", at
                    )
                played = await parked(connection, "due", _PLAYED)
            async with connected(stage.url) as copier:
                share = many // _PLAYED - 1
                await multitude.multiply(copier, {run["id"]: share for run in played}, live=True)
            await connection.execute("checkpoint")
            left_s = (first - datetime.now(UTC)).total_seconds()
            assert left_s > WARM_S, f"the runs were parked {-left_s} seconds before they are due"
            async with stage.daemon(stage.url, WORKFLOWS):
                runs = [
                    row["id"]
                    for row in await connection.fetch(
                        """select id from chimeway.workflow_runs where workflow_key = 'due'
                            and state = 'waiting' and wake_at between $1 and $1 + interval '1 second'""",
                        first,
                    )
                ]
                assert len(runs) == many
                await asyncio.sleep((first - datetime.now(UTC)).total_seconds() + 1)
                await ended(connection, runs, _ENDED_WITHIN_S)
            late = await _late(connection, runs)
        drained = (max(row["committed_at"] for row in late) - first).total_seconds()
        return {"drained": drained, "per_s": many / drained} | latencies([row["ms"] for row in late])

    return play


def _data(at: datetime) -> str:
    return json.dumps({"at": at.isoformat().replace("+00:00", "Z")})
