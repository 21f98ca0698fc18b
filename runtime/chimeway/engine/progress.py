"""`progress_run` and `progress_due_runs`: the seam by hand, for workers, tests and operators.

It needs no lease and no daemon: the ledger's guards make a decision right whoever makes it. What it
plans is sent by whichever daemon holds the lease; it is told by a hint.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from chimeway.clock import jittered
from chimeway.engine.seam import Committed, NotUnderstood, Refused, Rested, Seam
from chimeway.errors import InvalidDefinition, InvalidInput, NowInFuture, RunBusy, WorkflowRunNotFound
from chimeway.limits import CLOCK_AHEAD_MS, MAX_DUE, MAX_NOTE_CHARS, PATIENCE_S
from chimeway.progression.decision import NoopReason
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from chimeway.store import callers, ledger, nodes, reads, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.faults import fault_of
from chimeway.store.ledger import Answer, Entry
from chimeway.store.pool import Database, open_database
from chimeway.store.runs import Loaded
from chimeway.store.text import fault_note
from chimeway.store.views import DeliveryView, RunView
from chimeway.store.words import in_our_words

_BUSY_FIRST_S: Final = 0.005
_BUSY_MOST_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Moved:
    """Something followed and is durable; `deliveries` were planned on the way."""

    run: RunView
    deliveries: tuple[DeliveryView, ...]


class Advanced(_Moved):
    """The run went on to another step."""

    __slots__ = ()


class Waiting(_Moved):
    """The run waits now."""

    __slots__ = ()


class Completed(_Moved):
    """The run came to its end."""

    __slots__ = ()


class Stopped(_Moved):
    """A signal or a rule stopped the run."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Noop:
    """Nothing followed from the run's rows, and nothing was written."""

    run: RunView
    reason: NoopReason


Progress: TypeAlias = Advanced | Waiting | Completed | Stopped | Noop
_Kind: TypeAlias = type[Advanced | Waiting | Completed | Stopped]
_KINDS: Final[dict[str, _Kind]] = {
    "advanced": Advanced,
    "waiting": Waiting,
    "completed": Completed,
    "stopped": Stopped,
}


