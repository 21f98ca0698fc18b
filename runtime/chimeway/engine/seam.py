"""The one seam: load a run, decide, commit. Every wake does just this, whoever woke.

It is level-triggered: it looks at rows and at nothing else, so a lost, repeated or reordered wake can
do no harm. Nothing here acts on a decision; it is durable when `evaluate` returns it.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from chimeway.engine.courier import Courier
from chimeway.progression.decide import decide
from chimeway.progression.decision import Noop
from chimeway.render.renderers import Renderers
from chimeway.store.ledger import Answer, Entry, entry_for
from chimeway.store.runs import Loaded

Load: TypeAlias = Callable[[UUID, str | None], Awaitable[Loaded | None]]
Commit: TypeAlias = Callable[[Entry, str | None], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Committed:
    """A decision is durable."""

    entry: Entry
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Rested:
    """Nothing follows from the rows, and nothing was written."""

    noop: Noop
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Refused:
    """The ledger did not take the decision; the rows are as they were."""

    answer: Literal["stale", "busy", "refused", "gone"]


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """The run's definition is not one that this program can read."""

    loaded: Loaded


Evaluation: TypeAlias = Committed | Rested | Refused | NotUnderstood


class Seam:
    """Evaluates runs, by a way to load and a way to commit (batched or not)."""

    def __init__(
        self,
        load: Load,
        commit: Commit,
        renderers: Renderers,
        addressless: Collection[str],
        known: Collection[str] | None = None,
    ) -> None:
        """Take the store's verbs, and what messages are made of."""
        self._load = load
        self._commit = commit
        self._renderers = renderers
        self._addressless = addressless
        self._known = known

    async def evaluate(
        self, run_id: UUID, now: Callable[[], datetime], tenant: str | None = None
    ) -> Evaluation:
        """Evaluate a run once.

        Args:
            run_id: which.
            now: asked after loading, so that the decision's time is not older than its rows.
            tenant: whose it is, if that is known: whoever batches shares batches between tenants.

        Raises:
            LeaseLost: another node has taken over.
            Exception: the decision could not be made or written, and no other was with it (poison).
        """
        loaded = await self._load(run_id, tenant)
        if loaded is None:
            return Refused("gone")
        if loaded.snapshot is None:
            return NotUnderstood(loaded)
        at = now()
        courier = Courier(loaded, at, self._renderers, self._addressless, self._known)
        decision = decide(loaded.snapshot, at, courier)
        if isinstance(decision, Noop):
            return Rested(decision, loaded)
        entry = entry_for(run_id, decision, courier.messages, loaded.policy)
        answer = await self._commit(entry, loaded.recipient.tenant_id)
        if answer == "applied":
            return Committed(entry, loaded)
        return Refused(answer)
