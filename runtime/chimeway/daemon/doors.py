"""The doors to the store through which many go together."""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

from chimeway.clock import Clock
from chimeway.engine.ownership import Tenure
from chimeway.fair import Company
from chimeway.limits import LEDGER_BATCH, SHARED_BATCH
from chimeway.store import deliveries, ledger, runs
from chimeway.store.batching import Batcher
from chimeway.store.catalogue import Catalogue
from chimeway.store.halves import each_in_call
from chimeway.store.pool import Database
from chimeway.tally import Tally


class Ledger:
    """The batched doors to the store. Between them they know who is here."""

    def __init__(
        self, database: Database, catalogue: Catalogue, tenure: Tenure, clock: Clock, tally: Tally
    ) -> None:
        """Take the tenure under whose fence decisions and attempts are written, and what tells their age."""
        fence = tenure.fence
        self._tally = tally
        self._database, self._catalogue, self._fence, self._clock = database, catalogue, fence, clock
        self.company = Company()
        self.begin: Batcher[deliveries.Beginning, deliveries.Begun] = Batcher(
            lambda rows: deliveries.begin_attempts(database, fence, fence.owner, rows),
            told="begin_attempts", limit=LEDGER_BATCH, share=SHARED_BATCH, company=self.company,
            again=deliveries.begin_again,
        )  # fmt: skip
        self.hold_back: Batcher[deliveries.HeldBack, deliveries.Held] = Batcher(
            lambda rows: deliveries.record_verdicts(database, fence, rows),
            told="record_verdicts", limit=LEDGER_BATCH, share=SHARED_BATCH, company=self.company,
        )  # fmt: skip
        self.record: Batcher[deliveries.Outcome, deliveries.Recorded] = Batcher(
            lambda rows: deliveries.record_results(database, rows),
            told="record_results", limit=LEDGER_BATCH, share=SHARED_BATCH, company=self.company,
        )  # fmt: skip

    async def load(self, ids: Sequence[UUID]) -> Sequence[runs.Loaded | Exception | None]:
        """Load runs."""
        return await each_in_call(self._load_runs, ids, told="load_runs")

    async def commit(self, entries: Sequence[ledger.Entry]) -> Sequence[ledger.Answer | Exception]:
        """Write decisions under the fence; a batch's seconds are those until all of it is answered."""
        began = self._clock.monotonic()
        answers = await each_in_call(
            self._commit_decisions, entries, told="commit_decisions", again=self._commit_again
        )
        self._tally.batch_sizes.add(len(entries))
        self._tally.batch_seconds.add(self._clock.monotonic() - began)
        for answer in answers:
            self._tally.answers[answer if isinstance(answer, str) else "failed"] += 1
        return answers

    async def _load_runs(self, ids: Sequence[UUID]) -> Sequence[runs.Loaded | None]:
        return await runs.load_runs(self._database, self._catalogue, ids, foretelling=True)

    async def _commit_decisions(self, entries: Sequence[ledger.Entry]) -> Sequence[ledger.Answer]:
        return await ledger.commit_decisions(self._database, self._fence, entries)

    async def _commit_again(self, entries: Sequence[ledger.Entry]) -> Sequence[ledger.Answer]:
        return await ledger.commit_again(self._database, self._fence, entries, self._clock.now())

    def moved(self) -> Mapping[str, int | None]:
        """Return of each door, by name, a number that changes as it gets on; None: nothing waits there."""
        return {
            "attempts to begin": self.begin.moved(),
            "verdicts to write": self.hold_back.moved(),
            "results to write": self.record.moved(),
        }

    def parts(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what must run for the doors to open."""
        return [
            ("begin", self.begin.serve()),
            ("hold-back", self.hold_back.serve()),
            ("record", self.record.serve()),
        ]
