"""A journey in a test: told what happens, taken through time, looked at.

Every verb plays at once what follows from it, and returns when the journey rests. What other code of the
test wrote, on connections of its own, is played by `settle`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from chimeway.errors import InvalidInput
from chimeway.testing.forms import channels_of
from chimeway.testing.telling import Stage, Telling
from chimeway.testing.times import Instant, Span, end_of, instant_of

_PLAYING: Final[ContextVar[Any]] = ContextVar("chimeway_playing", default=None)
"""The journey that is being played, for the tasks of its channels too."""


class Journey(Telling):
    """One or several runs on a database of their own; `Harness` makes it."""

    def __init__(self, stage: Stage) -> None:
        """Take the stage."""
        super().__init__(stage)
        self._turn = asyncio.Lock()

    async def settle(self) -> None:
        """Play what is due now, and look at what came of it.

        Inside a channel's `send` it does nothing: the send is part of what is being played.

        Raises:
            RunBusy: a transaction that is still open holds a run locked.
        """
        self._open()
        if self._inside():
            return
        async with self._playing():
            pass

    async def advance(self, by: Span, *, zone: str = "UTC") -> datetime:
        """Let time pass, stop by stop: what happens on the way happens at its own instant.

        Args:
            by: an ISO 8601 duration such as "PT1H59M", a timedelta, or seconds.
            zone: in which the calendar part of a duration (P1D) counts.

        Returns:
            the instant that was reached.

        Raises:
            InvalidInput: `by` is none of these, or leads back.
            RunBusy: as `settle`.
        """
        return await self._go(end_of(by, self.now, zone))

    async def advance_to(self, instant: Instant) -> datetime:
        """Let time pass until an instant, as `advance` does.

        Raises:
            InvalidInput: it is none, or is past.
        """
        end = instant_of("instant", instant)
        if end < self.now:
            raise InvalidInput(
                f"instant: {end.isoformat()} is before {self.now.isoformat()}; time goes forward only",
                field="instant",
            )
        return await self._go(end)

    async def advance_to_next(self) -> datetime | None:
        """Let time pass until something is due, and play it; None, at the same instant, if nothing is."""
        self._may_move()
        await self.settle()
        stop = await self._stage.player.next_stop()
        return None if stop is None else await self._go(stop)

    def fail_next(
        self, channel: str, *failures: BaseException | type[BaseException], after_send: bool = False
    ) -> None:
        """Have the next sends on a channel fail, one by each failure, in order.

        Args:
            channel: the channel's name.
            failures: such as `PermanentFailure()`, `TransientFailure()`, `RateLimited(30)`, `Bounced()`,
                `TimeoutError()`; any other exception is one whose outcome is unknown.
            after_send: the message arrives, and the answer is lost.

        Raises:
            InvalidInput: no workflow here sends on this channel, or what is given is no failure.
        """
        self._sends_on(channel)
        if not failures:
            raise InvalidInput("name at least one failure, such as PermanentFailure()", field="failures")
        self._stage.recorders[channel].fail_next(*failures, after_send=after_send)

    @asynccontextmanager
    async def hold_sends(self, channel: str) -> AsyncIterator[None]:
        """Begin no attempt on a channel while the block lasts: the moment between plan and send.

        Raises:
            InvalidInput: no workflow here sends on this channel.
        """
        self._sends_on(channel)
        held = self._stage.player.held_channels
        held[channel] += 1
        try:
            yield
        finally:
            held[channel] -= 1
            held += Counter()  # who is held no more is not in it
        await self.settle()

    async def _go(self, end: datetime) -> datetime:
        self._may_move()
        player = self._stage.player
        async with self._playing():
            while (stop := await player.next_stop()) is not None and stop <= end:
                await self._stage.time.move(self._database, stop)
                await player.settle()
            end = max(end, self.now)
            await self._stage.time.move(self._database, end)
        return end

    @asynccontextmanager
    async def _playing(self) -> AsyncIterator[None]:
        """Play what is due, then what the block wants, then look."""
        async with self._turn:
            mark = _PLAYING.set(self)
            try:
                await self._stage.player.settle()
                yield
                await self._look()
            finally:
                _PLAYING.reset(mark)

    def _inside(self) -> bool:
        return _PLAYING.get() is self and self._turn.locked()

    def _may_move(self) -> None:
        self._open()
        if self._inside():
            raise InvalidInput("time cannot move inside a send: move it before or after", field="by")

    def _sends_on(self, channel: str) -> None:
        self._open()
        known = self._channels | set(self._stage.recorders) | channels_of(self._stage.player.played.values())
        if channel not in known and not self._stage.repertoire.has_authors:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidInput(
                f'no workflow here sends on "{channel}"; channels are: {names}', field="channel"
            )
