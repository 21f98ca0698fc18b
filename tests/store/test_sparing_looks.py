"""Looks that begin behind what was dealt with find what is due; looks at all, what came late."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from chimeway.store import mailbox
from chimeway.store.due import Pages
from chimeway.store.ids import every_shard
from chimeway.store.pool import Database
from kit.slow_clock import SlowClock
from store.door import Door, opened

_DUE = "update chimeway.workflow_runs set wake_at = $2 where id = $1"
_MORE = "select chimeway.trigger('escalation', recipient_id => $1, data => '{\"document\": 7}')"


class Sight:
    """Looks for due runs, and has found that costly; nothing is dealt with but what a test deals with."""

    def __init__(self, world: Door, now: datetime, clock: SlowClock) -> None:
        """Look at a database at an instant."""
        self._world, self._now, self._clock = world, now, clock
        self._whole_s = 1.0
        self.shards = set(every_shard())
        self._pages = Pages(world.database, "run", lambda: sorted(self.shards), 16, clock)

    async def run(self, recipient: str, due_s: float) -> UUID:
        """Start a run that is due since so many seconds."""
        run_id: UUID = await self._world.sql(_MORE, recipient)
        await self.move(run_id, due_s)
        return run_id

    async def move(self, run_id: UUID, due_s: float | None) -> None:
        """Have a run be due since so many seconds, or never."""
        at = None if due_s is None else self._now - timedelta(seconds=due_s)
        await self._world.sql(_DUE, run_id, at)

    async def look(self) -> list[UUID]:
        """Look, and return what is found."""
        self._pages.restart()
        self._clock.each, self._whole_s = self._whole_s, 0.01
        found = []
        while not self._pages.ended:
            found += [due.id for due in await self._pages.next(self._now)]
        return found

    def wait(self) -> None:
        """Let so much time go by that all may be looked at again."""
        self._clock.seconds += 60.0
        self._whole_s = 1.0


@pytest.fixture
async def sight(clock_database: Database) -> Sight:
    """A sight of a database in which looking at all was costly three times."""
    world = await opened(clock_database)
    sight = Sight(world, await world.sql("select chimeway.clock()"), SlowClock())
    for _ in range(3):
        sight.wait()
        assert await sight.look() == []
    return sight


async def test_what_is_due_is_found(sight: Sight) -> None:
    """What fell due of late is found by a look that is not one at all, and so is what was found before."""
    old = await sight.run("ada", 60)
    new = await sight.run("ada", 1)
    assert await sight.look() == [new], "behind the mark is what came late"
    sight.wait()
    assert await sight.look() == [old, new]
    newer = await sight.run("ada", 0)
    for _ in range(2):
        assert await sight.look() == [old, new, newer], "what is not dealt with is behind no mark"
    await sight.move(old, None)
    assert await sight.look() == [new, newer]
    await sight.move(old, 60)
    assert await sight.look() == [new, newer], "a run that comes back with its time is behind the mark"
    sight.wait()
    assert await sight.look() == [old, new, newer]


async def test_shards_that_come_are_looked_through(sight: Sight) -> None:
    """What has long been due in a shard that is another's is found once it is ours."""
    old = await sight.run("ada", 60)
    assert await sight.look() == []
    mine, sight.shards = sight.shards, set()
    assert await sight.look() == []
    sight.shards = mine
    assert await sight.look() == [old]


async def test_signals_are_heard_behind_a_number(clock_database: Database) -> None:
    """Behind a number only what came later is heard, and the highest is told."""
    world = await opened(clock_database)
    await world.start("ada")
    first, second = await world.say("ada", "read"), await world.say("ada", "read")
    heard = await mailbox.heed(clock_database, ())
    assert set(heard.signals) == {first, second}
    behind = await mailbox.heed(clock_database, (), after=heard.last - 1)
    assert (set(behind.signals), behind.last, behind.runs) == ({second}, heard.last, heard.runs)
    assert await mailbox.heed(clock_database, (), after=heard.last) == mailbox.Heard({}, [], set())
