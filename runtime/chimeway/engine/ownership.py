"""Who works: one lease on all shards, held by one node; others stand by and take over.

The model
---------
A lease is a row: owner, epoch, expiry by the database's clock. An owner is a uuid made anew for each
acquisition, so that a process that lost the lease and gets it back is another owner. Every
acquisition adds one to the epoch. The holder renews every third of the lease's length.

**It is for speed, never for truth.** What a decision needs to be right is guarded by revisions
(semantics §5), whoever makes it; two nodes that both believe they hold the lease do twice the work
and write each thing once. The lease only keeps them from doing so. It cannot keep a provider from
being called twice: a process may be frozen between a commit and a socket's write for as long as it
likes. Such an attempt appears as `unknown` and is repeated under the same idempotency key.

States of a node
----------------
standby → holding → lost or released → standby, or the end.

- **standby**: tries twice in a lease's third. It gets the lease when it is free (handed over),
  expired (its owner hangs or its network is cut), or orphaned.
- **orphaned**: the owner's process is gone before its lease is. Each holder keeps a session lock on
  the connection by which it renews; PostgreSQL drops it when a killed process's socket closes. A
  lock found free twice, 300 ms apart, is a hint that the owner is dead and not merely connecting
  again; the epoch decides what happens if the hint is wrong.
- **holding**: trusts its lease from the *start* of the last renewal's round trip until a tenth
  before its length is over, on the monotonic clock, which goes on while a process is stopped. Work
  goes on when trust is gone, and only calls to providers wait: the ledger refuses a batch once
  another has taken over.
- **lost**: a renewal found another owner, or a ledger call was refused. The work is cancelled.

Failure cases
-------------
- `kill -9`: the lock is free at once; a standby takes over in about half a second.
- SIGSTOP, a stalled disk, a cut network: the lease expires; take-over after its length. The stopped
  process wakes up, its trust is gone by the monotonic clock, its next batch is refused.
- A busy event loop: renewal has a thread, a loop and a connection of its own, and cannot starve.
- PostgreSQL restarts: no renewal, no trust, no work; nobody can take over either. Afterwards the
  first renewal that finds its own owner and epoch goes on, however old the lease.
- The lock's connection breaks, the process lives: it connects again and takes the lock again; within
  300 ms nobody notices, and later a standby may take over, which is a needless change and no harm.
- The holder's own work fails: the lease is not handed over, so that the next owner treats what was at
  work as suspect; the lock is free, and tells it at once.
- A standby that holds the lock and dies: the lock is free again.
- Two standbys at once: the row lock of the update lets one win; the other sees a new expiry.
- A clock that jumps: expiry and its test are of one clock, the database's; trust is of another, the
  monotonic one, and ends before by a tenth of the lease. A database clock that jumps forward ends
  leases early: needless changes, no harm.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import uuid4

from chimeway.clock import set_within
from chimeway.log import Events
from chimeway.store.faults import behind, fault_of
from chimeway.store.ledger import Fence
from chimeway.store.nodes import LeaseLine

_log = Events()
_TWICE_APART_S: Final = 0.3
_TRIES_A_LEASE: Final = 6
_RENEWALS_A_LEASE: Final = 3
_TRUSTED_PART: Final = 0.9
_AGAIN_S: Final = 0.2
_CLOSE_S: Final = 5.0


class Tenure:
    """The time for which this node holds the lease."""

    def __init__(self, fence: Fence, *, clean: bool, trusted_until: float) -> None:
        """Take what was acquired; `clean`: the former owner handed it over."""
        self.fence = fence
        self.clean = clean
        self.lost = asyncio.Event()
        self._trusted_until = trusted_until  # one float: the renewal thread writes, others read

    def trusted(self) -> bool:
        """Say whether nobody else can hold the lease now."""
        return time.monotonic() < self._trusted_until and not self.lost.is_set()

    def extend(self, trusted_until: float) -> None:
        """Trust the lease until then (renewal thread)."""
        self._trusted_until = trusted_until


class Ownership:
    """Stands by for the lease, and renews it, on a thread of its own."""

    def __init__(self, url: str, name: str, ttl: timedelta) -> None:
        """Take where the lease is, and how long one lasts without renewal."""
        self._url = url
        self._name = name
        self._ttl = ttl
        self._ttl_s = ttl.total_seconds()

    @asynccontextmanager
    async def hold(self, standing_by: Callable[[], None] = lambda: None) -> AsyncIterator[Tenure]:
        """Wait until this node holds the lease, and hand it over at the end.

        `standing_by` is called when another holds it, so that whoever waits for a node that is well,
        working or not, knows.
        """
        home = asyncio.get_running_loop()
        granted: asyncio.Future[Tenure] = home.create_future()
        keeper = _Keeper(self._url, self._name, self._ttl, home, granted, standing_by)
        thread = threading.Thread(target=keeper.main, name="lease", daemon=True)
        thread.start()
        try:
            yield await granted
        except BaseException:
            keeper.hand_over = False  # whoever takes over must know that something went wrong
            raise
        finally:
            keeper.end()
            await asyncio.shield(asyncio.to_thread(thread.join, _CLOSE_S))


class _Keeper:
    """What runs on the thread. It touches the home loop by `call_soon_threadsafe` only."""

    def __init__(
        self,
        url: str,
        name: str,
        ttl: timedelta,
        home: asyncio.AbstractEventLoop,
        granted: asyncio.Future[Tenure],
        standing_by: Callable[[], None],
    ) -> None:
        self._url = url
        self._name = name
        self._ttl = ttl
        self._ttl_s = ttl.total_seconds()
        self._home = home
        self._granted = granted
        self._standing_by = standing_by
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._line: LeaseLine | None = None
        self._locked = False
        self.hand_over = True

    def main(self) -> None:
        """Run until `end`."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._work())
        except Exception as error:  # noqa: BLE001  (a thread's error must reach the daemon)
            self._tell(self._fail, error)

    def end(self) -> None:
        """Hand the lease over, or stop waiting for it (any thread)."""
        try:
            self._loop.call_soon_threadsafe(self._ending.set)
        except RuntimeError:  # it has ended already
            return

    async def _work(self) -> None:
        tenure = None
        try:
            tenure = await self._stand_by()
            if tenure is not None:
                await self._renew_until_lost(tenure)
        finally:
            if tenure is not None and self.hand_over and not tenure.lost.is_set():
                await self._release(tenure)
            if self._line is not None:
                await self._line.close()

    async def _stand_by(self) -> Tenure | None:
        told = False
        while not self._ending.is_set():
            try:
                tenure = await self._try()
            except Exception as error:  # noqa: BLE001  (what is no fault of the connection is raised)
                await self._drop_line(error)
                tenure = None
            if tenure is not None:
                _log.info(
                    "lease.acquired", epoch=tenure.fence.epoch, taken_over=not tenure.clean, shards="0-255"
                )
                self._tell(self._grant, tenure)
                return tenure
            if not told and self._line is not None:
                told = True
                _log.info("lease.standby")
                self._tell(self._standing_by)
            await self._pause(self._ttl_s / _TRIES_A_LEASE)
        return None

    async def _try(self) -> Tenure | None:
        """Try once to get the lease; keep the session lock when its owner seems to be dead."""
        line = await self._connected()
        orphaned = await self._orphaned_epoch(line)
        asked_at = time.monotonic()
        got = await line.acquire(uuid4(), self._ttl, orphaned=orphaned)
        if got is None:
            if self._locked:
                await self._unlock(line)
            return None
        fence, clean = got
        return Tenure(fence, clean=clean, trusted_until=asked_at + self._ttl_s * _TRUSTED_PART)

    async def _orphaned_epoch(self, line: LeaseLine) -> int | None:
        """Return the epoch of an owner that seems to be dead, or None; keep the lock if it could be had."""
        epoch = await line.owned_epoch()
        self._locked = await line.lock()
        if not self._locked or epoch is None:
            return None
        await self._unlock(line)
        await self._pause(_TWICE_APART_S)
        self._locked = await line.lock()
        return epoch if self._locked else None

    async def _unlock(self, line: LeaseLine) -> None:
        await line.unlock()
        self._locked = False

    async def _renew_until_lost(self, tenure: Tenure) -> None:
        while not self._ending.is_set():
            await self._pause(self._ttl_s / _RENEWALS_A_LEASE)
            try:
                kept = await self._renew(tenure)
            except Exception as error:  # noqa: BLE001  (what is no fault of the connection is raised)
                await self._drop_line(error)
                await self._pause(_AGAIN_S)
                continue
            if not kept:
                _log.warning("lease.lost", reason="another node has taken over", shards="0-255")
                self._tell(tenure.lost.set)
                return

    async def _renew(self, tenure: Tenure) -> bool:
        line = await self._connected()
        if not self._locked:
            self._locked = await line.lock()
        asked_at = time.monotonic()
        async with asyncio.timeout(self._ttl_s):
            kept = await line.renew(tenure.fence, self._ttl)
        took_s = time.monotonic() - asked_at
        if took_s > self._ttl_s / _RENEWALS_A_LEASE:
            _log.warning("lease.late", late_s=round(took_s, 3), ttl_s=self._ttl_s)
        if kept:
            tenure.extend(asked_at + self._ttl_s * _TRUSTED_PART)
        return kept

    async def _release(self, tenure: Tenure) -> None:
        tenure.extend(0.0)
        try:
            async with asyncio.timeout(_CLOSE_S / 2):
                await (await self._connected()).release(tenure.fence)
            _log.info("lease.released", shards="0-255")
        except Exception as error:
            if fault_of(behind(error)) is None:
                raise

    async def _connected(self) -> LeaseLine:
        if self._line is None:
            self._line = await LeaseLine.open(self._url, self._name)
            self._locked = False
        return self._line

    async def _drop_line(self, error: Exception) -> None:
        """Connect anew after a fault of the connection; anything else is raised."""
        if fault_of(behind(error)) not in {"connection", "retry"}:
            raise error
        line, self._line, self._locked = self._line, None, False
        if line is not None:
            await line.close()

    async def _pause(self, seconds: float) -> None:
        """Sleep, or less when the end comes."""
        await set_within(self._ending, seconds)

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
        _log.error("lease.lost", reason=repr(error), shards="0-255")
        if not self._granted.done():
            self._granted.set_exception(error)
        elif not self._granted.cancelled():
            self._granted.result().lost.set()
