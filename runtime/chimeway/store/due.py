"""Pages over what is due, for the timekeeper: per shard in due order, behind a cursor."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from uuid import UUID

from chimeway.store.pool import Database

Kind: TypeAlias = Literal["run", "delivery"]
_BEFORE_ALL = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
_STATEMENT: dict[Kind, tuple[str, str, str]] = {
    "run": ("due_runs", "wake_at", "paused"),
    "delivery": ("due_deliveries", "next_attempt_at", "allowed"),
}


@dataclass(frozen=True, slots=True)
class Due:
    """Something and the instant at which it must be looked at."""

    id: UUID
    at: datetime
    tenant: str


class Pages:
    """A sweep over what is due until an instant; after the last page it starts again."""

    def __init__(
        self,
        database: Database,
        kind: Kind,
        shards: Callable[[], Collection[int]],
        per_shard: int,
        passed_over: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Take what is swept: `shards` is asked at the start of each sweep.

        `per_shard` is how many rows a page has in each; `passed_over` names the channels whose deliveries are
        not wanted now.
        """
        self._database = database
        self._kind = kind
        self._passed_over = passed_over
        self._per_shard = per_shard
        self._shards = shards
        self._cursor: dict[int, tuple[datetime, UUID]] = {}
        self.restart()

    def restart(self) -> None:
        """Begin before all rows again."""
        self._cursor = dict.fromkeys(self._shards(), _BEFORE_ALL)

    @property
    def ended(self) -> bool:
        """Whether the last page of this sweep was read."""
        return not self._cursor

    @property
    def passing_over(self) -> bool:
        """Whether some channels are passed over now."""
        return self._kind == "delivery" and bool(self._passed_over())

    async def next(self, until: datetime) -> list[Due]:
        """Return the next page of what is due until then, in due order; park runs of paused workflows."""
        statement, at, flag = _STATEMENT[self._kind]
        shards = list(self._cursor)
        if not shards:
            return []
        rows = await self._database.fetch(
            statement,
            shards,
            [self._cursor[shard][0] for shard in shards],
            [self._cursor[shard][1] for shard in shards],
            until,
            self._per_shard,
            *([list(self._passed_over())] if self._kind == "delivery" else []),
        )
        counts: dict[int, int] = {}
        for row in rows:
            self._cursor[row["shard"]] = (row[at], row["id"])
            counts[row["shard"]] = counts.get(row["shard"], 0) + 1
        self._cursor = {
            shard: where for shard, where in self._cursor.items() if counts.get(shard, 0) >= self._per_shard
        }
        allowed = [
            Due(row["id"], row[at], row["tenant_id"])
            for row in rows
            if row[flag] == (self._kind == "delivery")
        ]
        if self._kind == "run" and len(allowed) < len(rows):
            await self._database.fetch("park_runs", [row["id"] for row in rows if row[flag]])
        return allowed
