"""After a node died: whatever was at work in it is under suspicion, and must not kill its successor.

A decision that takes the whole process down (a recursion in a library, memory) leaves no error, only a
dead node; the successor would load the same run and die of it as well, and so on, with everybody else's
journeys. So who takes shards over from the dead begins with what can have been at work in them, the
first overdue runs of each tenant and the oldest of all, in small groups: a durable strike on each
before, its removal after. A run that stands with a strike from a former death is evaluated alone,
before all others. The third strike holds it. So a deadly run costs three deaths and holds nobody but
itself: the first marks its group, in the second and the third it stands alone.

Strikes say nothing about time: a run may well be evaluated without one by its owner, later.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from chimeway.clock import Clock
from chimeway.limits import STRIKES, SUSPECTS, SUSPECTS_AT_ONCE
from chimeway.log import Events
from chimeway.store import runs
from chimeway.store.ids import SHARDS
from chimeway.store.pool import Database, persistently
from chimeway.store.turns import Kind, Turns

_log = Events()
_CLEAR_S: Final = 2.0
_NOTE: Final = "the node that evaluated this run died, three times"


async def recover(
    database: Database,
    clock: Clock,
    settle: Callable[[UUID], Coroutine[Any, Any, None]],
    shards: Collection[int] = SHARDS,
) -> int:
    """Evaluate what may have killed the former owner of some shards; return how many runs that were.

    `settle` has a run evaluated and waits until it rests. What somebody else has locked is passed over:
    it gets no strike, and waits for its turn like any other.
    """
    alone = await _former_suspects(database, settle, shards)
    overdue = await _overdue(database, clock, shards)
    for first in range(0, len(overdue), SUSPECTS_AT_ONCE):
        await _try(database, overdue[first : first + SUSPECTS_AT_ONCE], settle)
    return alone + len(overdue)


async def _overdue(database: Database, clock: Clock, shards: Collection[int]) -> list[UUID]:
    """Return what was next, by either way to look: tenant by tenant, and in due order."""
    kinds: tuple[Kind, ...] = ("new run", "run")
    found: dict[UUID, None] = {}
    for kind in kinds:
        turns = Turns(database, kind, tuple, lambda: shards)
        while len(found) < SUSPECTS:
            found |= {due.id: None for due in await persistently(turns.next, clock.now())}
            if turns.been_round:
                break
    in_turn = list(found)[:SUSPECTS]
    oldest = await persistently(runs.oldest_due, database, clock.now(), SUSPECTS, shards)
    return list(dict.fromkeys([*in_turn, *oldest]))


async def _former_suspects(
    database: Database, settle: Callable[[UUID], Coroutine[Any, Any, None]], shards: Collection[int]
) -> int:
    suspects = await persistently(runs.struck, database, SUSPECTS, shards)
    for run_id, strikes in suspects:
        if strikes >= STRIKES:
            _log.error("run.held", run_id=str(run_id), reason="three_strikes")
            await _hold(database, run_id)
        else:
            _log.warning("run.struck", run_id=str(run_id), strikes=strikes)
            await _try(database, [run_id], settle)
    return len(suspects)


async def _hold(database: Database, run_id: UUID) -> None:
    await persistently(runs.hold, database, run_id, "three_strikes", _NOTE, patient=False)


async def _try(
    database: Database, ids: Sequence[UUID], settle: Callable[[UUID], Coroutine[Any, Any, None]]
) -> None:
    """Strike, evaluate, take the strikes away: also when we are told to end, for nobody has died of it."""
    try:
        await persistently(runs.strike, database, ids)
        async with asyncio.TaskGroup() as group:
            for run_id in ids:
                group.create_task(settle(run_id), name=f"suspect-{run_id}")
    except asyncio.CancelledError:
        with suppress(TimeoutError):  # the end must not become a failure because the database is away
            async with asyncio.timeout(_CLEAR_S):
                await persistently(runs.clear_strikes, database, ids)
        raise
    await persistently(runs.clear_strikes, database, ids)
