"""What a node works on while shards come and go: what is on its way, what it inherits, what it borrows."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from chimeway.daemon.feed import Feed
from chimeway.daemon.machine import work
from chimeway.engine.ownership import Tenure
from chimeway.store.ids import SHARDS
from chimeway.store.ledger import Fence
from chimeway.store.pool import Database, open_database
from kit.home import workflow
from kit.machine import START, Provider, install, node_on
from kit.rows import Rows, rows_of
from kit.waiting import Gate, wait_for

JOURNEY = "mention_escalation"
NOBODY: frozenset[int] = frozenset()


def _push(step: str, channel: str = "push") -> Mapping[str, Any]:
    return {"id": step, "action": {"type": "notify", "channel": channel, "render_key": "mention"}}


async def _lease(rows: Rows, shards: frozenset[int]) -> Tenure:
    """Begin a lease that nobody renews, and have it own these shards."""
    owner = uuid4()
    sql = "select chimeway.begin_lease($1, $2, $3, false)"
    epoch = await rows.value(sql, owner, uuid4(), timedelta(minutes=10))
    await _own(rows, owner, shards)
    return Tenure(Fence(owner, epoch), clean=True, trusted_until=float("inf"), shards=shards)


async def _own(rows: Rows, owner: UUID, shards: frozenset[int]) -> None:
    sql = "update chimeway.shard_owners set owner = $1 where shard = any($2::smallint[])"
    await rows.all(sql, owner, sorted(shards))


@asynccontextmanager
async def working(database: Database, tenure: Tenure, *channels: Provider) -> AsyncIterator[None]:
    """Have a node work while the block lasts."""
    async with open_database(database.url, size=12) as own:
        node, ready = await node_on(own, *channels), asyncio.Event()
        task = asyncio.ensure_future(work(node, tenure, asyncio.Event(), ready.set))
        try:
            await asyncio.wait_for(ready.wait(), 10)
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_call_under_way_is_its_callers_and_the_run_the_new_owners(
    database_url: str, database: Database
) -> None:
    """A message held by its provider while its shard goes is sent once; the new owner goes on from there."""
    await install(database, workflow(_push("first", "push"), _push("second", "sms")))
    gate, other = Gate(), Provider("push")
    calls, texts = Provider("push", gate), (Provider("sms"), Provider("sms"))
    async with rows_of(database_url) as rows:
        giver, taker = await _lease(rows, SHARDS), await _lease(rows, NOBODY)
        async with working(database, giver, calls, texts[0]), working(database, taker, other, texts[1]):
            run_id = await rows.value(START, JOURNEY, "ada", "default")
            await asyncio.wait_for(gate.reached.wait(), 10)
            await giver.let_go(SHARDS)
            await _own(rows, taker.fence.owner, SHARDS)
            taker.hold(SHARDS, NOBODY)
            seen = "select count(*) from chimeway.delivery_attempts"
            await wait_for(lambda: rows.value(f"select ({seen}) = 1"), "it is still one attempt")
            gate.release()
            await rows.until(run_id, "completed")
        assert [row["outcome"] for row in await rows.attempts(run_id)] == ["succeeded", "succeeded"]
        assert (len(calls.messages), len(other.messages)) == (1, 0)
        assert [len(one.messages) for one in texts] == [0, 1], "the step after it is the new owner's"


async def test_what_the_owner_lacks_another_does(database_url: str, database: Database) -> None:
    """A message for a channel that its shard's owner has not is sent by a node that has it, and no shard."""
    await install(database, workflow(_push("only", "sms")))
    texts = Provider("sms")
    async with rows_of(database_url) as rows:
        owner, helper = await _lease(rows, SHARDS), await _lease(rows, NOBODY)
        async with working(database, helper, texts), working(database, owner, Provider("push")):
            run_id = await rows.value(START, JOURNEY, "ada", "default")
            await rows.until(run_id, "completed")
        assert len(texts.messages) == 1


async def test_suspects_stand_aside_and_others_do_not() -> None:
    """Until they are released runs under suspicion are not ours to work on, nor is what is lost by then."""
    ours, lost, free = (UUID(int=shard) for shard in (1, 2, 3))
    feed = Feed(tenure := Tenure(Fence(uuid4(), 1), clean=False, trusted_until=float("inf")))
    assert feed.shards() == NOBODY, "nobody knows yet who is suspect"
    tenure.absolve(SHARDS)
    feed.set_aside({ours, lost})
    assert (feed.shards(), feed.ours(ours), feed.ours(free)) == (SHARDS, False, True)
    tenure.hold(SHARDS - {2}, NOBODY)
    assert feed.release([ours, lost]) == [ours]


async def test_what_is_borrowed_is_ours_and_does_not_pile_up() -> None:
    """Of the many things borrowed the oldest go: they stand in their rows, and are found again."""
    feed = Feed(Tenure(Fence(uuid4(), 1), clean=True, trusted_until=float("inf"), shards=NOBODY))
    ids = [UUID(int=number) for number in range(3_000)]
    for one in ids:
        feed.borrow(one)
    assert feed.ours(ids[-1])
    assert not feed.ours(ids[0])
