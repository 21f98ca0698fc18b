"""Calls at a steady rate, whatever each takes; and its floor: one row committed, one NOTIFY heard."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from tests.bench.frame import Asked, Figure, Ratio, Side, Stage
from tests.bench.frame.intervals import percentile

T = TypeVar("T")
Call = Callable[["asyncpg.Connection[Any]", int], Awaitable[T]]
_CONNECTIONS: Final = 16
_WARM: Final = 3
FIGURES: Final = (
    Figure("p50", "ms", "lower"),
    Figure("p99", "ms", "lower"),
    Figure("worst", "ms", "lower", plotted=False),
    Figure("many", "", plotted=False),
)
FLOOR: Final = (
    "The floor commits one row with a NOTIFY at the same rate over 16 connections: from each call until it"
    " is heard."
)
_FLOOR: Final = """
    with written as (insert into public.bench_floor (n) values ($1) returning n)
    select pg_notify('bench_floor', n::text) from written
"""


@asynccontextmanager
async def pacing(url: str, many: int = _CONNECTIONS) -> AsyncIterator[list["asyncpg.Connection[Any]"]]:
    """Open the connections of producers."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(many):
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            found.append(connection)
        yield found


async def paced(
    connections: "Sequence[asyncpg.Connection[Any]]", rate: float, many: int, call: Call[T]
) -> list[T]:
    """Make so many calls, the n-th n/rate seconds after the first, or as soon as a connection is free."""
    results: dict[int, T] = {}
    numbers, began = iter(range(many)), time.monotonic()

    async def work(connection: "asyncpg.Connection[Any]") -> None:
        for number in numbers:
            await asyncio.sleep(began + number / rate - time.monotonic())
            results[number] = await call(connection, number)

    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(work(connection))
    return [results[number] for number in range(many)]


def floor(rate: float, seconds: float) -> Side:
    """Return a side that commits single rows with a NOTIFY at a rate: from each call until it is heard."""

    async def play(stage: Stage) -> Mapping[str, float]:
        began: dict[int, float] = {}
        heard: dict[int, float] = {}
        all_heard, many = asyncio.Event(), max(_WARM, round(rate * seconds))

        def hear(_connection: object, _pid: object, _channel: object, payload: Any) -> None:
            heard[int(payload)] = time.monotonic()
            if len(heard) == many:
                all_heard.set()

        async def commit(connection: "asyncpg.Connection[Any]", number: int) -> None:
            began[number] = time.monotonic()
            await connection.execute(_FLOOR, number)

        async with pacing(stage.url) as connections, pacing(stage.url, 1) as (ear,):
            await ear.execute("create table if not exists public.bench_floor (n int)")
            for connection in connections:
                await connection.execute(_FLOOR, 0)  # its plan is made
            await ear.add_listener("bench_floor", hear)
            await paced(connections, rate, many, commit)
            await asyncio.wait_for(all_heard.wait(), 10)
        return latencies([1000 * (heard[number] - began[number]) for number in range(many)])

    return play


def latencies(found_ms: Sequence[float]) -> dict[str, float]:
    """Return what a round tells of latencies."""
    return {
        "p50": percentile(found_ms, 50), "p99": percentile(found_ms, 99), "worst": max(found_ms),
        "many": len(found_ms),
    }  # fmt: skip


def told(rate: float) -> str:
    """Return the name of a rate."""
    return f"{rate:,}/s"


def seconds(rate: float, asked: Asked) -> float:
    """Return for how long a rate is kept up: so long that there are a hundred calls, if that may be."""
    return max(asked.seconds, min(asked.sized(100, 10) / rate, 5 * asked.seconds))


def ratios(rates: Sequence[float]) -> list[Ratio]:
    """Return how each rate's 99th percentile is to its floor's; something is asked of the fastest."""
    asked = {rates[-1]: 3.0}
    return [Ratio("p99", told(rate), f"floor {told(rate)}", target=asked.get(rate)) for rate in rates]
