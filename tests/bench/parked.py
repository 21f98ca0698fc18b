"""A crowd that waits: runs parked in bulk, as the engine would have written them; some get signals.

A few journeys are really played until they wait; all others are copies of their rows (`kit.multitude`). Seven
of ten are of one tenant, the others of a thousand. Who gets a signal is drawn from the whole crowd, without
repetition, so that rows are as cold as a stranger's; as many are parked anew before each round.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import asyncpg
from tests.bench.frame import Asked, Stage, own_server
from tests.bench.frame.stage import SETTINGS
from tests.kit import multitude

TENANT: Final = "bench"
WORKFLOWS: Final = """
key: parked
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: P30D, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
---
key: due
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, until: {data: at}, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: in_app, render_key: plain}
"""
_PLAYED: Final = 10
_SCATTER: Final = 7_368_787  # a prime: its multiples go through a crowd of any size that it does not divide
_PARKED_WITHIN_S: Final = 60.0
WARM_S: Final = 3.0
"""How long a daemon is at work before anything is asked of it: it lets in few in its first seconds."""
_SIZE: Final = """
    select sum(pg_total_relation_size(oid)) from pg_class
     where relnamespace = 'chimeway'::regnamespace and relkind = 'r'
"""

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Crowd:
    """So many parked runs in one database. A stage of its own makes them, and sides draw from them."""

    def __init__(self, many: int, *, people: bool = True) -> None:
        """Take how many wait, and whether their recipients have profiles."""
        assert not many % _PLAYED, "copies are shared out evenly"
        assert many % _SCATTER, "they are drawn without repetition"
        self.many = many
        self._people = people
        self._played: list[asyncpg.Record] = []
        self._made = self._drawn = 0
        self.bytes_a_run = self.wal_a_run = 0.0
        """What a parked run takes on disk, tables and indexes, and in WAL while it was copied."""

    @asynccontextmanager
    async def stage(self, asked: Asked) -> AsyncIterator[Stage]:
        """Begin a server, and park the crowd in its database."""
        async with own_server((*SETTINGS, "track_commit_timestamp=on"))(asked) as bare:
            about = {"track_commit_timestamp": "on", "parked runs": f"{self.many:,}"}
            stage = replace(bare, settings={**bare.settings, **about})
            await self.fill(stage)
            yield stage

    async def fill(self, stage: Stage) -> None:
        """Park the whole crowd: no daemon works there yet."""
        async with stage.daemon(stage.url, WORKFLOWS), connected(stage.url) as connection:
            for number in range(_PLAYED):
                await connection.fetch("select chimeway.trigger('parked', $1, $2)", TENANT, f"crowd{number}")
            self._played = await parked(connection, "parked", _PLAYED)
        began = time.monotonic()
        async with connected(stage.url) as one, connected(stage.url) as other:
            before = await one.fetchrow(f"select pg_current_wal_lsn() as wal, ({_SIZE}) as size")
            share = self.many // _PLAYED
            copies = {run["id"]: share for run in self._played}
            await multitude.multiply(one, copies, beside=[other], people=self._people)
            after = await one.fetchrow(
                f"select pg_wal_lsn_diff(pg_current_wal_lsn(), $1) as wal, ({_SIZE}) - $2 as size", *before
            )
            await one.execute("checkpoint")
        self.wal_a_run, self.bytes_a_run = (float(after[name]) / self.many for name in ("wal", "size"))
        self._made = self.many
        stage.say(f"{self.many:,} runs parked in {time.monotonic() - began:.0f} s")

    async def draw(self, url: str, many: int) -> list[tuple[str, str]]:
        """Choose who gets a signal, each as tenant and recipient; as many are parked anew."""
        chosen = [self._person(place) for place in range(self._drawn, self._drawn + many)]
        async with connected(url) as connection:
            copies = {self._played[0]["id"]: many}
            await multitude.multiply(connection, copies, first=self._made + 1, live=True, people=self._people)
            await connection.execute("checkpoint")
        self._made += many
        self._drawn += many
        return chosen

    def _person(self, place: int) -> tuple[str, str]:
        number = place + 1 if place >= self.many else place * _SCATTER % self.many + 1
        played = self._played[(number - 1) // (self.many // _PLAYED) if number <= self.many else 0]
        return multitude.tenant(TENANT, number), multitude.person(played["recipient_id"], number)


async def parked(connection: Connection, workflow: str, many: int) -> list[asyncpg.Record]:
    """Wait until so many runs of a workflow wait, and return them in the order of their recipients' names."""
    async with asyncio.timeout(_PARKED_WITHIN_S):
        while True:
            found = await connection.fetch(
                """select id, recipient_id from chimeway.workflow_runs
                    where workflow_key = $1 and state = 'waiting' order by recipient_id limit $2""",
                workflow, many,
            )  # fmt: skip
            if len(found) == many:
                return list(found)
            await asyncio.sleep(0.05)


async def ended(
    connection: Connection,
    runs: Sequence[object],
    within_s: float,
    states: Sequence[str] = ("active", "waiting"),
) -> None:
    """Wait until none of these runs is in one of some states: until none is live."""
    async with asyncio.timeout(within_s):
        while await connection.fetchval(  # noqa: ASYNC110  (a row is no event)
            """select exists (select from chimeway.workflow_runs
                               where id = any($1::uuid[]) and state = any($2::text[]))""",
            runs,
            states,
        ):
            await asyncio.sleep(0.2)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Lend a plain connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
