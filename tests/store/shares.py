"""Nodes that share shards, in SQL alone: they join, beat, give away, leave and die as the test says."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

TTL = timedelta(minutes=5)
HELD = "select s.shard, l.epoch from chimeway.shard_owners s join chimeway.leases l on l.owner = s.owner"
SILENT = "select epoch from chimeway.silent_nodes()"
STARTED = """
create or replace function chimeway.server_started() returns timestamptz
language sql stable as $$ select now() - interval '{} minutes' $$"""
"""The server that tests run on has just been started: here it has run for so long."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's lease."""

    owner: UUID
    epoch: int


@dataclass(slots=True)
class Shares:
    """A database with nodes; each call is what a real one's line does, by the same functions."""

    connection: "asyncpg.Connection[Any]"
    nodes: list[Lease] = field(default_factory=list)
    moved: Counter[int] = field(default_factory=Counter)
    """How often each shard changed hands."""
    seen: dict[int, int] = field(default_factory=dict)

    async def join(self) -> Lease:
        """Begin a lease."""
        owner = uuid4()
        epoch = await self.connection.fetchval(
            "select chimeway.begin_lease($1, $2, $3, false)", owner, uuid4(), TTL
        )
        self.nodes.append(Lease(owner, epoch))
        return self.nodes[-1]

    async def beat(self, node: Lease, *, judges: bool = True, dead: list[int] | None = None) -> Any:
        """Beat, and give away what is too much; None: the lease has ended."""
        beat = await self.connection.fetchrow(
            "select * from chimeway.beat($1, $2, $3, false, $4, $5)",
            node.owner, node.epoch, TTL, judges, dead or [],
        )  # fmt: skip
        if beat is not None and beat["surplus"]:
            given = await self.hand_over(node, beat["shards"][-beat["surplus"] :])
            assert given == beat["surplus"]
        await self.look()
        return beat

    async def hand_over(self, node: Lease, shards: list[int], *, leaving: bool = False) -> int:
        """Give shards away."""
        given: int = await self.connection.fetchval(
            "select chimeway.hand_over($1, $2, $3, $4)", node.owner, node.epoch, shards, leaving
        )
        return given

    async def leave(self, node: Lease) -> None:
        """Hand all over, then end."""
        await self.hand_over(node, list(range(256)), leaving=True)
        await self.end(node)

    async def end(self, node: Lease) -> None:
        """End a lease."""
        await self.connection.execute("select chimeway.end_lease($1, $2)", node.owner, node.epoch)
        self.nodes.remove(node)

    async def die(self, node: Lease) -> None:
        """Be silent for longer than a lease."""
        await self.connection.execute(
            "update chimeway.leases set expires_at = clock_timestamp() - interval '1 s' where owner = $1",
            node.owner,
        )
        self.nodes.remove(node)

    async def look(self) -> dict[int, int]:
        """Return who has which shard, by epoch, and count what has moved."""
        held = {row["shard"]: row["epoch"] for row in await self.connection.fetch(HELD)}
        for shard, epoch in held.items():
            if self.seen.get(shard, epoch) != epoch:
                self.moved[shard] += 1
        self.seen |= held
        return held

    async def counts(self) -> list[int]:
        """Return how many shards each living node has, the fewest first."""
        counts = Counter((await self.look()).values())
        return sorted(counts[node.epoch] for node in self.nodes)
