"""Lines: the connection by which a node keeps its lease, learns which shards it has, and gives some away.

A lease lives on a connection of its own, which also shows by a session lock that its process lives. There
are two kinds: `SharedLine`, where every node has a lease and some of the shards, and `SoleLine` on schema
version 3, where one node has all of them and the others wait for it. Who keeps the lease need not know.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from chimeway.store.ids import SHARDS
from chimeway.store.ledger import Fence
from chimeway.store.pool import Connection, Database, connect
from chimeway.store.pooler import close, is_pooled
from chimeway.store.queries import SQL

CHANGES = "chimeway_shards"
"""The NOTIFY channel of who gives or takes shards; its payload is empty."""

TWICE_APART_S: Final = 0.3
"""Who shows no life twice, so far apart, is dead and not merely connecting again."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a lease learned when it was renewed."""

    shards: frozenset[int]
    """Its own now."""
    suspect: frozenset[int]
    """Those of them that came from a node that died, and whose work nobody has looked through yet."""
    surplus: int
    """How many of them others should have."""
    nodes: int
    """How many share all shards."""
    silent: frozenset[int]
    """The epochs of leases whose session lock is missing."""
    shown: bool
    """Whether this line shows, from now on or as before, that its process lives."""


class SharedLine:
    """Keeps one of many leases."""

    outdated = False

    def __init__(self, connection: Connection, *, may_show: bool) -> None:
        """Take an open connection of its own; use `open_line`.

        `may_show`: a session lock on it shows that its process lives.
        """
        self._connection = connection
        self._may_show = may_show
        self._shows = False

    async def listen(self, called: Callable[[], None]) -> None:
        """Have `called` called when shards change hands, and when the connection ends."""
        self._connection.add_termination_listener(lambda *_: called())
        if self._may_show:
            await self._connection.add_listener(CHANGES, lambda *_: called())

    async def begin(self, owner: UUID, node: UUID, ttl: timedelta) -> tuple[Fence, bool]:
        """Begin a lease; that of another node under suspicion is told of by `beat`, not here.

        Whether this line shows life is told by the first beat, too: a line that was lost may have the lock.
        """
        epoch = await self._connection.fetchval(SQL["begin_lease"], owner, node, ttl, self._may_show)
        return Fence(owner, epoch), True

    async def beat(self, fence: Fence, ttl: timedelta, *, judges: bool, dead: Collection[int]) -> Beat | None:
        """Renew the lease; None: it was ended.

        Args:
            fence: the lease.
            ttl: for how long.
            judges: whether leases that are over may be ended.
            dead: the epochs of leases whose session lock has been missing for a while.
        """
        row: Any = await self._connection.fetchrow(
            SQL["beat"], fence.owner, fence.epoch, ttl, self._may_show and not self._shows, judges, list(dead)
        )
        if row is None:
            return None
        self._shows = self._shows or row["shown"]
        return Beat(
            shards=frozenset(row["shards"]),
            suspect=frozenset(row["suspect"]),
            surplus=row["surplus"],
            nodes=row["nodes"],
            silent=frozenset(row["silent"]),
            shown=self._shows or not self._may_show,
        )

    async def hand_over(self, fence: Fence, shards: Collection[int], *, leaving: bool) -> int:
        """Give shards to others; `leaving`: to nobody, if need be, and take none any more.

        Return how many went.
        """
        given = await self._connection.fetchval(
            SQL["hand_over"], fence.owner, fence.epoch, sorted(shards), leaving
        )
        return int(given)

    async def end(self, fence: Fence) -> bool:
        """End the lease; False: others had ended it."""
        return bool(await self._connection.fetchval(SQL["release_lease"], fence.owner, fence.epoch))

    async def close(self) -> None:
        """Close the connection, at once if need be."""
        await close(self._connection)


