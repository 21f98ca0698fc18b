"""Whether a node can do its work now: what `/readyz` answers.

Four things are asked, the cheapest first: where the node is in its life, what its work has met (`Health`),
whether its lease can be renewed, without which nothing is sent, and whether the database answers now: a node
that stands by, or waits for an answer, has met nothing yet. A node that works is not asked to ask: the
renewal of its lease, on a connection of its own, shows as much, and in a storm all the others may be busy for
longer than whoever asks will wait.

**Why an overloaded node is ready.** Whoever asks may send traffic elsewhere, or replace the node. But its
work comes from the database, not from whoever asks, and its door takes what providers tell whether it keeps
up or not: nothing would be lighter for its absence, and where all nodes are behind nobody would be left to
tell. So `/readyz` says `overloaded`, with figures, and answers 200.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from chimeway.engine.gauge import Gauge
from chimeway.engine.headway import Sign
from chimeway.engine.listener import Listener
from chimeway.store import nodes
from chimeway.store.faults import fault_of, lost_by
from chimeway.store.health import Health
from chimeway.store.ids import shard_ranges
from chimeway.store.pool import Database
from chimeway.store.questions import Question
from chimeway.web.state import NotReady, Ready

Stage: TypeAlias = Literal["starting", "standing_by", "working", "draining"]
_ANSWER_S: Final = 2.0
_REMEMBERED_S: Final = 0.5
"""However often we are asked, the database is asked no more often than this."""


@dataclass(slots=True)
class Readiness:
    """Where a node is in its life; its parts say so as they come to it."""

    stage: Stage = "starting"
    listener: Listener | None = None
    gauge: Gauge | None = None
    """While it works: whether it keeps up."""
    lease_lost_by: Callable[[], str | None] = lambda: None
    """Why no lease can be had or renewed, for long; it has a connection of its own, maybe by another way."""
    shards: Callable[[], Collection[int]] = frozenset
    """Which are its own; none yet, or none left for it: it stands by."""
    signs: Callable[[], Sequence[Sign]] = tuple
    """While it works: what its parts show of how far they have got."""
    stands: str | None = None
    """Which part gets nowhere although the database is well: only a new process mends that."""
    health: Health = field(default_factory=Health)
    _question: Question[tuple[str, str] | None] = field(
        default_factory=lambda: Question(waits_s=_ANSWER_S, kept_s=_REMEMBERED_S)
    )

    def reaches_database(self) -> bool:
        """Say whether nothing is known that keeps the node from its database; nobody is asked."""
        reached = self.gauge is None or self.gauge.trusted()
        return reached and self.health.worst() is None and self.lease_lost_by() is None

    async def asked(self, database: Database) -> Ready | NotReady:
        """Answer whether the node can do its work now."""
        if self.stage in {"starting", "draining"}:
            return NotReady(self.stage, f"this node is {self.stage}")
        trouble = self.health.worst()
        if trouble is not None:
            return NotReady(f"database_{trouble.kind}", f"{trouble.operation}: {trouble.error}")
        if (error := self.lease_lost_by()) is not None:
            return NotReady("database_lost", f"lease: {error}")
        if self.stands is not None:
            return NotReady("work_stands", f"{self.stands}: nothing moves there")
        gauge = self.gauge
        why = None if gauge is not None and gauge.trusted() else await self._unanswered(database)
        if why is not None:
            return NotReady(*why)
        facts: dict[str, Any] = {} if self.listener is None else {"hints": self.listener.mode}
        if gauge is None:
            return Ready(self.stage, facts)
        if not (shards := self.shards()):
            return Ready("standing_by", facts)
        facts["shards"] = shard_ranges(shards)
        facts |= await gauge.figures()
        return Ready("overloaded" if "overload" in facts else self.stage, facts)

    async def _unanswered(self, database: Database) -> tuple[str, str] | None:
        """Return how the database does not answer, or None."""
        try:
            return await self._question.answer(partial(_ping, database))
        except TimeoutError:
            return "database_slow", f"the database does not answer within {_ANSWER_S:g} s"


async def _ping(database: Database) -> tuple[str, str] | None:
    try:
        await nodes.database_now(database)
    except Exception as error:
        if fault_of(error) is None:
            raise
        return "database_lost", lost_by(error)
    return None
