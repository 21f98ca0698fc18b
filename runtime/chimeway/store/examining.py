"""What `chimeway doctor` asks: the server, who blocks whom, what keeps rows from being removed, tables, work.

Facts alone; what they mean stands in `client.diagnosis`. Nothing here needs an extension, a superuser, or
more than to read; who may not see others' sessions sees fewer of them, and `Server.sees_all` says so.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import uuid4

from chimeway.clock import SystemClock
from chimeway.errors import DatabaseUnavailable
from chimeway.limits import BACKLOG_SIGNALS, CONSOLE_WINDOW, MAX_PAGE
from chimeway.store import backlog, nodes, schema, whereabouts
from chimeway.store.glimpses import ChannelWaiting
from chimeway.store.hints import HintLine
from chimeway.store.ids import SHARDS, least_id
from chimeway.store.pool import Database, connect
from chimeway.store.pooler import close, is_pooled
from chimeway.store.whereabouts import ListedNode
from chimeway.store.words import in_our_words

_T = TypeVar("_T")
_PROBE_S: Final = 5.0
_NAME: Final = "chimeway doctor"
_LATE: Final = timedelta(seconds=5)
"""A message that has been due for so long is past its time."""
_LATELY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Server:
    """The server, as this session sees it."""

    version: int
    told: str
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    autovacuum: str
    read_only: str
    standby: bool
    places: int
    connections: int
    tls: bool
    local: bool
    role: str
    sees_all: bool
    frozen_age: int
    notifications: float
    now: datetime


@dataclass(frozen=True, slots=True)
class Blocking:
    """A session that waits for a lock, and one who holds it."""

    blocked: int
    blocked_name: str
    waited_s: float | None
    pid: int | None
    name: str | None
    role: str | None
    state: str | None
    open_s: float | None


@dataclass(frozen=True, slots=True)
class Holding:
    """What keeps dead rows: a session, a prepared transaction, or a replication slot."""

    kind: str
    which: str
    name: str
    state: str
    open_s: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of ours."""

    name: str
    live: int
    dead: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    scans: int
    scanned: int
    fetched: int
    bytes: int
    needed: float
    unvacuumed: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index of ours."""

    name: str
    of: str
    whole: bool
    bytes: int
    entries: float
    scans: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be seen of the server whatever is locked; times are in seconds."""

    server: Server
    round_trip_s: float
    pooled: bool
    direct: bool
    """Whether a way past a pooler was named."""
    offset_s: float
    """By how much this machine's clock is ahead of the database's."""
    hint_s: float | None
    """How long a hint takes; None: none came."""
    blocking: Sequence[Blocking]
    holding: Sequence[Holding]
    tables: Sequence[Table]
    indexes: Sequence[Index]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A channel by which workflows send, of those that triggers start now: how many, and some of them."""

    channel: str
    many: int
    workflows: Sequence[str]


@dataclass(frozen=True, slots=True)
class FailedBy:
    """How many messages of a channel failed for good, of so many that were planned."""

    channel: str
    failed: int
    planned: int


@dataclass(frozen=True, slots=True)
class Work:
    """What stands in our tables."""

    schema: int
    nodes: Sequence[ListedNode]
    ownerless: str
    signals: int
    signal_s: float
    open_attempts: int
    oldest_attempt_s: float
    definitions: Sequence[tuple[str, int, Mapping[str, Any]]]
    channels: Sequence[Wanted]
    restored: int
    """Messages that a restore holds back until somebody decides (a thousand at most)."""
    paused: Sequence[str]
    """Keys of workflows that are paused (as many)."""
    late: Sequence[ChannelWaiting]
    """By which channels messages should have gone out some while ago."""
    failed: Sequence[FailedBy]
    """By which channels messages of the last hour failed for good, the worst first."""


async def examine(database: Database, *, open_s: float) -> Facts:
    """Look at the server; transactions are listed that are open for longer than that.

    It waits for no lock of ours: who holds one that all wait for is just what is asked.
    """
    with in_our_words():
        server, took_s, offset_s = await _server(database)
        return Facts(
            server=server,
            round_trip_s=took_s,
            pooled=await _pooled(database),
            direct=database.direct_url != database.url,
            offset_s=offset_s,
            hint_s=await _hint(database),
            blocking=await _all(database, Blocking, "examined_blocking"),
            holding=await _all(database, Holding, "examined_snapshots", open_s),
            tables=await _all(database, Table, "examined_tables"),
            indexes=await _all(database, Index, "examined_indexes"),
        )


async def examine_work(database: Database, *, attempt_s: float) -> Work:
    """Look at what stands in our tables; calls to providers are counted that began longer ago than that.

    Raises:
        SchemaMismatch: there is no schema, or one on which this program cannot work.
    """
    with in_our_words():
        there = await schema.require(database)
        row = await database.fetchrow("examined_attempts", attempt_s)
        assert row is not None, "a count has a row"
        now = await nodes.database_now(database)
        waits = await backlog.measure(database, SHARDS, now)
        late = await _all(database, ChannelWaiting, "channels_waiting", now - _LATE)
        found = await database.fetch("examined_definitions", MAX_PAGE)
        return Work(
            schema=there.number,
            nodes=await whereabouts.listed_nodes(database),
            ownerless=await whereabouts.ownerless(database),
            signals=min(waits.signals, BACKLOG_SIGNALS),
            signal_s=waits.signal_s,
            open_attempts=row["many"],
            oldest_attempt_s=row["oldest_s"] or 0.0,
            definitions=[(each["key"], each["version"], each["definition"]) for each in found],
            channels=await _all(database, Wanted, "examined_channels", MAX_PAGE),
            restored=int(await database.fetchval("examined_restored", MAX_PAGE)),
            paused=[each["key"] for each in await database.fetch("examined_paused", MAX_PAGE)],
            late=[one for one in late if one.due],
            failed=await _all(database, FailedBy, "examined_failed", least_id(now - _LATELY), CONSOLE_WINDOW),
        )


async def _server(database: Database) -> tuple[Server, float, float]:
    """Return the server, how long the quickest of three looks took, and how far our clock is ahead of its."""
    best: tuple[Server, float, float] | None = None
    for _ in range(3):
        clock, began = SystemClock(), time.monotonic()
        asked_at = clock.now()
        row = await database.fetchrow("examined_server")
        assert row is not None, "a server says what it is"
        took_s = time.monotonic() - began
        ours = (asked_at - row["now"]).total_seconds() + took_s / 2
        if best is None or took_s < best[1]:
            best = (Server(**row), took_s, ours)
    assert best is not None, "it was asked"
    return best


async def _pooled(database: Database) -> bool:
    connection = await connect(database.url, _NAME)
    try:
        return is_pooled(connection)
    finally:
        await close(connection)


async def _hint(database: Database) -> float | None:
    """Call ourselves by LISTEN and NOTIFY, as nodes do; None where nothing is heard."""
    try:
        line = await HintLine.open(database.direct_url, _NAME, uuid4(), lambda: None)
    except DatabaseUnavailable:
        return None
    if line is None:
        return None
    try:
        return line.round_trip_s if await line.probe(_PROBE_S) else None
    finally:
        await line.close()


async def _all(database: Database, made: type[_T], name: str, *args: object) -> list[_T]:
    return [made(**row) for row in await database.fetch(name, *args)]
