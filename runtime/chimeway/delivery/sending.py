"""One delivery, sent once: attempt durable, provider called, result durable, in this order.

Whether an attempt may begin is for the rows to say: the run's own decision goes first when there is
one to make, and the ledger's function refuses when a signal came that nobody has looked at. The
lease is checked on the monotonic clock right before the call, the last moment at which it can help.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from chimeway.clock import Clock, jittered
from chimeway.delivery.channel import Message, Sent, TransientFailure, UnknownOutcome, checked
from chimeway.delivery.composing import Sending, address_of, message_of, rendered
from chimeway.delivery.judging import beginning, held_back, judged
from chimeway.delivery.results import Results, ended_unsent, said
from chimeway.delivery.route import Provider, Route, tried
from chimeway.delivery.unsubscribing import NOWHERE, Unsubscribing
from chimeway.limits import CLOCK_AHEAD_MS
from chimeway.log import Events
from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Noop
from chimeway.progression.policy import Verdict
from chimeway.progression.snapshot import LIVE
from chimeway.render.message import RenderFault
from chimeway.render.renderers import Renderers
from chimeway.store import deliveries, nodes
from chimeway.store.deliveries import Beginning, Begun, Held, HeldBack, Outcome, Sendable
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import Database, persistently
from chimeway.store.runs import Loaded
from chimeway.tally import Tally
from chimeway.workflow.definition import Step

_log = Events()
_ROUNDS: Final = 20
_TIMEOUT_SPREAD: Final = 0.05
_ABOUT: Final = timedelta(milliseconds=CLOCK_AHEAD_MS)  # our clock is behind the one that wrote the row
_BUSY_AGAIN_S: Final = 0.25
_RUN_FIRST_S: Final = 0.1
_FAULT_AGAIN_S: Final = 30.0
_WAITED_OUT: Final = "whom it is for could not be called for longer than the channel's max_age"
_TOO_LATE: Final = "policy lets it out only after the channel's max_age"
_TOO_OLD: Final = "the first attempt was longer ago than the channel's max_age"

Traced: TypeAlias = Callable[[Sendable, str, int], AbstractAsyncContextManager[Callable[[Outcome], None]]]
"""Makes a span of a call (a delivery, its provider, the attempt's number), told with the outcome."""

Load: TypeAlias = Callable[[UUID], Awaitable["Sending | None"]]


@dataclass(frozen=True, slots=True)
class Shut:
    """Nobody by whom it may be sent can be called now; the first of them can in so many seconds."""

    for_s: float
    whose: Hashable
    """Who waits for the same servers has the same."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a sender works with; in batches `begin` makes attempts durable, `hold_back` what policy stops."""

    database: Database
    clock: Clock
    node: UUID
    renderers: Renderers
    channels: Mapping[str, Route]
    begin: Callable[[Beginning], Awaitable[Begun]]
    hold_back: Callable[[HeldBack], Awaitable[Held]]
    results: Results
    trusted: Callable[[], bool]
    nudge: Callable[[UUID, str], None]
    unsubscribing: Unsubscribing = NOWHERE
    tally: Tally = field(default_factory=Tally)
    traced: Traced | None = None


class Sender:
    """Sends deliveries, one by one, each as its rows want it."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._with = parts
        self.tally = parts.tally

    def wanted(self, sending: Sending) -> bool:
        """Say whether there is anything to send, and nobody forbids it."""
        delivery, snapshot = sending.delivery, sending.run.snapshot
        if snapshot is None or delivery.status not in {"pending", "failed", "deferred"}:
            return False
        # What policy has deferred is not looked at a moment too early: it would only be deferred again.
        about = timedelta() if delivery.status == "deferred" else _ABOUT
        if delivery.next_attempt_at is None or delivery.next_attempt_at > self._with.clock.now() + about:
            return False
        if snapshot.run.held_reason is not None:
            return False
        if not snapshot.workflow_paused:
            return True
        # While a workflow is paused nobody listens: a retry goes on unless something was said since.
        return delivery.attempt_count > 0 and snapshot.run.mailbox_count == sending.run.mailbox_seen

    async def send(self, sending: Sending, load: Load) -> "Answer":
        """Try to send once.

        Args:
            sending: what, as loaded some time ago.
            load: loads it again, when the rows have moved on.

        Returns:
            What became of it, to be recorded; or that the way is shut; or when, or in how many seconds, to
            come again; None: nothing is left to do, or others will say when.

        Raises:
            LeaseLost: another node has taken over.
        """
        try:
            for _ in range(_ROUNDS):
                answer = await self._once(sending)
                if not isinstance(answer, _Again):
                    return answer
                fresh = await load(sending.delivery.id)
                if fresh is None:
                    return None
                sending = fresh
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  (one delivery's fault must not end its neighbours)
            delivery = sending.delivery
            _log.error(
                "delivery.failed",
                delivery_id=str(delivery.id),
                run_id=str(delivery.run_id),
                error=repr(error),
            )
            return jittered(_FAULT_AGAIN_S)
        return jittered(_BUSY_AGAIN_S)

    async def _once(self, sending: Sending) -> "Answer | _Again":
        delivery = sending.delivery
        if not self.wanted(sending):
            return None
        if self._run_goes_first(sending.run):
            self._with.nudge(delivery.run_id, delivery.tenant_id)
            return jittered(_RUN_FIRST_S)
        route = self._with.channels.get(delivery.channel)
        if route is None:
            return await self._lacking(delivery)
        if not self._with.trusted():
            return jittered(_BUSY_AGAIN_S)  # another may hold the lease: let it begin the attempt
        if self._with.results.too_old(delivery):
            return ended_unsent(delivery, "cancelled", "retries_exhausted", _last_error(delivery), _TOO_OLD)
        verdict = judged(delivery, sending.run, self._with.clock.now())
        if verdict is not None and verdict.until and self._with.results.too_old(delivery, verdict.until):
            return ended_unsent(delivery, "cancelled", "retries_exhausted", _last_error(delivery), _TOO_LATE)
        if verdict is not None and verdict.kind != "send":
            return await self._held_back(sending, verdict)
        address = address_of(sending, route)
        if address is None and route.needs_address:
            return ended_unsent(delivery, "suppressed", "no_address")
        provider = route.choose(tried(delivery), address)
        if not isinstance(provider, Provider):
            return await self._shut(delivery, route, address, provider)
        message = rendered(sending, self._with.renderers, self._with.unsubscribing)
        if isinstance(message, RenderFault):
            _log.warning(
                "delivery.render_failed", delivery_id=str(delivery.id), run_id=str(delivery.run_id),
                render_key=delivery.render_key, channel=delivery.channel, fault=message.reason,
            )  # fmt: skip
            return ended_unsent(delivery, "cancelled", "permanent_failure", "configuration", message.reason)
        wait_s = provider.take(address)
        if wait_s > 0:
            return await self._shut(delivery, route, address, wait_s)
        begins = beginning(delivery, sending.run, verdict, provider.name, address, message)
        return await self._attempt(sending, provider, address, begins)

    async def _held_back(self, sending: Sending, verdict: Verdict) -> "Answer | _Again":
        """Write down that it is not sent now, or not at all; the run may have to go on."""
        delivery = sending.delivery
        held = await self._with.hold_back(held_back(delivery, sending.run, verdict))
        match held.answer:
            case "applied":
                _log.info(
                    "delivery.held_back", delivery_id=str(delivery.id), run_id=str(delivery.run_id),
                    channel=delivery.channel, verdict=verdict.kind, reason=verdict.reason,
                )  # fmt: skip
                status = "deferred" if verdict.until else "suppressed"
                self._with.tally.deliveries[delivery.channel, status, verdict.reason] += 1
                if held.nudged:
                    self._with.nudge(delivery.run_id, delivery.tenant_id)
                return verdict.until
            case refused:
                return _refused(refused)

    async def _shut(
        self, delivery: Sendable, route: Route, address: str | None, for_s: float
    ) -> Outcome | Shut:
        """Wait; but not for ever, where it is not the channel that is shut but the way of this one alone."""
        results, failing_s = self._with.results, route.failing_for(tried(delivery), address)
        if route.closed_for() == 0.0 and results.waited_out(delivery, failing_s):
            let_go = await persistently(deliveries.put_off_until, self._with.database, delivery.id)
            if results.waited_out(delivery, failing_s, let_go):
                return ended_unsent(
                    delivery, "cancelled", "retries_exhausted", _last_error(delivery), _WAITED_OUT
                )
        return Shut(for_s, route.whose(address))

    async def _attempt(
        self, sending: Sending, provider: Provider, address: str | None, beginning: Beginning
    ) -> "Answer | _Again":
        """Begin an attempt. Its place at the provider's gate is taken; it is given back if none begins."""
        begun = None
        try:
            made = message_of(sending, address, beginning.message, self._with.unsubscribing)
            begun = await self._with.begin(beginning)
        finally:
            if begun is None or begun.answer != "begun":
                provider.give_back(address)
        match begun.answer:
            case "begun":
                return await self._call(sending, provider, made, begun.attempt_no or 0)
            case refused:
                return _refused(refused)

    async def _call(self, sending: Sending, provider: Provider, message: Message, attempt: int) -> Outcome:
        if self._with.traced is None:
            return await self._called(sending, provider, message, attempt)
        async with self._with.traced(sending.delivery, provider.name, attempt) as ended:
            outcome = await self._called(sending, provider, message, attempt)
            ended(outcome)
            return outcome

    async def _called(self, sending: Sending, provider: Provider, message: Message, attempt: int) -> Outcome:
        delivery = sending.delivery
        told = {
            "delivery_id": str(delivery.id), "run_id": str(delivery.run_id), "channel": delivery.channel,
            "provider": provider.name, "attempt": attempt,
        }  # fmt: skip
        _log.info("delivery.attempt", **told)
        began = self._with.clock.monotonic()
        answer = await self._answer(provider, message)
        if isinstance(answer, Exception):
            outcome = self._with.results.failure(
                delivery, sending.run, attempt, answer, provider=provider.name, address=message.address
            )
        else:
            outcome = self._with.results.success(delivery, attempt, answer)
        took_s, whose = self._with.clock.monotonic() - began, (delivery.channel, provider.name)
        self._with.tally.calls[whose].add(took_s)
        self._with.tally.attempts[*whose, outcome.error_class or "succeeded"] += 1
        _log.info(
            "delivery.outcome", **told, outcome=outcome.outcome, error_class=outcome.error_class,
            seconds=round(took_s, 4),
        )  # fmt: skip
        return outcome

    async def _answer(self, provider: Provider, message: Message) -> Sent | Exception:
        """Call the provider; tell its gate how that ended, before anybody asks the gate again."""
        if not self._with.trusted():
            provider.give_back(message.address)
            return TransientFailure("the lease was in doubt right before the call")
        answer: Sent | Exception
        try:
            async with asyncio.timeout(_spread(provider.limits.timeout_s)):
                answer = checked(await provider.channel.send(message))
        except Exception as error:  # noqa: BLE001  (a channel may raise anything; the table says what it means)
            answer = error
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # its own cancellation, or what bindings to other languages raise
            if _is_being_cancelled():
                raise
            answer = UnknownOutcome(f"the channel raised {type(error).__name__}: {said(error)}")
        provider.record(answer, message.address)
        return answer

    def _run_goes_first(self, run: Loaded) -> bool:
        """Say whether the run has a decision to make: then what it planned may no longer hold."""
        snapshot = run.snapshot
        if snapshot is None or snapshot.run.state not in LIVE:
            return False
        return not isinstance(decide(snapshot, self._with.clock.now(), _unborn), Noop)

    async def _lacking(self, delivery: Sendable) -> Outcome | float | None:
        """Wait for a node that has the channel, if there is one; else it is set up wrong."""
        database, node, channel = self._with.database, self._with.node, delivery.channel
        if not await persistently(nodes.another_has, database, node, channel):
            note = f'no channel "{channel}" is set up'
            return ended_unsent(delivery, "cancelled", "permanent_failure", "configuration", note)
        if not await persistently(deliveries.mark_incapable, database, delivery.id, channel):
            return jittered(_BUSY_AGAIN_S)
        _log.warning("delivery.waiting_for_capable_node", delivery_id=str(delivery.id), needs=channel)
        return None


def _last_error(delivery: Sendable) -> str | None:
    failed = tried(delivery)
    return failed[-1].error_class if failed else None


def _spread(timeout_s: float) -> float:
    """Return a call's timeout, a little longer: what hangs together must not end in one turn of the loop."""
    return timeout_s * (1 + _TIMEOUT_SPREAD * random.random())  # noqa: S311  (no secret)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class _Again:
    """The rows have moved on: load and look again."""


def _refused(answer: Literal["unseen", "stale", "busy", "gone"]) -> float | _Again | None:
    """Return what to do when the ledger did not write: look again, come again, or leave it be."""
    match answer:
        case "unseen" | "stale":
            return _Again()
        case "busy":
            return jittered(_BUSY_AGAIN_S)
        case "gone":
            return None


Answer: TypeAlias = Outcome | Shut | datetime | float | None
"""What `Sender.send` returns."""


def _unborn(_step: Step, _visit: int) -> Birth:
    """Answer for deliveries of a decision that is only asked about, never written."""
    return Birth("pending")
