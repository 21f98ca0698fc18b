"""After a node died: whatever was at work in it is under suspicion, and must not kill its successor.

A decision that takes the whole process down (a recursion in a library, memory) leaves no error, only a
dead node; the successor would load the same run and die of it as well, and so on, with everybody else's
journeys. So who takes shards over from the dead begins with what can have been at work in them, the
first overdue runs of each tenant and the oldest of all, in small groups: a durable strike on each
before, its removal after. A run that stands with a strike from a former death is evaluated alone,
before all others. The third strike holds it. So a deadly run costs three deaths and holds nobody but
itself: the first marks its group, in the second and the third it stands alone.

While some are tried alone nothing else of these shards is evaluated, but not for longer than a second;
and everybody else goes on while the groups are tried: only suspects stand aside until their turn. Else a
node that takes over again and again would do nothing but look for whom to blame.

Nodes die of other things, too, and may do so again and again just while they recover (somebody restarts
them in vain, a machine has no memory left): each death strikes an innocent who is being tried. So a run
that one more strike would hold is tried last, some seconds later: a node that lives shorter than that
holds nobody, and a deadly run dies of its third strike all the same.

Strikes say nothing about time: a run may well be evaluated without one by its owner, later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from chimeway.clock import Clock
from chimeway.limits import STRIKES, SUSPECTS, SUSPECTS_AT_ONCE
from chimeway.log import Events
from chimeway.store import runs
from chimeway.store.faults import fault_of
from chimeway.store.ids import SHARDS
from chimeway.store.pool import Database, persistently, unless_broken
from chimeway.store.text import fault_note
from chimeway.store.turns import Kind, Turns

Settle: TypeAlias = Callable[[UUID], Coroutine[Any, Any, None]]
Release: TypeAlias = Callable[[Sequence[UUID]], Sequence[UUID]]
_log = Events()
_CLEAR_S: Final = 2.0
_NOTE: Final = "the node that evaluated this run died, three times"


@dataclass(frozen=True, slots=True)
class Suspects:
    """What may have killed the former owner of some shards: nobody evaluates them but `try_out`."""

    former: Sequence[tuple[UUID, int]]
    """Those that stand with strikes from a former death, and how many."""
    overdue: Sequence[UUID]

    def ids(self) -> set[UUID]:
        """Return all of them."""
        return {*(run_id for run_id, _ in self.former), *self.overdue}


async def find_suspects(database: Database, clock: Clock, shards: Collection[int] = SHARDS) -> Suspects:
    """Return what can have been at work in these shards when their owner died. All else may go on."""
    former = await persistently(runs.struck, database, SUSPECTS, shards)
    known = {run_id for run_id, _ in former}
    overdue = await _overdue(database, clock, shards)
    return Suspects(former, [run_id for run_id in overdue if run_id not in known])


async def try_out(
    database: Database,
    suspects: Suspects,
    settle: Settle,
    release: Release = list,
    tried_alone: Callable[[], None] = lambda: None,
    rest_s: float = 0.0,
) -> int:
    """Evaluate suspects; return how many runs that were.

    `settle` has a run evaluated and waits until it rests. `release` is told of those that are next, each
    once, and returns which of them are still ours. What somebody else has locked is passed over: it gets no
    strike, and waits for its turn like any other. `tried_alone` is called when former suspects are done,
    but for those that one more strike would hold: these are tried at the very end, `rest_s` later.
    """
    for run_id, strikes in suspects.former:
        if strikes >= STRIKES:
            if await _each(_hold, database, [run_id]):
                _log.error("run.held", run_id=str(run_id), reason="three_strikes")
                release([run_id])
        elif strikes < STRIKES - 1:
            await _try_alone(database, run_id, strikes, settle, release)
    tried_alone()
    for first in range(0, len(suspects.overdue), SUSPECTS_AT_ONCE):
        await _try(database, release(suspects.overdue[first : first + SUSPECTS_AT_ONCE]), settle)
    last = [(run_id, strikes) for run_id, strikes in suspects.former if strikes == STRIKES - 1]
    if last:
        await asyncio.sleep(rest_s)
    for run_id, strikes in last:
        await _try_alone(database, run_id, strikes, settle, release)
    return len(suspects.former) + len(suspects.overdue)


async def _try_alone(
    database: Database, run_id: UUID, strikes: int, settle: Settle, release: Release
) -> None:
    _log.warning("run.struck", run_id=str(run_id), strikes=strikes)
    await _try(database, release([run_id]), settle)


async def _overdue(database: Database, clock: Clock, shards: Collection[int]) -> list[UUID]:
    """Return what was next, by either way to look: in due order, and tenant by tenant.

    Where little is due the first look has shown all of it. Only in a backlog tenants are gone through: that
    takes a while where there are very many, whether anything of theirs is due or not.
    """
    oldest = await persistently(runs.oldest_due, database, clock.now(), SUSPECTS, shards)
    if len(oldest) < SUSPECTS:
        return list(oldest)
    kinds: tuple[Kind, ...] = ("new run", "run")
    found: dict[UUID, None] = {}
    for kind in kinds:
        turns = Turns(database, kind, tuple, lambda: shards)
        while len(found) < SUSPECTS:
            found |= {due.id: None for due in await persistently(turns.next, clock.now())}
            if turns.been_round:
                break
    in_turn = list(found)[:SUSPECTS]
    return list(dict.fromkeys([*in_turn, *oldest]))


async def _hold(database: Database, ids: Sequence[UUID]) -> None:
    for run_id in ids:
        await runs.hold(database, run_id, "three_strikes", _NOTE)


async def _try(database: Database, ids: Sequence[UUID], settle: Settle) -> None:
    """Strike, evaluate, take the strikes away: also when we are told to end, for nobody has died of it."""
    if not ids:
        return
    try:
        struck = await _each(runs.strike, database, ids)
        async with asyncio.TaskGroup() as group:
            for run_id in struck:
                group.create_task(settle(run_id), name=f"suspect-{run_id}")
    except asyncio.CancelledError:
        with suppress(TimeoutError):  # the end must not become a failure because the database is away
            async with asyncio.timeout(_CLEAR_S):
                await _each(runs.clear_strikes, database, ids)
        raise
    await _each(runs.clear_strikes, database, ids)


async def _each(
    verb: Callable[[Database, Sequence[UUID]], Awaitable[None]], database: Database, ids: Sequence[UUID]
) -> list[UUID]:
    """Do it to all at once; where that fails for what one row holds, to each alone. Return those done.

    Nobody is kept waiting by a run whose row cannot be written: it is left to its owner, without a strike.
    """
    try:
        await unless_broken(verb, database, ids)
    except Exception as error:
        if fault_of(error) not in {"bad", "broken"}:
            raise
        if len(ids) == 1:
            _log.error("run.put_off", run_id=str(ids[0]), error=fault_note(error))
            return []
        return [done for run_id in ids for done in await _each(verb, database, [run_id])]
    return list(ids)
