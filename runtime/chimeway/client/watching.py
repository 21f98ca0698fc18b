"""Watches inboxes for all of a client who look on: one task, one connection that listens.

The task goes round: it takes off the list of watched inboxes those on which nobody looks any more, puts the
new ones on it, reads what is asked for (all of it in one query), and waits for more. In this order: what is
read is on the list already, so whoever writes later calls. A transaction that looked at the list before, and
commits after the read, calls nobody: new ones are read once more, soon; what took longer is found by the next
look at everything.

Two modes with names, as a node has: `hinted` while the connection hears its own calls, `polling` while there
is none. While it polls it is on no list: nobody needs to call.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import Final, TypeVar
from uuid import uuid4

from chimeway.client.sights import Mode, Sight, Stage
from chimeway.clock import SystemClock, jittered, set_within
from chimeway.errors import ChimewayError
from chimeway.limits import (
    INBOX_BEAT_S,
    INBOX_CALLED_S,
    INBOX_COUNTED,
    INBOX_LOOK_S,
    INBOX_POLL_S,
    INBOX_READ_AGAIN_S,
    INBOX_READ_AT_ONCE,
    PROBE_TIMEOUT_S,
)
from chimeway.log import Events
from chimeway.store import callers, inbox
from chimeway.store.call import Call
from chimeway.store.faults import behind, fault_of
from chimeway.store.hints import HintLine, open_inbox_line
from chimeway.store.pool import Database, persistently
from chimeway.store.words import in_our_words

_T = TypeVar("_T")
_log = Events()
_END_S: Final = 2.0
_LINE_AGAIN_S: Final = 1.0
_POLL_PER_INBOX_S: Final = 0.001
_stages: Final[dict[Database, Stage]] = {}
"""Of each client's database the watch that is kept now; it goes with the last who looks on."""


def stage_of(database: Database) -> Stage:
    """Return what is shared with the watch over a client's inboxes; it begins if nobody looked on before."""
    stage = _stages.get(database)
    if stage is None:
        stage = _stages[database] = Stage()
        watch = Watch(database, stage)
        # In a context of its own: it outlives the request of whoever came first.
        task = asyncio.create_task(watch.serve(), name="inbox-changes", context=Context())
        watch.end_with_client(task)
    return stage


