"""Whether a node can do its work now: what `/readyz` answers.

Three things are asked, the cheapest first: where the node is in its life, what its work has met (`Health`),
and whether the database answers now: a node that stands by, or waits for an answer, has met nothing yet.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from chimeway.engine.listener import Listener
from chimeway.store import nodes
from chimeway.store.faults import fault_of, lost_by
from chimeway.store.health import Health
from chimeway.store.pool import Database
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
    health: Health = field(default_factory=Health)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _answer: tuple[float, tuple[str, str] | None] | None = None

    async def asked(self, database: Database) -> Ready | NotReady:
        """Answer whether the node can do its work now."""
        if self.stage in {"starting", "draining"}:
            return NotReady(self.stage, f"this node is {self.stage}")
        trouble = self.health.worst()
        if trouble is not None:
            return NotReady(f"database_{trouble.kind}", f"{trouble.operation}: {trouble.error}")
        why = await self._unanswered(database)
        if why is not None:
            return NotReady(*why)
        hints = {} if self.listener is None else {"hints": self.listener.mode}
        return Ready(self.stage, hints)

    async def _unanswered(self, database: Database) -> tuple[str, str] | None:
        """Return how the database does not answer, or None; those who ask at once share one answer."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if self._answer is None or loop.time() - self._answer[0] > _REMEMBERED_S:
                why = await _ping(database)
                self._answer = (loop.time(), why)
            return self._answer[1]


async def _ping(database: Database) -> tuple[str, str] | None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            await nodes.database_now(database)
    except TimeoutError:
        return "database_slow", f"the database does not answer within {_ANSWER_S:g} s"
    except Exception as error:
        if fault_of(error) is None:
            raise
        return "database_lost", lost_by(error)
    return None
