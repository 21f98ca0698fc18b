"""The one seam: load runs, decide on each, commit. Every wake does just this, whoever woke.

It is level-triggered: it looks at rows and at nothing else, so a lost, repeated or reordered wake can
do no harm. Nothing here acts on a decision; it is durable when `evaluate` returns it.

Runs come in company: what is loaded together is decided on one after the other, and committed together. Each
bears only its own fault.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast
from uuid import UUID

from chimeway.engine.courier import Courier
from chimeway.progression.decide import decide
from chimeway.progression.decision import Noop
from chimeway.render.renderers import Renderers
from chimeway.store.ledger import Answer, Entry, entry_for
from chimeway.store.runs import Loaded

Load: TypeAlias = Callable[[Sequence[UUID]], Awaitable[Sequence[Loaded | Exception | None]]]
Commit: TypeAlias = Callable[[Sequence[Entry]], Awaitable[Sequence[Answer | Exception]]]
_AT_ONCE: Final = 20
"""Decisions made in one turn of the loop: two milliseconds, then others have theirs."""


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

    async def evaluate(self, run_id: UUID, now: Callable[[], datetime]) -> Evaluation:
        """Evaluate a run once, alone; raise what `evaluate_all` returns as an exception."""
        (found,) = await self.evaluate_all([run_id], now)
        if isinstance(found, Exception):
            raise found
        return found

    async def evaluate_all(
        self, ids: Sequence[UUID], now: Callable[[], datetime]
    ) -> Sequence[Evaluation | Exception]:
        """Evaluate runs once, together.

        Args:
            ids: which; each at most once.
            now: asked after loading, so that no decision's time is older than its rows.

        Returns:
            what came of each, in their order. An exception: the decision could not be made or written, and no
            other was with it (poison).

        Raises:
            LeaseLost: another node has taken over.
        """
        found: list[Evaluation | Entry | Exception] = []
        loaded = await self._load(ids)
        for run_id, each in zip(ids, loaded, strict=True):
            if found and len(found) % _AT_ONCE == 0:
                await asyncio.sleep(0)
            found.append(self._judged(run_id, each, now))
        entries = [each for each in found if isinstance(each, Entry)]
        answers = iter(await self._commit(entries) if entries else ())
        return [
            _committed(each, cast("Loaded", which), next(answers)) if isinstance(each, Entry) else each
            for each, which in zip(found, loaded, strict=True)
        ]

    def _judged(
        self, run_id: UUID, loaded: Loaded | Exception | None, now: Callable[[], datetime]
    ) -> Evaluation | Entry | Exception:
        """Return the decision on a run as it was loaded; or what else is to be said of it."""
        if isinstance(loaded, Exception):
            return loaded
        if loaded is None:
            return Refused("gone")
        if loaded.snapshot is None:
            return NotUnderstood(loaded)
        at = now()
        courier = Courier(loaded, at, self._renderers, self._addressless, self._known)
        try:
            decision = decide(loaded.snapshot, at, courier)
            if isinstance(decision, Noop):
                return Rested(decision, loaded)
            return entry_for(run_id, decision, courier.messages, loaded.policy, loaded.foretold)
        except Exception as error:  # noqa: BLE001  (a run's own fault must not end its neighbours)
            return error


def _committed(entry: Entry, loaded: Loaded, answer: Answer | Exception) -> Evaluation | Exception:
    if isinstance(answer, Exception):
        return answer
    return Committed(entry, loaded) if answer == "applied" else Refused(answer)