class Engine:
    """Evaluates runs on demand."""

    def __init__(self, database: Database, renderers: Renderers, addressless: Collection[str]) -> None:
        """Take an open database; use `connect`."""
        self._database = database
        self._catalogue = Catalogue(database)
        self._seam = Seam(self._load, self._commit, renderers, addressless)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        dsn: str,
        *,
        templates: Templates | None = None,
        addressless: Collection[str] = ("log",),
        size: int = 8,
    ) -> AsyncIterator["Engine"]:
        """Open a pool of at most `size` connections.

        Args:
            dsn: the database.
            templates: for in-app messages, which are rendered where they are planned; without, an
                in_app step ends as cancelled/permanent_failure, as it does where a template is missing.
            addressless: the channels that need no address.

        Raises:
            DatabaseUnavailable: nothing answers there.
        """
        async with open_database(dsn, name="chimeway-engine", size=size) as database:
            yield cls(database, Renderers(templates=templates), addressless)

    async def progress_run(self, run_id: UUID, now: datetime | None = None) -> Progress:
        """Evaluate one run against its rows, and persist what follows in one transaction.

        Args:
            run_id: which.
            now: the time of the evaluation; the database's clock if left out.

        Returns:
            What followed; the run as it is then.

        Raises:
            WorkflowRunNotFound: no run has this id.
            NowInFuture: `now` is more than 50 ms ahead of the database's clock.
            RunBusy: somebody held the run locked for ten seconds.
            InvalidDefinition: this program cannot read the run's definition.
        """
        with in_our_words():
            at = await self._now(now)
            return await self._progress(run_id, at, own_clock=now is None)

    async def progress_due_runs(
        self, now: datetime | None = None, limit: int | None = None
    ) -> list[Progress]:
        """Evaluate the runs whose time has come, oldest first.

        Args:
            now: the time of the evaluation; the database's clock if left out.
            limit: how many at most; 1,000 if left out, and at most.

        Returns:
            One result for each run that was taken. One that somebody else has locked, or that this program
            cannot read, is passed over; one whose decision cannot be made or written is held.
        """
        if limit is not None and not 1 <= limit <= MAX_DUE:
            raise InvalidInput(f"limit is {limit}; give 1 to {MAX_DUE}", field="limit")
        with in_our_words():
            at = await self._now(now)
            due = await runs.oldest_due(self._database, at, limit or MAX_DUE)
            taken = [await self._take(run_id, at, own_clock=now is None) for run_id in due]
        return [progress for progress in taken if progress is not None]

    async def _take(self, run_id: UUID, at: datetime, *, own_clock: bool) -> Progress | None:
        """Evaluate one of many: what cannot be taken now must not keep the others from their turn."""
        try:
            return await self._progress(run_id, at, own_clock=own_clock, patience_s=0)
        except (RunBusy, WorkflowRunNotFound, InvalidDefinition):
            return None
        except Exception as error:
            if fault_of(error) not in {None, "bad"}:
                raise
            note = fault_note(error)
            await runs.hold(self._database, run_id, "poison_decision", note[: MAX_NOTE_CHARS - 50])
            return None

    async def _progress(
        self, run_id: UUID, at: datetime, *, own_clock: bool, patience_s: float = PATIENCE_S
    ) -> Progress:
        """Evaluate until the rows hold still: `stale` is made again, `busy` waits for its holder."""
        loop = asyncio.get_running_loop()
        patience, pause_s = loop.time() + patience_s, _BUSY_FIRST_S
        while isinstance(answer := await self._once(run_id, at), str):
            if loop.time() > patience and (answer == "busy" or patience_s):
                raise RunBusy(f"run {run_id} was {answer} for {patience_s} seconds", run_id=run_id)
            if answer == "busy":
                await asyncio.sleep(jittered(pause_s))
                pause_s = min(2 * pause_s, _BUSY_MOST_S)
            if own_clock:
                at = await nodes.database_now(self._database)
        return answer

    async def _once(self, run_id: UUID, at: datetime) -> Progress | Literal["stale", "busy"]:
        match await self._seam.evaluate(run_id, lambda: at):
            case Committed() as done:
                return await self._result(done)
            case Rested(noop=noop):
                return Noop(await callers.ask(self._database, reads.find_run(run_id)), noop.reason)
            case NotUnderstood(loaded):
                which = f"{loaded.workflow[0]} version {loaded.workflow[1]}"
                raise InvalidDefinition(f"this program cannot read workflow {which}")
            case Refused("gone"):
                raise WorkflowRunNotFound(f"no run {run_id}", hint="look at the id", run_id=run_id)
            case Refused("refused"):
                raise _in_future(at)
            case Refused("stale" | "busy" as answer):
                return answer
            case never:
                raise AssertionError(never)

    async def _now(self, now: datetime | None) -> datetime:
        """Refuse a time to come also where nothing would be written: a noop can be wrong, too."""
        there = await nodes.database_now(self._database)
        if now is None:
            return there
        if now.tzinfo is None:
            raise InvalidInput("now has no zone; give an instant in UTC", field="now")
        if now > there + timedelta(milliseconds=CLOCK_AHEAD_MS):
            raise _in_future(now)
        return now.astimezone(there.tzinfo)

    async def _result(self, done: Committed) -> Progress:
        ids = set(done.entry.delivery_ids.values())
        run = await callers.ask(self._database, reads.find_run(done.entry.run_id))
        planned = await callers.ask(self._database, reads.find_deliveries(run.id, ids)) if ids else ()
        return _KINDS[done.entry.decision.kind](run, planned)

    async def _load(self, ids: Sequence[UUID]) -> Sequence[Loaded | None]:
        return await runs.load_runs(self._database, self._catalogue, ids, foretelling=True)

    async def _commit(self, entries: Sequence[Entry]) -> Sequence[Answer]:
        return await ledger.commit_decisions(self._database, None, entries)


def _in_future(now: datetime) -> NowInFuture:
    return NowInFuture(f"now ({now.isoformat()}) is ahead of the database's clock", field="now")