class SoleLine:
    """Keeps the one lease of schema version 3, or waits for it."""

    def __init__(self, connection: Connection) -> None:
        """Take an open connection of its own; use `open_line`."""
        self._connection = connection
        self._may_show = not is_pooled(connection)
        self._locked = False
        self._clean = True
        self.outdated = False
        """Whether the schema has become one where leases are shared."""

    async def listen(self, called: Callable[[], None]) -> None:
        """Have `called` called when the connection ends: nothing is told on this schema."""
        self._connection.add_termination_listener(lambda *_: called())

    async def begin(self, owner: UUID, _node: UUID, ttl: timedelta) -> tuple[Fence, bool] | None:
        """Take the lease if it may be had; the second value says whether it was handed over cleanly.

        It may be had too when its owner seems to be dead: then the session lock is kept.
        """
        self.outdated = bool(await self._connection.fetchval(SQL["shares_leases"]))
        if self.outdated:
            return None
        orphaned = await self._orphaned_epoch()
        row = await self._connection.fetchrow(SQL["acquire_lease"], owner, ttl, orphaned)
        if row is None:
            await self._unlock()
            return None
        self._clean = row["clean"]
        return Fence(owner, row["epoch"]), self._clean

    async def beat(self, fence: Fence, ttl: timedelta, *, judges: bool, dead: Collection[int]) -> Beat | None:  # noqa: ARG002  (there is nobody to judge)
        """Renew the lease; None: another has it."""
        if not self._locked:
            self._locked = await self._lock()
        row: Any = await self._connection.fetchrow(SQL["renew_lease"], fence.owner, fence.epoch, ttl)
        self.outdated = row["shared"]
        suspect = frozenset() if self._clean else SHARDS
        shown = self._locked or not self._may_show
        return Beat(SHARDS, suspect, 0, 1, frozenset(), shown) if row["kept"] else None

    async def hand_over(self, _fence: Fence, _shards: Collection[int], *, leaving: bool) -> int:  # noqa: ARG002
        """Give nothing: the lease is whole, and given by its end."""
        return 0

    async def end(self, fence: Fence) -> bool:
        """Hand the lease over; False: another has it."""
        return bool(await self._connection.fetchval(SQL["release_lease"], fence.owner, fence.epoch))

    async def close(self) -> None:
        """Close the connection, at once if need be."""
        await close(self._connection)

    async def _orphaned_epoch(self) -> int | None:
        """Return the epoch of an owner that seems to be dead, or None; keep the lock if it could be had."""
        row = await self._connection.fetchrow(SQL["lease_state"])
        self._locked = await self._lock()
        if not self._locked or row is None or row["owner"] is None:
            return None
        await self._unlock()
        await asyncio.sleep(TWICE_APART_S)
        self._locked = await self._lock()
        return int(row["epoch"]) if self._locked else None

    async def _lock(self) -> bool:
        """Try to take the session lock. (A pooler's session is anybody's, and its lock shows nothing.)"""
        return self._may_show and bool(await self._connection.fetchval(SQL["lock_lease"]))

    async def _unlock(self) -> None:
        if self._locked:
            await self._connection.fetchval(SQL["unlock_lease"])
            self._locked = False


async def open_line(url: str, name: str, called: Callable[[], None]) -> SharedLine | SoleLine:
    """Connect, in the way that the schema there wants.

    `called` is called, on this loop, when shards change hands, and when the connection ends.

    Raises:
        DatabaseUnavailable: nothing answers there.
    """
    connection = await connect(url, name)
    try:
        shared = await connection.fetchval(SQL["shares_leases"])
        line = SharedLine(connection, may_show=not is_pooled(connection)) if shared else SoleLine(connection)
        await line.listen(called)
    except BaseException:
        await close(connection)
        raise
    return line


async def absolve(database: Database, fence: Fence, shards: Collection[int]) -> None:
    """Say of shards of one's own that nothing in them is under suspicion any more."""
    if await database.has_function("absolve_shards"):
        await database.fetch("absolve_shards", fence.owner, fence.epoch, sorted(shards))
