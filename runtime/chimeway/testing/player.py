"""The engine, driven by hand: what a node does in the background, done here while somebody waits.

The parts are a node's own: the seam decides, the ledger commits, the sender begins attempts, calls
channels and has results recorded. What is not here are a node's ways of noticing (hints, wheel, sweeps)
and of doing many things at once: at each instant, the rows are asked what is due, until nothing is.

Writes go without a lease, as `progress_run`'s do: the guards make a decision right whoever makes it.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from chimeway.delivery.composing import Sending
from chimeway.delivery.results import Results
from chimeway.delivery.sending import Parts, Sender, Shut
from chimeway.engine.courier import IN_APP
from chimeway.engine.seam import Committed, NotUnderstood, Refused, Rested, Seam
from chimeway.errors import InvalidDefinition, RunBusy
from chimeway.limits import MAX_NOTE_CHARS
from chimeway.progression.decision import RunAfter
from chimeway.progression.retry import RetryPolicy
from chimeway.render.renderers import Renderers
from chimeway.store import deliveries, ledger, mailbox, runs, watching
from chimeway.store.catalogue import Catalogue
from chimeway.store.deliveries import Beginning, Begun, Held, HeldBack, Outcome, Recorded
from chimeway.store.faults import fault_of
from chimeway.store.pool import Database
from chimeway.store.runs import NO_ID, Loaded
from chimeway.store.text import fault_note
from chimeway.testing.recording import Recorders
from chimeway.testing.routes import Routes
from chimeway.testing.times import JourneyTime
from chimeway.workflow.definition import Definition, NotifyAction
from chimeway.workflow.encode import conditions_of

_PATIENCE_S: Final = 3.0
"""How long, by the machine's clock, a run may be locked by somebody else: a test forgot to commit."""
_LOOK_AGAIN_S: Final = 0.01
_ROUNDS: Final = 10_000
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Cast:
    """What the player works with."""

    database: Database
    time: JourneyTime
    renderers: Renderers
    channels: Recorders
    addressless: Collection[str]
    """The channels that need no address."""
    addresses: bool
    """Whether every recipient has an address on every channel."""
    retry: RetryPolicy
    seed: int


