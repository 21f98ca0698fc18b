"""The keeper of a lease: it beats on a thread of its own, whatever the event loop of the node is doing.

What a beat is for, and every case in which one fails, stands in `ownership`.
"""

import asyncio
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from chimeway.clock import set_within
from chimeway.engine.tenure import Tenure
from chimeway.log import Events
from chimeway.store.faults import behind, fault_of, lost_by, passes
from chimeway.store.ids import SHARDS, shard_ranges
from chimeway.store.leases import TWICE_APART_S, Beat, LeaseLine, open_line
from chimeway.store.ledger import Fence
from chimeway.tally import Tally

_log = Events()
_TRIES_A_LEASE: Final = 6
_BEATS_A_LEASE: Final = 3
_TRUSTED_PART: Final = 0.9
_AT_ONCE_S: Final = 0.02
_AGAIN_S: Final = 0.2
_LET_GO_S: Final = 0.8
"""How long the event loop may take to let go of shards; if it is too busy they are given away later."""
_CLOSE_S: Final = 2.5


class Keeper:
    """What runs on the thread. It touches the home loop by `call_soon_threadsafe` only."""

    def __init__(
        self,
        where: tuple[str, str],
        ttl: timedelta,
        node: UUID,
        home: asyncio.AbstractEventLoop,
        granted: asyncio.Future[Tenure],
        tally: Tally,
    ) -> None:
        """Take where leases are, and as whom to connect; how long one lasts; which node it is for.

        Of the home loop: what is given the tenure; and where beats and take-overs are counted.
        """
        self._where = where
        self._ttl = ttl
        self._ttl_s = ttl.total_seconds()
        self._node = node
        self._home = home
        self._granted = granted
        self._tally = tally
        self._loop = asyncio.new_event_loop()
        self._called = asyncio.Event()  # something is to be done before the next beat
        self._ending = self._leaving = False
        self._line: LeaseLine | None = None
        self._fence: Fence | None = None  # begun, and not ended by others as far as we know
        self._deaths = Deaths(self._ttl_s)
        self._held: frozenset[int] = frozenset()
        self._shown = True
        self._gives_from = 0.0
        self._outage: tuple[float, str] | None = None  # since when, and why, nothing was answered
        self._outage_told = False
        self.in_order = True
        """Whether the lease may be ended at the end; else it is left to be taken over, as from the dead."""

    def main(self) -> None:
        """Run until `end`."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._work())
        except Exception as error:  # noqa: BLE001  (a thread's error must reach the daemon)
            self._tell(self._fail, error)

    def unreachable(self) -> str | None:
        """Return why the lease cannot be renewed, if that is so for longer than it lasts (any thread)."""
        outage = self._outage
        return outage[1] if outage is not None and time.monotonic() - outage[0] > self._ttl_s else None

    def end(self) -> None:
        """End the lease, or stop waiting for it (any thread)."""
        self._ending = True
        self._call()

    def leave(self) -> None:
        """Give all shards away, and keep the lease (any thread)."""
        self._leaving = True
        self._call()

    def _call(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._called.set)
        except RuntimeError:  # it has ended already
            return

    async def _work(self) -> None:
        tenure = None
        try:
            tenure = await self._begin()
            if tenure is not None:
                await self._keep(tenure)
        finally:
            if tenure is not None:
                tenure.extend(0.0)
            if self._fence is not None and self.in_order:
                await self._end(self._fence)
            if self._line is not None:
                await self._line.close()

    async def _begin(self) -> Tenure | None:
        owner = uuid4()
        while not self._ending:
            try:
                tenure = await self._try_to_begin(owner)
            except Exception as error:  # noqa: BLE001  (what is no fault of the connection is raised)
                await self._drop_line(error)
                tenure = None
            if tenure is not None:
                self._tell(self._grant, tenure)
                return tenure
            await self._pause(self._ttl_s / _TRIES_A_LEASE)
        return None

    async def _try_to_begin(self, owner: UUID) -> Tenure | None:
        line = await self._connected()
        asked_at = time.monotonic()
        self._fence = fence = await line.begin(owner, self._node, self._ttl)
        self._answered()
        tenure = Tenure(
            fence, clean=True, trusted_until=asked_at + self._ttl_s * _TRUSTED_PART, shards=frozenset(),
            on_leaving=self.leave,
        )  # fmt: skip
        beat = await self._beat(tenure)
        if beat is None:
            return None
        if not beat.shards:
            _log.info("lease.standby", nodes=beat.nodes)
        return tenure

    async def _keep(self, tenure: Tenure) -> None:
        """Beat until we are told to end, or others have ended the lease."""
        again_s = _AT_ONCE_S
        while True:
            await self._pause(self._until_next())
            if self._ending:
                return
            try:
                if await self._beat(tenure) is None:
                    self._tell_lost()
                    self._tell(tenure.lost.set)
                    return
                again_s = _AT_ONCE_S
            except Exception as error:  # noqa: BLE001  (what is no fault of the connection is raised)
                await self._drop_line(error)
                await asyncio.sleep(again_s)
                again_s = _AGAIN_S
                self._called.set()

    def _until_next(self) -> float:
        """Return when to beat again, at the latest: soon, if somebody may be dead, or may think it of us."""
        if not self._shown:
            return _AGAIN_S / 2
        return min(self._ttl_s / _BEATS_A_LEASE, self._deaths.look_again_s())

    async def _beat(self, tenure: Tenure) -> Beat | None:
        """Renew, learn what is ours, and give away what is to be given; None: the lease was ended."""
        line = await self._connected()
        asked_at = time.monotonic()
        judges, dead = self._deaths.verdict(asked_at)
        async with asyncio.timeout(self._ttl_s):
            beat = await line.beat(tenure.fence, self._ttl, judges=judges, dead=dead)
        self._answered()
        took_s = time.monotonic() - asked_at
        self._tally.beaten(asked_at, took_s)
        if took_s > self._ttl_s / _BEATS_A_LEASE:
            _log.warning("lease.late", late_s=round(took_s, 3), ttl_s=self._ttl_s)
        if beat is None:
            self._fence = None
            return None
        tenure.extend(asked_at + self._ttl_s * _TRUSTED_PART)
        self._deaths.note(beat.silent)
        self._shown = beat.shown
        self._take(tenure, beat)
        if self._leaving:
            await self._give_all(tenure, line)
        elif beat.surplus:
            await self._give(tenure, line, beat)
        return beat

    def _take(self, tenure: Tenure, beat: Beat) -> None:
        gained, self._held = beat.shards - self._held, beat.shards
        self._tally.taken_over += len(gained & beat.suspect)
        if gained and not self._leaving:
            _log.info(
                "lease.acquired", epoch=tenure.fence.epoch, taken_over=bool(gained & beat.suspect),
                shards=shard_ranges(gained), nodes=beat.nodes,
            )  # fmt: skip
        self._tell(tenure.hold, beat.shards, beat.suspect)

    async def _give(self, tenure: Tenure, line: LeaseLine, beat: Beat) -> None:
        """Give away what others should have: what is under suspicion last."""
        if time.monotonic() < self._gives_from:
            return
        order = sorted(beat.shards, key=lambda shard: (shard not in beat.suspect, shard))
        chosen = frozenset(order[-beat.surplus :])
        if await self._at_home(tenure.let_go(chosen)):
            await self._hand_over(tenure, line, chosen)
        else:
            self._gives_from = time.monotonic() + self._ttl_s  # work in them goes on meanwhile
        self._called.set()  # to see what is ours now

    async def _give_all(self, tenure: Tenure, line: LeaseLine) -> None:
        if not tenure.handed_over.is_set() or self._held:
            await self._hand_over(tenure, line, SHARDS)
            self._tell(tenure.handed_over.set)

    async def _hand_over(self, tenure: Tenure, line: LeaseLine, shards: frozenset[int]) -> None:
        if await line.hand_over(tenure.fence, shards, leaving=self._leaving):
            _log.info("lease.released", shards=shard_ranges(shards & self._held))
            self._held -= shards

    async def _end(self, fence: Fence) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                ours = await (await self._connected()).end(fence)
            if not ours:  # a batch that was refused has told the node before a beat could
                self._tell_lost()
            elif self._held:
                _log.info("lease.released", shards=self._told())
        except Exception as error:
            if fault_of(behind(error)) is None:
                raise

    def _tell_lost(self) -> None:
        _log.warning("lease.lost", reason="another node has taken over", shards=self._told())

    def _told(self) -> str:
        return shard_ranges(self._held)

    async def _connected(self) -> LeaseLine:
        if self._line is None:
            self._line = await open_line(*self._where, self._called.set)
        return self._line

    def _answered(self) -> None:
        """An outage is over, if there was one."""
        self._outage, self._outage_told = None, False

    async def _drop_line(self, error: Exception) -> None:
        """Connect anew after a fault of the connection; anything else is raised."""
        if not passes(behind(error)):
            raise error
        self._outage = (self._outage[0] if self._outage else time.monotonic(), lost_by(behind(error)))
        if self.unreachable() and not self._outage_told:
            self._outage_told = True
            _log.warning("lease.unreachable", error=self._outage[1])
        self._deaths.judge_nobody()
        await self._close_line()

    async def _close_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _pause(self, seconds: float) -> None:
        """Sleep, or less when something is to be done."""
        await set_within(self._called, seconds)
        self._called.clear()

    async def _at_home(self, what: Coroutine[Any, Any, None]) -> bool:
        """Have the home loop do something; False when it did not do it in time."""
        try:
            doing = asyncio.run_coroutine_threadsafe(what, self._home)
        except RuntimeError:  # it has ended
            what.close()
            return False
        try:
            async with asyncio.timeout(_LET_GO_S):
                await asyncio.wrap_future(doing)
        except TimeoutError:
            return False
        return True

    def _tell(self, what: object, *args: object) -> None:
        """Have the home loop do something; a loop that has ended needs to know nothing."""
        try:
            self._home.call_soon_threadsafe(what, *args)  # type: ignore[arg-type]
        except RuntimeError:
            return

    def _grant(self, tenure: Tenure) -> None:
        if not self._granted.done():
            self._granted.set_result(tenure)

    def _fail(self, error: Exception) -> None:
        """A fault of our own: nobody renews any more."""
        _log.error("lease.lost", reason=repr(error), shards=self._told())
        if not self._granted.done():
            self._granted.set_exception(error)
        elif not self._granted.cancelled():
            self._granted.result().lost.set()


class Deaths:
    """Whose session lock has been missing for how long; and whether we are in a state to judge."""

    def __init__(self, ttl_s: float) -> None:
        """Take a lease's length."""
        self._ttl_s = ttl_s
        self._missing: dict[int, float] = {}
        self._asked_at: float | None = None
        self._judges_from = 0.0

    def verdict(self, now: float) -> tuple[bool, list[int]]:
        """Return whether leases that are over may be ended, and the epochs of who is silent for too long."""
        if self._asked_at is not None and now - self._asked_at > self._ttl_s:
            self.judge_nobody()  # we were away for so long that others may have been, too
        self._asked_at = now
        judges = now >= self._judges_from
        return judges, [
            epoch for epoch, since in self._missing.items() if judges and now - since >= TWICE_APART_S
        ]

    def note(self, silent: frozenset[int]) -> None:
        """Take who is silent now."""
        now = time.monotonic()
        self._missing = {epoch: self._missing.get(epoch, now) for epoch in silent}

    def judge_nobody(self) -> None:
        """Begin anew: for a lease's length nobody is judged."""
        self._missing.clear()
        self._judges_from = time.monotonic() + self._ttl_s

    def look_again_s(self) -> float:
        """Return after how long another look may show that somebody is dead."""
        if not self._missing or time.monotonic() < self._judges_from:
            return self._ttl_s
        return max(TWICE_APART_S - (time.monotonic() - min(self._missing.values())), _AT_ONCE_S)
