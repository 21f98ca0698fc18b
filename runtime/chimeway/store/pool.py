"""Connections: a pool with our codecs, named statements in, rows out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import asyncpg
import asyncpg.pool

from chimeway.clock import jittered
from chimeway.database_url import DatabaseUrl, read
from chimeway.errors import DatabaseUnavailable
from chimeway.store.dead_peers import find_out
from chimeway.store.faults import PASSING, READ_ONLY, Fault, fault_of, sqlstate_of, translate
from chimeway.store.health import health
from chimeway.store.json_texts import from_jsonb, json_of, jsonb_of, text_of
from chimeway.store.pooler import is_pooled, kept, open_connection
from chimeway.store.queries import SQL
from chimeway.store.targets import for_asyncpg, hosts_of
from chimeway.store.warming import warm
from chimeway.store.words import in_our_words

_T = TypeVar("_T")
_P = ParamSpec("_P")
Connection: TypeAlias = "asyncpg.Connection[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"
_COMMAND_TIMEOUT_S = 60.0
_CLOSE_S = 5.0
_GIVE_BACK_S = 5.0
"""A call that is cut off is called off by another connection: where nobody answers that takes a minute."""
_FOR_NODE: Final = """
    set enable_seqscan = off; set enable_memoize = off; set plan_cache_mode = force_generic_plan"""
_NEXT_HOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)


async def _prepare(connection: Connection) -> None:
    """Teach a connection our JSON; text is kept as it is."""
    await connection.set_type_codec("json", schema="pg_catalog", encoder=text_of, decoder=json_of)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=jsonb_of, decoder=from_jsonb, format="binary"
    )


async def _prepare_and_warm(connection: Connection) -> None:
    await _prepare(connection)
    if not is_pooled(connection):
        await warm(connection)


async def _restore(connection: Connection) -> None:
    """Make a connection ready for the next borrower: all of them leave a session as they found it, so
    only a transaction that was cut short has to be ended. (The driver's own reset would cost a round trip
    for each statement, and undo `_prepare`.)
    """
    if connection.is_in_transaction():
        await connection.execute("rollback")


async def connect(url: str, name: str) -> Connection:
    """Open one connection of its own (LISTEN, leases).

    Raises:
        DatabaseUnavailable: nothing answers there, or lets us in.
        InvalidInput: the URL is none, or has what is not understood.
    """
    with in_our_words():
        connection = await _open(read(url), name)
        async with kept(connection):
            await _prepare(connection)
    return connection


async def _open_for_node(url: DatabaseUrl, name: str, *_: object, **named: Any) -> Connection:
    """Connect as one who looks rows up, and never wants a whole table.

    The planner keeps plans, and may have made them when a table was small: it would go on to read it from end
    to end when it has become a backlog. And where calls are of different sizes it would often make a plan for
    each, which takes longer than the call. What is looked up is looked up for one run: to remember it costs
    more than it saves. (A pooler's session is not ours to change; there each statement is planned anew.)
    """
    connection = await _open(url, name, **named)
    if not is_pooled(connection):
        async with kept(connection):
            await connection.execute(_FOR_NODE)
    return connection


async def _open(url: DatabaseUrl, name: str, *_: object, **named: Any) -> Connection:
    """Connect to the first host that lets us in and is what the URL wants. The ledger's guards need READ
    COMMITTED.

    The driver goes through several hosts, too, but under one deadline: a host that says nothing would
    use it up, and the next would never be asked.
    """
    given = {**for_asyncpg(url, name), "command_timeout": _COMMAND_TIMEOUT_S, **named}
    wanted = url.parameters.get("target_session_attrs")
    hosts = [{"host": host, "port": port} for host, port in hosts_of(url)] or [{}]
    refused: Exception | None = None
    for attributes in ("standby", "any") if wanted == "prefer-standby" else (wanted,):
        for host in hosts:
            try:
                found = await open_connection(**{**given, **host, "target_session_attrs": attributes})
            except _NEXT_HOST as error:
                refused = error
            else:
                find_out(found)
                return found
    raise refused or AssertionError("there is at least one host")


class Database:
    """A pool and its statements. Every public verb of the store is a function that takes one."""

    def __init__(self, url: str, pool: Pool, direct_url: str | None = None) -> None:
        """Take an open pool; use `open_database`. `direct_url` goes past a pooler, for LISTEN."""
        self.url = url
        self.direct_url = url if direct_url is None else direct_url
        self.closing: list[Callable[[], Awaitable[None]]] = []
        """What ends before the pool does."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def fetch(self, name: str, *args: Any) -> list[asyncpg.Record]:
        """Run a named statement and return its rows; what our functions refuse is raised as our error."""
        async with self._lent() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(SQL[name], *args)
            return rows

    async def fetchrow(self, name: str, *args: Any) -> asyncpg.Record | None:
        """Run a named statement and return its first row."""
        async with self._lent() as connection:
            return await connection.fetchrow(SQL[name], *args)

    async def fetchval(self, name: str, *args: Any) -> Any:
        """Run a named statement and return the first value of its first row."""
        async with self._lent() as connection:
            return await connection.fetchval(SQL[name], *args)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool.

        Raises:
            DatabaseUnavailable: it is closed.
            RuntimeError: it was opened on another event loop.
        """
        self.check_usable()
        connection = await self._pool.acquire()
        try:
            yield connection  # type: ignore[misc]  # a proxy of the pool, with the same verbs
        finally:
            with suppress(TimeoutError):  # the driver has ended it then
                await self._pool.release(connection, timeout=_GIVE_BACK_S)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        try:
            async with self.acquire() as connection:
                yield connection
        except asyncpg.PostgresError as error:
            if fault_of(error) == "refused":
                raise (translate(error) or error) from error
            if sqlstate_of(error) == READ_ONLY:
                # It leads to a standby, or to a primary of once: the next connections look where one writes.
                await self._pool.expire_connections()
            raise

    def check_usable(self) -> None:
        """Raise DatabaseUnavailable when it is closed, RuntimeError on another loop than its own."""
        # The driver would say it in its own words, and spoil a connection for the loop that owns it.
        if self._loop is not asyncio.get_running_loop():
            hint = "open one in each loop, or use chimeway.sync, which serves any thread"
            raise RuntimeError(f"this client was opened on another event loop: {hint}")
        if self._closed:
            raise DatabaseUnavailable("the client is closed", hint="open another")

    async def close(self) -> None:
        """Close the pool, at once when it does not close in time."""
        while self.closing:
            await self.closing.pop()()
        self._closed = True
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def open_database(
    url: str,
    *,
    name: str = "chimeway",
    size: int = 8,
    direct_url: str | None = None,
    for_node: bool = False,
    warmed: bool = False,
) -> AsyncIterator[Database]:
    """Open a pool of at most `size` connections on a PostgreSQL; `direct_url` goes past a pooler, for LISTEN.

    `for_node` is for one that looks rows up all day, while tables grow and shrink; `warmed` for one in which
    nobody is to wait for plans (`warming`).

    Raises:
        DatabaseUnavailable: nothing answers there, or lets us in.
        InvalidInput: the URL is none, or has what is not understood.
    """
    with in_our_words():
        # No floor: the driver would keep it up by itself, and log a traceback for each time that it cannot.
        pool = await asyncpg.create_pool(
            min_size=0,
            max_size=size,
            connect=partial(_open_for_node if for_node else _open, read(url), name),
            init=_prepare_and_warm if warmed else _prepare,
            reset=_restore,
        )
        await _begun(pool)
    database = Database(url, pool, direct_url)
    try:
        yield database
    finally:
        await database.close()


async def _begun(pool: Pool) -> None:
    """Connect once, to see whether that can be; a pool that cannot is closed."""
    try:
        async with pool.acquire():
            return
    except BaseException:
        pool.terminate()
        raise


async def persistently(what: Callable[_P, Awaitable[_T]], *args: _P.args, **named: _P.kwargs) -> _T:
    """Do `what` until the database lets it: what passes is waited for, longer each time, with jitter.

    Only for what may be done twice; its name stands in the log. Other errors are raised.
    """
    return await _until_through(PASSING, what, args, named)


async def unless_broken(what: Callable[_P, Awaitable[_T]], *args: _P.args, **named: _P.kwargs) -> _T:
    """As `persistently`, for what concerns single rows: where the server fails by itself, that is raised.

    It may be these rows alone that it fails at, and others must not wait for them.
    """
    return await _until_through(PASSING - {"broken"}, what, args, named)


async def _until_through(
    passing: Collection[Fault | None],
    what: Callable[..., Awaitable[_T]],
    args: Sequence[Any],
    named: Mapping[str, Any],
) -> _T:
    told = getattr(what, "__qualname__", type(what).__name__)
    pause, through, call = 0.05, False, health().call(told)
    try:
        while True:
            call.begins()
            try:
                result = await what(*args, **named)
            except Exception as error:
                fault = fault_of(error)
                if fault is None or fault not in passing:
                    raise
                call.failed(error, fault)
                await asyncio.sleep(jittered(pause))
                pause = min(pause * 2, 1.0)
            else:
                through = True
                return result
    finally:
        call.ends(through=through)


def column(rows: Sequence[Any], name: str) -> list[Any]:
    """Return one attribute of each row, as the arrays of our functions want it."""
    return [getattr(row, name) for row in rows]
