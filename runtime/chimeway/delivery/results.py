"""What became of an attempt: from an answer or an exception to rows."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

from chimeway.clock import Clock, jittered
from chimeway.delivery.channel import Sent, UnknownOutcome, classify, retry_after
from chimeway.delivery.route import Route, Tried, tried
from chimeway.limits import DOWN_S, MAX_NOTE_CHARS
from chimeway.log import Events
from chimeway.progression.listens import outcome_moves
from chimeway.progression.retry import DEFAULT_RETRY_POLICY, Failure, GiveUp, RetryPolicy, after_failure
from chimeway.store.deliveries import Outcome, Recorded, Sendable
from chimeway.store.faults import fault_of
from chimeway.store.runs import Loaded
from chimeway.store.text import storable

_log = Events()
_BUSY_FIRST_S: Final = 0.02
_BUSY_MOST_S: Final = 1.0


class Results:
    """Says what follows from a result, and records it."""

    def __init__(
        self,
        write: Callable[[Outcome, str | None], Awaitable[Recorded]],
        clock: Clock,
        channels: Mapping[str, Route],
        policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Take how results are written, in batches, and what says when to try again.

        Args:
            write: writes one.
            clock: tells when.
            channels: their limits go before those of `policy`, and they know whom else to ask.
            policy: the pauses between attempts.
            draw: draws their jitter.
        """
        self._write = write
        self._clock = clock
        self._channels = channels
        self._policy = policy
        self._draw = draw

    def too_old(self, delivery: Sendable, at: datetime | None = None) -> bool:
        """Say whether no attempt may begin any more, now or `at` an instant: the first is too long ago."""
        first, policy = delivery.first_attempt_at, self._policy_of(delivery)
        return first is not None and (at or self._clock.now()) > first + timedelta(seconds=policy.max_age_s)

    def waited_out(self, delivery: Sendable, failing_for_s: float, since: datetime | None = None) -> bool:
        """Say whether what stands at a shut gate is older than others get, and has nothing to hope for.

        Its age alone says little: its workflow may have been paused, and whom it is for be busy just now. It
        counts from when it was planned, or `since` policy let it go.
        """
        age_s = self._policy_of(delivery).max_age_s
        older = self._clock.now() > (since or delivery.created_at) + timedelta(seconds=age_s)
        return older and failing_for_s >= min(age_s, DOWN_S)

    def success(self, delivery: Sendable, attempt: int, sent: Sent) -> Outcome:
        """The provider took it."""
        return Outcome(
            delivery.id,
            delivery.run_id,
            attempt,
            "succeeded",
            "succeeded",
            provider_reference=None if sent.provider_reference is None else said(sent.provider_reference),
        )

    def failure(
        self,
        delivery: Sendable,
        run: Loaded,
        attempt: int,
        error: Exception,
        *,
        provider: str | None = None,
        address: str | None = None,
    ) -> Outcome:
        """Say whether, and when, it is tried again.

        Args:
            delivery: as it was loaded before this attempt was begun.
            run: its run.
            attempt: which one failed.
            error: what was raised.
            provider: who was asked, where that is known.
            address: for whom.
        """
        error_class = classify(error)
        now = self._clock.now()
        follows = after_failure(
            self._policy_of(delivery),
            Failure(
                error_class,
                attempts=delivery.counted_attempts + (0 if error_class == "rate_limited" else 1),
                first_attempt_at=delivery.first_attempt_at or now,
                retry_after_s=retry_after(error),
                another=self._another(delivery, Tried(provider, error_class), address),
            ),
            now=now,
            jitter=self._draw(),
        )
        note = said(error) or type(error).__name__
        outcome: Literal["failed", "unknown"] = "unknown" if error_class == "unknown" else "failed"
        if isinstance(follows, GiveUp):
            return Outcome(
                delivery.id, delivery.run_id, attempt, outcome, "cancelled", follows.reason, error_class, note
            )
        return Outcome(
            delivery.id, delivery.run_id, attempt, outcome, "failed", None, error_class, note,
            next_attempt_at=follows.at, nudge=_moves(delivery, run),
        )  # fmt: skip

    def abandoned(self, delivery: Sendable, run: Loaded, attempt: int) -> Outcome:
        """Say what follows from an attempt that nobody will record: its sender died, or was cut short."""
        error = UnknownOutcome("the sender ended before it had recorded an answer")
        return self.failure(delivery, run, attempt, error)

    def _policy_of(self, delivery: Sendable) -> RetryPolicy:
        """Return the pauses that hold for all, with the limits of the delivery's channel."""
        route = self._channels.get(delivery.channel)
        if route is None:
            return self._policy
        limits = route.limits
        return replace(self._policy, max_attempts=limits.max_attempts, max_age_s=limits.max_age_s)

    def _another(
        self, delivery: Sendable, last: Tried, address: str | None
    ) -> Literal["at_once", "later", "none"]:
        route = self._channels.get(delivery.channel)
        return "none" if route is None else route.another([*tried(delivery), last], address)

    async def try_record(self, outcome: Outcome) -> Recorded:
        """Write a result once; the answer may be `busy`."""
        return await self._write(outcome, None)

    async def record(self, outcome: Outcome, tenant: str | None = None) -> Recorded:
        """Write a result; what happened, happened: while the run is locked, or the server fails, wait."""
        pause_s, told = _BUSY_FIRST_S, False
        while True:
            try:
                recorded = await self._write(outcome, tenant)
            except Exception as error:
                if fault_of(error) != "broken":  # else a call that went well would be made again
                    raise
                if not told:
                    _log.error("delivery.failed", delivery_id=str(outcome.delivery_id), error=repr(error))
                told = True
            else:
                if recorded.answer != "busy":
                    return recorded
            await asyncio.sleep(jittered(pause_s))
            pause_s = min(2 * pause_s, _BUSY_MOST_S)


def ended_unsent(
    delivery: Sendable,
    status: Literal["cancelled", "suppressed"],
    reason: str,
    error_class: str | None = None,
    note: str | None = None,
) -> Outcome:
    """The delivery ends without any provider having been asked."""
    text = said(note) if note else None
    return Outcome(delivery.id, delivery.run_id, None, None, status, reason, error_class, text)


def said(answer: object) -> str:
    """Return what a provider said, as text that a row can hold: channels hand on what they were given."""
    try:
        text = str(answer)
    except Exception:  # noqa: BLE001  (an object that cannot even be printed)
        text = type(answer).__name__
    return storable(text)[:MAX_NOTE_CHARS]


def _moves(delivery: Sendable, run: Loaded) -> bool:
    snapshot = run.snapshot
    if snapshot is None:
        return False
    return outcome_moves(snapshot.definition, delivery.step_id, "temporary_failure", terminal=False)
