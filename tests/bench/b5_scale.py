"""B5: what B2 to B4 measure, with few and with very many runs that wait, each in a database of its own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.bench.b3_wakes import woken
from tests.bench.b4_signals import sent
from tests.bench.frame import Asked, Bench, Daemon, Figure, Ratio, Side, Stage, Target
from tests.bench.paced import pacing
from tests.bench.parked import TENANT, WARM_S, WORKFLOWS, Connection, Crowd, ended

_RATE: Final = 1_000
_AT_ONCE: Final = 1_000
_LOST: Final = 1.1
"""At most a tenth may be lost."""
_FIGURES: Final = (
    Figure("journeys", "1/s", "higher"),
    Figure("daemon CPU", "s per 1,000 journeys", "lower"),
    Figure("PostgreSQL CPU", "s per 1,000 journeys", "lower"),
    Figure("wake p50", "ms", "lower"),
    Figure("wake p99", "ms", "lower"),
    Figure("signal p50", "ms", "lower"),
    Figure("signal p99", "ms", "lower"),
    Figure("ready", "s", "lower"),
    Figure("memory", "MiB", "lower"),
    Figure("disk", "KiB a parked run", "lower", plotted=False),
    Figure("WAL", "KiB a journey", "lower", plotted=False),
)
_WHAT: Final = (
    "Each size has a server of its own, filled before anything is measured; rounds alternate between them,"
    " and no other daemon runs. A round starts a daemon (`ready`: from its start until it has all shards),"
    " plays journeys in bulk as B2 does, then wakes at 1,000/s as B3 and signals at 1,000/s as B4, to runs"
    " drawn from the whole crowd. Memory is the most that the daemon's process held. Disk is what all tables"
    " and indexes hold for one parked run, an in-app message with it; WAL what the server wrote for one whole"
    " journey, images of pages after a checkpoint included."
)


def benches(asked: Asked) -> Sequence[Bench]:
    """Ten thousand and a million parked runs; with `--full` ten million, too."""
    sizes = [asked.sized(1_000_000, 20_000), asked.sized(10_000, 1_000)]
    if asked.full:
        sizes.insert(0, 10_000_000)
    scale = _Scale(sizes)
    many, few = f"{sizes[0]:,}", f"{sizes[-1]:,}"
    compared = [figure for figure in _FIGURES if figure.name not in {"disk", "WAL", "ready"}]
    return (
        Bench(
            code="B5",
            title="With very many parked runs",
            what=_WHAT,
            sides={f"{size:,}": scale.side(size) for size in sizes},
            figures=_FIGURES,
            ratios=[
                Ratio(figure.name, many, few, target=1 / _LOST if figure.better == "higher" else _LOST)
                for figure in compared
            ],
            targets=[Target("memory", f"{size:,}", at_most=200.0) for size in sizes]
            + [Target("ready", f"{size:,}", at_most=2.0) for size in sizes],
            stage=scale.stage,
        ),
    )


class _Scale:
    """Servers, each with a crowd of another size."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._crowds = {size: Crowd(size, people=False) for size in sizes}
        self._stages: dict[int, Stage] = {}

    @asynccontextmanager
    async def stage(self, asked: Asked) -> AsyncIterator[Stage]:
        """Begin all servers; the figures' settings are those of the last."""
        async with AsyncExitStack() as stack:
            for size, crowd in self._crowds.items():
                self._stages[size] = await stack.enter_async_context(crowd.stage(asked))
            yield self._stages[next(reversed(self._crowds))]

    def side(self, size: int) -> Side:
        """Return the side of one size."""

        async def play(_: Stage) -> Mapping[str, float]:
            return await _round(self._stages[size], self._crowds[size])

        return play


async def _round(stage: Stage, crowd: Crowd) -> Mapping[str, float]:
    people = await crowd.draw(stage.url, round(_RATE * stage.asked.seconds))
    began = time.monotonic()
    async with stage.daemon(stage.url, WORKFLOWS) as daemon, pacing(stage.url) as connections:
        ready = time.monotonic() - began
        await asyncio.sleep(WARM_S)
        found = await _journeys(stage, connections[0], daemon)
        wakes = await woken(connections, _RATE, round(_RATE * stage.asked.seconds))
        signals = await sent(connections, _RATE, people)
        meter = daemon.meter()
        memory = {} if meter is None else {"memory": meter.peak_mib}
    return {
        **found,
        **{f"wake {name}": wakes[name] for name in ("p50", "p99")},
        **{f"signal {name}": signals[name] for name in ("p50", "p99")},
        "ready": ready,
        **memory,
        "disk": crowd.bytes_a_run / 1024,
    }


async def _journeys(stage: Stage, rows: Connection, daemon: Daemon) -> dict[str, float]:
    """Trigger journeys in bulk; when all wait, signal all; return how fast it went, pauses not counted."""
    many = stage.asked.sized(10_000, 2_000)
    batches = [
        [f"whole_{time.monotonic()}_{first + n}" for n in range(_AT_ONCE)]
        for first in range(0, many, _AT_ONCE)
    ]
    meters = {"daemon CPU": daemon.meter(), "PostgreSQL CPU": stage.server.meter()}
    before, runs, seconds = await rows.fetchval("select pg_current_wal_lsn()"), [], 0.0
    for verb, over in (("trigger", "entered_at"), ("signal", "ended_at")):
        began = await rows.fetchval("select clock_timestamp()")
        for people in batches:
            runs += await _tell(rows, verb, people)
        for part in (runs[first : first + _AT_ONCE] for first in range(0, many, _AT_ONCE)):
            await ended(rows, part, 300, states=("active",) if verb == "trigger" else ("active", "waiting"))
        last = await rows.fetchval(
            f"select max({over}) from chimeway.workflow_runs where id = any($1::uuid[])", runs
        )
        seconds += (last - began).total_seconds()
    wal = await rows.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", before)
    used = {name: meter.cpu_s / many * 1000 for name, meter in meters.items() if meter is not None}
    return {"journeys": many / seconds, "WAL": float(wal) / many / 1024, **used}


async def _tell(rows: Connection, verb: str, people: Sequence[str]) -> list[object]:
    """Trigger these, and return their runs; or signal them, which makes none."""
    if verb == "signal":
        await rows.fetch("select chimeway.signal('read', $1, u) from unnest($2::text[]) u", TENANT, people)
        return []
    found = await rows.fetch(
        "select run_id from chimeway.trigger_many('parked', $1, $2::text[], $3)",
        TENANT,
        people,
        json.dumps({}),
    )
    return [row["run_id"] for row in found]