class Player:
    """Plays what is due at the present instant, in an order that is the same each time."""

    def __init__(self, cast: Cast) -> None:
        """Build the parts."""
        self._database = cast.database
        self._time = cast.time
        self._clock = cast.time.clock
        self._addresses = cast.addresses
        self._addressless = cast.addressless
        self._catalogue = Catalogue(cast.database)
        self._node = uuid4()
        self._seam = Seam(self._load, self._commit, cast.renderers, cast.addressless)
        draw = random.Random(cast.seed).random  # noqa: S311  (jitter, no secret)
        routes = Routes(cast.channels, self._clock, cast.retry)
        self._results = Results(self._record, self._clock, routes, cast.retry, draw)
        self._sender = Sender(
            Parts(
                cast.database, self._clock, self._node, cast.renderers, routes, self._begin,
                self._hold_back, self._results, trusted=lambda: True, nudge=self._nudge,
            )
        )  # fmt: skip
        self._nudged: dict[UUID, None] = {}
        self._read: dict[UUID, tuple[int, int]] = {}
        self._just_entered = False
        self._interrupted = False
        self._owed: deque[Outcome] = deque()
        self.held_channels: Counter[str] = Counter()
        self.played: dict[tuple[str, int], Definition] = {}

    async def settle(self) -> None:
        """Play until nothing is due at this instant.

        Raises:
            RunBusy: somebody holds a run locked, and for too long.
            InvalidDefinition: this program cannot read a run's definition.
        """
        self._read.clear()  # what somebody has just let go of (a pause) is looked at anew
        await self._write_down()
        await self._give_up_interrupted()
        for _ in range(_ROUNDS):
            moved = await self._play_runs()
            if not await self._send_due() and not moved and not self._nudged:
                if not self._just_entered:
                    return
                # What is said from now on was said after the step was entered (`since: entered`).
                self._just_entered = False
                await self._time.tick(self._database)
        raise AssertionError("the journey does not come to rest")

    async def next_stop(self) -> datetime | None:
        """Return the next instant at which something is due, or None."""
        return await watching.next_stop(self._database, self._clock.now(), list(self.held_channels))

    async def _play_runs(self) -> bool:
        moved = False
        for run_id in await self._woken():
            moved |= await self._play(run_id)
        return moved

    async def _woken(self) -> list[UUID]:
        """Return whom to evaluate, each once: who got mail, who was nudged, who is due."""
        found, self._nudged = self._nudged, {}
        after: int | None = 0
        while after is not None:
            routed, after = await mailbox.route(self._database, after)
            found |= {run_id: None for run_id, _ in routed}
        seen = NO_ID
        while page := await runs.unread(self._database, seen, _PAGE):
            found |= {run.id: None for run in page if self._read.get(run.id) != run.state}
            self._read.update({run.id: run.state for run in page})
            seen = page[-1].id
        found |= dict.fromkeys(await watching.due_runs(self._database, self._clock.now()))
        return list(found)

    async def _play(self, run_id: UUID) -> bool:
        """Evaluate a run until it rests; say whether anything was written. Poison holds it, as on a node."""
        try:
            return await self._evaluate(run_id)
        except (RunBusy, InvalidDefinition):
            raise
        except Exception as error:
            if fault_of(error) not in {None, "bad"}:
                raise
            note = fault_note(error)[: MAX_NOTE_CHARS - 50]
            return await runs.hold(self._database, run_id, "poison_decision", note)

    async def _evaluate(self, run_id: UUID) -> bool:
        moved, patience = False, _Patience(f"run {run_id}")
        while True:
            match await self._seam.evaluate(run_id, self._clock.now):
                case Committed(entry, loaded):
                    moved, after = True, entry.decision.after
                    self._note(loaded, after)
                    if after.held_reason or after.wake_at is None or after.wake_at > self._clock.now():
                        return True
                case Rested() | Refused("gone"):
                    return moved
                case Refused("stale" | "busy"):
                    await patience.wait()
                case Refused():
                    raise AssertionError("the test's clock was set back, and not by the harness")
                case NotUnderstood(loaded):
                    key, version = loaded.workflow
                    raise InvalidDefinition(f"this program cannot read workflow {key} version {version}")

    async def _send_due(self) -> bool:
        """Attempt each delivery that is due once; say whether any was."""
        due = await watching.due_deliveries(self._database, self._clock.now(), list(self.held_channels))
        moved = False
        for delivery_id in due:
            moved |= await self._send(delivery_id)
        return moved

    async def _send(self, delivery_id: UUID) -> bool:
        patience = _Patience(f"delivery {delivery_id}")
        while True:
            sending = await self._sending(delivery_id)
            if sending is None or not self._sender.wanted(sending):
                return False
            try:
                answer = await self._sender.send(sending, self._sending)
            except BaseException:
                self._interrupted = True
                raise
            if isinstance(answer, Outcome):
                self._owed.append(answer)
                await self._write_down()
                return True
            assert not isinstance(answer, Shut), "the gates of a played journey are always open"
            if isinstance(answer, datetime):
                return True  # policy has deferred it until then
            if answer is None or self._nudged:
                return False  # nothing is left to do, or the run goes first
            await patience.wait()

    async def _give_up_interrupted(self) -> None:
        """Record as unknown what was cut short (a test's timeout, Ctrl-C), as on a node that died there."""
        while self._interrupted:
            left = await deliveries.abandoned(self._database, uuid4(), NO_ID, _PAGE)
            for delivery_id, _, attempt in left:
                if (sending := await self._sending(delivery_id)) is not None:
                    self._owed.append(self._results.abandoned(sending.delivery, sending.run, attempt))
            await self._write_down()
            self._interrupted = len(left) == _PAGE

    async def _write_down(self) -> None:
        """Record what channels have answered: it happened, though a run was locked for too long before."""
        while self._owed:
            outcome = self._owed[0]
            patience = _Patience(f"run {outcome.run_id}")
            while (recorded := await self._results.try_record(outcome)).answer == "busy":
                await patience.wait()
            self._owed.popleft()
            if recorded.nudged:
                self._nudge(outcome.run_id, "")

    def _nudge(self, run_id: UUID, _tenant: str) -> None:
        self._nudged[run_id] = None

    def _note(self, loaded: Loaded, after: RunAfter) -> None:
        """Note whether a step was entered at this very instant that hears only what comes later."""
        if loaded.snapshot is None:
            return
        definition = loaded.snapshot.definition
        self.played[definition.key, definition.version] = definition
        if after.entered_at == self._clock.now():
            self._just_entered |= any(one.since == "entered" for one in conditions_of(definition))

    async def _load(self, ids: Sequence[UUID]) -> list[Loaded | None]:
        loaded = await runs.load_runs(self._database, self._catalogue, ids)
        if not self._addresses:
            return loaded
        return [None if each is None else _reachable(each, self._addressless) for each in loaded]

    async def _commit(self, entries: Sequence[ledger.Entry]) -> list[ledger.Answer]:
        return await ledger.commit_decisions(self._database, None, entries)

    async def _sending(self, delivery_id: UUID) -> Sending | None:
        delivery = (await deliveries.load_sendables(self._database, [delivery_id])).get(delivery_id)
        run = None if delivery is None else (await self._load([delivery.run_id]))[0]
        return None if delivery is None or run is None else Sending(delivery, run)

    async def _begin(self, beginning: Beginning) -> Begun:
        return (await deliveries.begin_attempts(self._database, None, self._node, [beginning]))[0]

    async def _hold_back(self, row: HeldBack) -> Held:
        return (await deliveries.record_verdicts(self._database, None, [row]))[0]

    async def _record(self, outcome: Outcome, _tenant: str | None) -> Recorded:
        return (await deliveries.record_results(self._database, [outcome]))[0]


class _Patience:
    """Waits a little, again and again, but not for ever."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ends: float | None = None

    async def wait(self) -> None:
        """Wait a little.

        Raises:
            RunBusy: it has been waited for too long.
        """
        now = asyncio.get_running_loop().time()
        self._ends = self._ends or now + _PATIENCE_S
        if now > self._ends:
            hint = "commit or roll back the transaction that holds it before the journey goes on"
            raise RunBusy(f"{self._what} was locked for {_PATIENCE_S:g} seconds: {hint}", hint=hint)
        await asyncio.sleep(_LOOK_AGAIN_S)


def made_up_address(recipient: str, channel: str) -> str:
    """Return the address that a recipient has on a channel where none is known."""
    return f"{recipient}@example.org" if channel == "email" else f"{channel}:{recipient}"


def _reachable(loaded: Loaded, addressless: Collection[str]) -> Loaded:
    """Give the recipient an address on every channel of the journey that needs one, where none is known."""
    if loaded.snapshot is None:
        return loaded
    recipient = loaded.recipient
    actions = (step.action for step in loaded.snapshot.definition.steps)
    channels = {action.channel for action in actions if isinstance(action, NotifyAction)}
    made_up = {
        channel: made_up_address(recipient.id, channel) for channel in channels - {IN_APP, *addressless}
    }
    return replace(loaded, recipient=replace(recipient, addresses={**made_up, **recipient.addresses}))
