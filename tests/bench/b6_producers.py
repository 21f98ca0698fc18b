"""B6: how fast producers write while a daemon listens and works, and what hints cost them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Literal

import asyncpg
from tests.bench.frame import Asked, Bench, Figure, Ratio, Stage
from tests.bench.whole_journeys import SIGNALLED

from chimeway import Chimeway

Way = Literal["SQL", "client"]
Produce = Callable[[list[str]], Awaitable[object]]
_CONNECTIONS = (1, 4, 16)
_BULK = 100
_FIGURES = (Figure("triggers", "1/s", "higher"), Figure("signals", "1/s", "higher"))
_NO_HINTS = """create or replace function chimeway.hint() returns void
  language plpgsql as $$ begin return; end $$"""
_WHAT = """Producers commit as fast as they can, each on a connection of its own, while a daemon listens and
plays what they begin: triggers for half the time, then signals for the same people. By SQL (asyncpg,
prepared) and by the Python client, one a transaction and a hundred a transaction. Each round has a database
and a daemon of its own, so that no backlog is left to the next. All of it shares the machine's cores."""
_WHAT_HINTS = """Sixteen producers, one trigger or signal a transaction, while a daemon listens: as it is, and
with a function for hints that does nothing (the daemon then finds all by looking). `NOTIFY` takes one lock
of the whole database through commit, so commits that notify cannot share a flush; Chimeway notifies only
while a node asks for it. Asked: at least 80 per cent of what is reached without hints."""


@dataclass(frozen=True, slots=True)
class _Doors:
    """How one producer triggers, and how it signals."""

    trigger: Produce
    signal: Produce


def benches(asked: Asked) -> Sequence[Bench]:
    """Return the rates of all ways, and what hints cost."""
    del asked
    ways: list[tuple[Way, int, int]] = [
        (way, at_once, many) for way in ("SQL", "client") for at_once in (1, _BULK) for many in _CONNECTIONS
    ]
    sides = {
        f"{way}, {'single' if at_once == 1 else 'bulk'}, {many}": partial(
            _rates, way=way, at_once=at_once, many=many
        )
        for way, at_once, many in ways
    }
    hinted = partial(_rates, way="SQL", at_once=1, many=16, part=1.0)  # nodes take a moment to notice
    return [
        Bench("B6", "Producers, while a daemon listens", _WHAT, sides, _FIGURES),
        Bench(
            "B6b", "What hints cost sixteen producers", _WHAT_HINTS,
            {"as it is": hinted, "without hints": partial(hinted, hints=False)},
            _FIGURES,
            ratios=[Ratio(each.name, "as it is", "without hints", 0.8) for each in _FIGURES],
        ),
    ]  # fmt: skip


async def _rates(
    stage: Stage, way: Way, at_once: int, many: int, *, hints: bool = True, part: float = 0.5
) -> Mapping[str, float]:
    each_s = (1.0 if stage.asked.quick else stage.asked.seconds) * part
    async with stage.database() as url, stage.daemon(url, SIGNALLED):
        if not hints:
            await _run(url, _NO_HINTS)
        async with _doors(url, way, at_once, many) as doors:
            return {
                "triggers": await _produce([each.trigger for each in doors], at_once, each_s),
                "signals": await _produce([each.signal for each in doors], at_once, each_s),
            }


async def _produce(doors: list[Produce], at_once: int, seconds: float) -> float:
    """Have each producer commit batch after batch for so long; return how many a second they wrote."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def producer(number: int, door: Produce) -> int:
        for batch in count():
            if loop.time() >= began + seconds:
                return batch * at_once
            await door([f"user-{number}-{batch * at_once + n}" for n in range(at_once)])
        raise AssertionError("counting ends never")

    written = sum(await asyncio.gather(*(producer(number, door) for number, door in enumerate(doors))))
    return written / (loop.time() - began)


@asynccontextmanager
async def _doors(url: str, way: Way, at_once: int, many: int) -> AsyncIterator[list[_Doors]]:
    if way == "client":
        async with Chimeway.connect(url, tenant="bench", pool_size=many) as client:
            yield [_of_client(client, at_once)] * many
        return
    held = [await asyncpg.connect(url) for _ in range(many)]
    try:
        yield [_of_sql(connection, at_once) for connection in held]
    finally:
        for connection in held:
            await connection.close()


def _of_sql(connection: asyncpg.Connection, at_once: int) -> _Doors:
    if at_once == 1:
        return _Doors(
            lambda people: connection.fetchval("select chimeway.trigger('bench', 'bench', $1)", people[0]),
            lambda people: connection.fetchval("select chimeway.signal('read', 'bench', $1)", people[0]),
        )
    signal = "select chimeway.signal('read', 'bench', u) from unnest($1::text[]) u"
    return _Doors(
        lambda people: connection.fetch("select chimeway.trigger_many('bench', 'bench', $1)", people),
        lambda people: connection.fetch(signal, people),
    )


def _of_client(client: Chimeway, at_once: int) -> _Doors:
    if at_once == 1:
        return _Doors(
            lambda people: client.trigger("bench", recipients=people),
            lambda people: client.signal("read", actor=people[0]),
        )
    return _Doors(
        lambda people: client.trigger("bench", recipients=people),
        lambda people: client.signal_many({"type": "read", "actor": actor} for actor in people),
    )


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
