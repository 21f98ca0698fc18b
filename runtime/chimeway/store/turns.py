"""Turns: what is due of tenant after tenant, whoever has how much. (docs/design.md says why.)

A turn takes the oldest of each of the next tenants that have something due, behind a cursor that goes
round. Its cost follows the tenants that it looks at, never what one of them has waiting.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from chimeway.limits import TURN_LOOKS, TURN_ROWS, TURN_TENANTS
from chimeway.store.due import Due
from chimeway.store.ids import every_shard, if_few
from chimeway.store.pool import Database

Kind: TypeAlias = Literal["new run", "run", "delivery"]
_STATEMENT: Final = {
    "new run": ("due_runs_in_turn", "due_runs_in_turn_of"),
    "run": ("due_runs_in_turn", "due_runs_in_turn_of"),
    "delivery": ("due_deliveries_in_turn", "due_deliveries_in_turn_of"),
}
"""For all shards, and for some."""


class Turns:
    """Goes round over tenants (of deliveries: channels, and their tenants)."""

    def __init__(
        self,
        database: Database,
        kind: Kind,
        passed_over: Callable[[], Collection[Any]],
        shards: Callable[[], Collection[int]] = every_shard,
    ) -> None:
        """Take what is due: of runs, those that no step was entered in yet apart from the others.

        `passed_over` names who wants no more now: tenants, or of deliveries lines, which are channels with
        a tenant each (or None: the whole channel). `shards` names those that are looked through.
        """
        self._database = database
        self.kind: Kind = kind
        self.asked = asyncio.Event()
        """Set when somebody wants a turn taken at once."""
        self._passed_over = passed_over
        self._shards = shards
        self._behind = ("", "")

    @property
    def been_round(self) -> bool:
        """Whether the last turn ended with the last tenant."""
        return self._behind == ("", "")

    async def next(self, until: datetime) -> list[Due]:
        """Take the next tenants' turn; park runs of paused workflows."""
        shards = self._shards()
        if not shards:
            return []
        few = if_few(shards)
        channel, tenant = self._behind
        first = channel if self.kind == "delivery" else int(self.kind == "run")
        *rows, last = await self._database.fetch(
            _STATEMENT[self.kind][bool(few)], first, tenant, TURN_LOOKS, TURN_TENANTS, until, TURN_ROWS,
            *self._not_wanted(), *few,
        )  # fmt: skip
        if self.kind == "delivery":
            self._behind = (last["channel"], last["tenant_id"]) if last["channel"] else ("", "")
        else:
            self._behind = ("", last["tenant_id"] or "")
        return await self._allowed(rows)

    def _not_wanted(self) -> tuple[list[str], ...]:
        passed_over = list(self._passed_over())
        if self.kind != "delivery":
            return ([tenant for tenant in passed_over if tenant is not None],)
        lines = [(channel, tenant) for channel, tenant in passed_over if tenant is not None]
        return (
            [channel for channel, tenant in passed_over if tenant is None],
            [channel for channel, _ in lines],
            [tenant for _, tenant in lines],
        )

    async def _allowed(self, rows: list[Any]) -> list[Due]:
        if self.kind == "delivery":
            return [
                Due(row["id"], row["next_attempt_at"], row["tenant_id"]) for row in rows if row["allowed"]
            ]
        paused: list[UUID] = [row["id"] for row in rows if row["paused"]]
        if paused:
            await self._database.fetch("park_runs", paused)
        return [Due(row["id"], row["wake_at"], row["tenant_id"]) for row in rows if not row["paused"]]
