"""Who works on what: each node has a lease and some of the 256 shards; they share fairly, and take over.

The model
---------
A **lease** is a row: owner, epoch, expiry by the database's clock. An owner is a uuid made anew for each
lease, so that a process whose lease was ended and who begins another is somebody else. A node renews its
lease every third of its length, by a **beat**: one call that also says which shards are its own.

A **shard** is a row that names an owner. It is nobody's when that lease has ended. All that concerns one
recipient lies in one shard, and only its owner looks for work there.

**A node lives or dies whole.** To take over means to end its lease (to delete the row) and to deal its
shards out, in one transaction. From then on each batch that the ledger gets under that lease is refused.
Between nodes that live a shard goes from hand to hand by its owner's own act alone: it stops feeding it,
lets what is being decided come to its end, and then gives it away. So no shard needs a fence of its own.

**It is for speed, never for truth.** What a decision needs to be right is guarded by revisions (semantics
§5), whoever makes it; two nodes that both believe they have a shard do twice the work and write each
thing once. Leases only keep them from doing so. They cannot keep a provider from being called twice: a
process may be frozen between a commit and a socket's write for as long as it likes. Such an attempt
appears as `unknown` and is repeated under the same idempotency key.

What is fair
------------
With n nodes each has 256 div n shards, and 256 mod n of them one more. A beat says how many a node has
too many; it gives those to whoever has fewest. Who has most keeps the one more, so nothing moves that
need not, and nothing moves back. What is nobody's is dealt by whoever beats first, one by one to whoever
has fewest. With more than 256 nodes some have none, and stand by.

States of a node
----------------
beginning → sharing → (draining) → the end; or sharing → ended by others → beginning, as somebody else.

- **sharing**: has some shards, or none yet. It trusts its lease from the *start* of the last beat's round
  trip until a tenth before its length is over, on the monotonic clock, which goes on while a process is
  stopped. Work goes on when trust is gone, and only calls to providers wait.
- **draining**: it was asked to end. First of all it gives all its shards away; the gap in which nobody
  looks for work there is what its decisions need to come to rest, and one call. Calls to providers that
  are under way are let end, and recorded, while the lease is still renewed: nobody takes them for
  abandoned. Then the lease ends. Who drains is given nothing any more.
- **ended by others**: a beat found no lease, or a ledger call was refused. The work is cancelled.

How a death is noticed
----------------------
- **Expiry**: nobody renewed. Any beat ends such leases.
- **Silence**: while it lives each node holds a session lock on the connection by which it beats, and
  PostgreSQL drops it when a killed process's socket closes. Each beat looks whose lock is missing; one
  that is missing twice, 300 ms apart, is dead, and its lease is ended though it had not expired. It is a
  hint: who only lost his connection and is slow to connect again is ended needlessly, begins anew, and no
  harm is done.
- **Nobody is judged after an outage.** When the server restarts, or another becomes primary, all locks
  are gone, and perhaps all leases have run out. The first to come back must not bury all others. So a
  node judges nobody for one lease's length after its own connection broke, or its own beat was late, and
  a server that started less than a lease's length ago judges for nobody.

Failure cases
-------------
- `kill -9`: the lock is free at once; the next beat of anybody sees it, the one 300 ms later deals the
  shards out, and all are told by NOTIFY. On average after two thirds of a second; a lost NOTIFY costs a
  beat.
- SIGSTOP, a stalled disk, a cut network: the lease expires, and is ended by the next beat of anybody. The
  stopped process wakes up, its trust is gone by the monotonic clock, its next batch is refused.
- A busy event loop: beats have a thread, a loop and a connection of their own, and cannot starve. Shards
  are not given away until the busy loop has let go of them.
- PostgreSQL restarts: no beat, no trust, no work; nobody can take over either. Afterwards each node's
  first beat finds its lease, however old, and goes on: no shard changes hands.
- The node's own work fails: its lease is not ended by itself, so that whoever takes over treats what was
  at work as suspect; the lock is free, and tells it at once.
- It dies with shards that it had taken from another dead one and not looked through: they were suspect,
  and are.
- It dies between letting go of a shard and giving it away: the shard is its own by the rows, and is taken
  over.
- Two take over from a third at once: whoever gives or takes shards holds one lock until he commits; the
  second finds nothing left to do. Who is just renewing has his own row locked, and is passed over: he
  lives.
- Shards are given to a node that has just died, or drains: they are its own until somebody ends its
  lease; or it hands them on.
- Two join at once, one joins and leaves at once: each beat computes what is fair anew, from who is there.
- All leave at once: the last gives to nobody; whoever comes next finds free shards, as clean as they were.
- A clock that jumps: expiry and its test are of one clock, the database's; trust is of another, the
  monotonic one, and ends before by a tenth of the lease. A database clock that jumps forward ends leases
  early: needless changes, no harm. One that is set back makes leases longer: one with more than twice its
  length to go is cut to its length by whoever beats next, so that who was frozen at that very moment has no
  shards for longer. And a server whose clock stands before its own start is none that has just started.
- A machine that sleeps (its monotonic clock stands still meanwhile): its nodes wake up and trust leases that
  others have ended. What they begin is refused, and they learn it with their next beat.
- A node whose pool finds no server, while the connection of its lease does (a pooler of its own is down),
  lives and keeps its shards; so does one whose event loop hangs for good. `/readyz` says it, or says
  nothing, and whoever watches that restarts it.
- A pooler in front of the lease's connection: a session is anybody's there, so no lock is held and
  nothing heard: deaths are noticed by expiry alone, and changes at the next beat.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from chimeway.engine.keeper import Keeper
from chimeway.engine.tenure import Tenure
from chimeway.tally import Tally

__all__ = ["Ownership", "Tenure"]

_CLOSE_S: Final = 5.0


class Ownership:
    """Keeps a lease, and learns which shards are this node's, on a thread of its own."""

    def __init__(self, url: str, name: str, ttl: timedelta, node: UUID, tally: Tally | None = None) -> None:
        """Take where leases are, how long one lasts without renewal, and which node it is for."""
        self._tally = Tally() if tally is None else tally
        self._url = url
        self._name = name
        self._ttl = ttl
        self._node = node
        self._keeper: Keeper | None = None

    def unreachable(self) -> str | None:
        """Return why no lease can be had or renewed, if nothing was answered for longer than one lasts."""
        return None if self._keeper is None else self._keeper.unreachable()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Tenure]:
        """Begin a lease, and end it at the end."""
        home = asyncio.get_running_loop()
        granted: asyncio.Future[Tenure] = home.create_future()
        self._keeper = keeper = Keeper(
            (self._url, self._name), self._ttl, self._node, home, granted, self._tally
        )
        thread = threading.Thread(target=keeper.main, name="lease", daemon=True)
        thread.start()
        try:
            tenure = await granted  # who is told to end here has begun nothing
            try:
                yield tenure
            except BaseException:
                keeper.in_order = False  # whoever takes over must know that something went wrong
                raise
        finally:
            keeper.end()
            await asyncio.shield(asyncio.to_thread(thread.join, _CLOSE_S))