class Watch:
    """The task that serves a stage until nobody looks on."""

    def __init__(self, database: Database, stage: Stage) -> None:
        """Take the client's database and the stage."""
        self._database = database
        self._stage = stage
        self._id = uuid4()
        self._clock = SystemClock()
        self._listed: dict[str, Sight] = {}
        self._fresh: deque[tuple[float, list[Sight]]] = deque()
        self._beat_at = self._look_at = self._called_until = -math.inf
        self._ever_listed = self._degraded = False

    def end_with_client(self, task: asyncio.Task[None]) -> None:
        """See that the task ends before the client's pool does."""

        async def end() -> None:
            self._stage.end(None)
            task.cancel()
            await asyncio.wait({task})

        def forget(_: object) -> None:
            if end in self._database.closing:
                self._database.closing.remove(end)

        self._database.closing.append(end)
        task.add_done_callback(forget)

    async def serve(self) -> None:
        """Watch until nobody looks on; a fault is theirs to hear."""
        fault: BaseException | None = None
        try:
            with in_our_words():
                await self._watch()
        except Exception as error:  # noqa: BLE001  (raised by everybody who looks on)
            fault = error
        finally:
            if _stages.get(self._database) is self._stage:
                del _stages[self._database]
            self._stage.end(fault)
            await self._leave_the_list()

    async def _watch(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(), name="inbox-listen")
                await self._go_round()
                # Before anything else may happen: who comes now begins a watch of their own.
                del _stages[self._database]
                listening.cancel()
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None

    async def _go_round(self) -> None:
        stage = self._stage
        while True:
            stage.work.clear()
            gone = stage.forget()
            if not stage.sights:
                return
            await self._strike_off(gone)
            await self._enlist()
            if self._clock.monotonic() >= self._look_at:
                stage.asked.update(stage.sights.values())
                self._look_at = self._clock.monotonic() + self._pause()
            self._ask_again()
            await self._read()
            await set_within(stage.work, self._next() - self._clock.monotonic())

    def _pause(self) -> float:
        if self._stage.mode == "hinted":
            return jittered(INBOX_LOOK_S)
        return jittered(INBOX_POLL_S + len(self._stage.sights) * _POLL_PER_INBOX_S)

    def _next(self) -> float:
        """Return when there is something to do, unless somebody calls."""
        beat_at = self._beat_at if self._stage.mode == "hinted" else math.inf
        return min(self._look_at, beat_at, *(at for at, _ in self._fresh))

    def _ask_again(self) -> None:
        """Have those who came on the list a moment ago read once more."""
        while self._fresh and self._fresh[0][0] <= self._clock.monotonic():
            self._stage.asked.update(sight for sight in self._fresh.popleft()[1] if sight.lookers)

    async def _strike_off(self, digests: list[str]) -> None:
        for digest in digests:
            self._listed.pop(digest, None)
        for page in _pages(digests):
            await self._ask(inbox.unwatch(self._id, page))

    async def _enlist(self) -> None:
        """Put the new ones on the list, and give a sign of life when it is time for one."""
        stage = self._stage
        if stage.mode == "polling":
            return
        now = self._clock.monotonic()
        if now >= self._called_until:  # who was silent for so long was not called, or is off the list
            stage.new.update(stage.sights.values())
        new = list(stage.new)
        stage.new.clear()
        for page in _pages(new) or ([[]] if now >= self._beat_at else []):
            self._ever_listed = True
            digests = await self._ask(inbox.watch(self._id, [sight.inbox for sight in page]))
            self._beat_at = self._clock.monotonic() + jittered(INBOX_BEAT_S)
            self._called_until = now + INBOX_CALLED_S
            if page:
                self._fresh.append((self._clock.monotonic() + INBOX_READ_AGAIN_S, page))
            for sight, digest in zip(page, digests, strict=True):
                sight.digest = digest
                self._listed[digest] = sight
                stage.asked.add(sight)

    async def _read(self) -> None:
        asked, self._stage.asked = self._stage.asked, set()
        for page in _pages(list(asked)):
            questions = [(sight, sight.asked, sight.told) for sight in page]
            for sight in page:
                sight.told = False
            states = await self._ask(inbox.states([sight.inbox for sight in page], INBOX_COUNTED))
            for (sight, number, told), state in zip(questions, states, strict=True):
                sight.learn(state, number, told=told)

    async def _ask(self, call: Call[_T]) -> _T:
        return await persistently(callers.ask, self._database, call)

    async def _listen(self) -> None:
        lost = False
        while True:
            line = await self._line()
            if line is not None:
                try:
                    self._turn("hinted", "listening", lost=lost)
                    if not await line.stay():
                        _log.warning("inbox.silent", seconds=PROBE_TIMEOUT_S)
                finally:
                    await line.close()
                self._turn("polling", "the connection was lost")
                lost = True
            await self._clock.sleep(jittered(_LINE_AGAIN_S))

    async def _line(self) -> HintLine | None:
        try:
            line = await open_inbox_line(self._database.direct_url, self._id, self._called)
        except Exception as error:
            if fault_of(behind(error)) is None and not isinstance(error, ChimewayError):
                raise
            self._turn("polling", str(error))
            return None
        if line is None:
            self._turn("polling", "a pooler stands between: name a direct_dsn that leads past it")
            await self._clock.sleep(jittered(INBOX_LOOK_S))
        return line

    def _called(self, digest: str) -> None:
        sight = self._listed.get(digest)
        if sight is not None and sight.lookers:
            self._stage.ask(sight, told=True)

    def _turn(self, mode: Mode, reason: str, *, lost: bool = False) -> None:
        """Change the mode; what happened while nothing was heard may be anything."""
        stage = self._stage
        if (mode == "polling") != self._degraded:
            self._degraded = mode == "polling"
            _log.warning("inbox.mode", mode=mode, reason=reason)
        if mode == "hinted":
            stage.new.update(stage.sights.values())
            for sight in stage.sights.values():
                stage.ask(sight, told=lost)
        stage.mode = mode
        self._look_at = min(self._look_at, self._clock.monotonic() + self._pause())
        stage.work.set()

    async def _leave_the_list(self) -> None:
        if self._ever_listed:
            try:
                async with asyncio.timeout(_END_S):
                    await callers.ask(self._database, inbox.unwatch(self._id, None))
            except Exception as error:
                # Without a sign of life it is off the list by itself, soon.
                if fault_of(error) is None and not isinstance(error, ChimewayError):
                    raise


def _pages(rows: Sequence[_T]) -> list[list[_T]]:
    step = INBOX_READ_AT_ONCE
    return [list(rows[start : start + step]) for start in range(0, len(rows), step)]
