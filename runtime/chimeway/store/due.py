"""Pages over what is due, for the timekeeper: per shard in due order, behind a cursor.

A sweep begins before all rows, or, where that is costly (`sparing`), in each shard where the last one found
the first that is due.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from chimeway.clock import Clock
from chimeway.store.pool import Database
from chimeway.store.sparing import LATE, Sparing

Kind: TypeAlias = Literal["run", "delivery"]
_NO_ID: Final = UUID(int=0)
_BEFORE_ALL: Final = (datetime(1, 1, 1, tzinfo=UTC), _NO_ID)
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
        clock: Clock,
        passed_over: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Take what is swept: `shards` is asked at the start of each sweep.

        `per_shard` is how many rows a page has in each; `passed_over` names the channels whose deliveries are
        not wanted now; by the clock is measured what it takes to begin before all rows.
        """
        self._database = database
        self._kind = kind
        self._passed_over = passed_over
        self._per_shard = per_shard
        self._shards = shards
        self._sparing = Sparing(clock)
        self._marks: Mapping[int, datetime] = {}
        self._cursor: dict[int, tuple[datetime, UUID]] = {}
        self.restart()

    def restart(self, after: datetime | None = None) -> None:
        """Begin anew: behind an instant; without one at all that is due, or at what was not dealt with."""
        self._begins = after is None
        self._cursor = dict.fromkeys(self._shards(), _BEFORE_ALL if after is None else (after, _NO_ID))
        self._marks = {shard: at for shard, at in self._marks.items() if shard in self._cursor}

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
        begins, self._begins = self._begins, False
        if begins and not self._sparing.may():
            self._begin_at_marks(until)
        passed_over = list(self._passed_over())
        whole = begins and _BEFORE_ALL in self._cursor.values()
        with self._sparing.looking(whole=whole) if begins else nullcontext():
            rows = await self._database.fetch(
                statement,
                shards,
                [self._cursor[shard][0] for shard in shards],
                [self._cursor[shard][1] for shard in shards],
                until,
                self._per_shard,
                *([passed_over] if self._kind == "delivery" else []),
            )
        if begins and not passed_over:
            self._set_marks(shards, [(row["shard"], row[at]) for row in rows], until)
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

    def _begin_at_marks(self, until: datetime) -> None:
        """Begin where what was not dealt with began; in shards that were not looked through, before all."""
        for shard in self._cursor:
            if shard in self._marks:
                self._cursor[shard] = (min(self._marks[shard], until - LATE), _NO_ID)

    def _set_marks(
        self, shards: Sequence[int], found: Sequence[tuple[int, datetime]], until: datetime
    ) -> None:
        """Note where to begin: at the first that is due, and where none is, some seconds ago."""
        marks = dict.fromkeys(shards, until - LATE)
        for shard, at in found:
            marks[shard] = min(marks[shard], at)
        self._marks = marks
