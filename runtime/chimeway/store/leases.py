"""Lines: the connection by which a node keeps its lease, learns which shards it has, and gives some away.

A lease lives on a connection of its own, which also shows by a session lock that its process lives. Every
node has one, and some of the shards.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

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


class LeaseLine:
    """Keeps one of many leases."""

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

    async def begin(self, owner: UUID, node: UUID, ttl: timedelta) -> Fence:
        """Begin a lease; that of another node under suspicion is told of by `beat`, not here.

        Whether this line shows life is told by the first beat, too: a line that was lost may have the lock.
        """
        epoch = await self._connection.fetchval(SQL["begin_lease"], owner, node, ttl, self._may_show)
        return Fence(owner, epoch)

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


async def open_line(url: str, name: str, called: Callable[[], None]) -> LeaseLine:
    """Connect.

    `called` is called, on this loop, when shards change hands, and when the connection ends.

    Raises:
        DatabaseUnavailable: nothing answers there.
    """
    connection = await connect(url, name)
    try:
        line = LeaseLine(connection, may_show=not is_pooled(connection))
        await line.listen(called)
    except BaseException:
        await close(connection)
        raise
    return line


async def absolve(database: Database, fence: Fence, shards: Collection[int]) -> None:
    """Say of shards of one's own that nothing in them is under suspicion any more."""
    await database.fetch("absolve_shards", fence.owner, fence.epoch, sorted(shards))
