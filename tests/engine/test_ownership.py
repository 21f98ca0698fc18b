"""Leases: begun, shared, handed over, taken over, doubted and ended by others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from chimeway.engine.ownership import Ownership, Tenure
from chimeway.store.ids import SHARDS
from kit.proxy import proxy_to
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

TTL = timedelta(seconds=2)
"""Longer than a loaded machine may let nothing run: who is late with his beats loses what he has."""
LEASE = "select l.*, l.expires_at > clock_timestamp() as valid from chimeway.leases l where l.owner = $1"
BEGIN = "select chimeway.begin_lease($1, $2, $3, $4)"
LOCKED_BY = """
select k.pid from pg_locks k join pg_database d on d.oid = k.database
 where d.datname = current_database() and k.locktype = 'advisory' and k.classid = 206420 and k.granted
   and k.objid = $1::bigint::int"""
RENEWED = "select l.expires_at > l.taken_at + 2 * $2::interval from chimeway.leases l where l.owner = $1"
STANDING = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name like 'candidate%'"""


class Candidate:
    """A node that begins a lease, keeps it, and lets it go when told."""

    def __init__(self, url: str, name: str, ttl: timedelta = TTL) -> None:
        """Take where leases are."""
        self._ownership = Ownership(url, name, ttl, uuid4())
        self._leave = asyncio.Event()
        self.tenure: Tenure | None = None
        self.task = asyncio.ensure_future(self._stand())

    async def _stand(self) -> None:
        async with self._ownership.hold() as tenure:
            self.tenure = tenure
            await self._leave.wait()

    async def granted(self) -> Tenure:
        """Wait until it has a lease."""
        await wait_for(lambda: self.tenure is not None or self.task.done(), "the lease")
        assert self.tenure is not None, self.task
        return self.tenure

    async def has(self, many: int) -> Tenure:
        """Wait until it has so many shards."""
        tenure = await self.granted()
        await wait_for(lambda: len(tenure.shards) == many, f"{many} shards")
        return tenure

    async def leave(self) -> None:
        """End in order."""
        self._leave.set()
        await self.task

    async def end(self) -> None:
        """Fail: stand no more, and hand nothing over."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def candidates(*urls: str, ttl: timedelta = TTL) -> AsyncIterator[list[Candidate]]:
    """Let them stand while the block lasts."""
    standing = [Candidate(url, f"candidate {number}", ttl) for number, url in enumerate(urls)]
    try:
        yield standing
    finally:
        for one in standing:
            await one.end()


async def _lease(rows: Rows, tenure: Tenure) -> dict[str, object] | None:
    found = await rows.all(LEASE, tenure.fence.owner)
    return dict(found[0]) if found else None


async def _somebody(rows: Rows, ttl: timedelta, *, shown: bool = False) -> UUID:
    """Have all shards belong to a lease that nobody renews; the test's own session shows its life."""
    owner = uuid4()
    await rows.value(BEGIN, owner, uuid4(), ttl, shown)
    await rows.value("update chimeway.shard_owners set owner = $1 returning 1", owner)
    return owner


async def test_who_is_alone_has_all(database_url: str) -> None:
    """The first has every shard at once; when it ends in order they are nobody's, and the next's as clean."""
    async with rows_of(database_url) as rows:
        for epoch in (1, 2):
            async with candidates(database_url) as (one,):
                tenure = await one.granted()
                assert (tenure.shards, tenure.suspect, tenure.trusted()) == (SHARDS, frozenset(), True)
                assert tenure.fence.epoch == epoch
                await one.leave()
                assert not tenure.trusted()
            assert await rows.value("select count(*) from chimeway.leases") == 0
            sql = "select bool_and(owner is null and clean) from chimeway.shard_owners"
            assert await rows.value(sql)


async def test_a_newcomer_gets_its_share(database_url: str) -> None:
    """Who has too many lets go of them before they are another's; whoever leaves gives all to who stays."""
    with capture_logs() as logs:
        async with candidates(database_url) as (first,):
            one = await first.has(256)
            asked: list[frozenset[int]] = []

            async def settle(shards: frozenset[int]) -> None:
                assert not shards & one.shards, "no longer looked through"
                asked.append(shards)

            one.settle = settle
            async with candidates(database_url) as (second,):
                two = await second.has(128)
                await first.has(128)
                assert one.shards | two.shards == SHARDS
                assert asked == [two.shards]
                assert one.clean
                assert two.clean
                await second.leave()
            await first.has(256)
            assert one.clean
    told = [(line["event"], line.get("shards")) for line in logs if line["event"] != "lease.standby"]
    assert told.count(("lease.released", "128-255")) == 2
    assert ("lease.acquired", "0-255") in told


async def test_a_leaving_node_keeps_its_lease_and_no_shard(database_url: str) -> None:
    """Asked to leave it hands all over first; its lease goes on, is trusted, and ends when its work has."""
    async with rows_of(database_url) as rows, candidates(database_url, database_url) as (first, second):
        one, two = await first.has(128), await second.has(128)
        await asyncio.wait_for(one.leave(), 10)
        assert (one.shards, one.handed_over.is_set()) == (frozenset(), True)
        await second.has(256)
        assert two.clean
        await wait_for(lambda: rows.value(RENEWED, one.fence.owner, TTL), "it is renewed")
        assert one.trusted()
        lease = await _lease(rows, one)
        assert lease is not None
        assert lease["draining"]
        await first.leave()
        assert await _lease(rows, one) is None
        await second.has(256)


async def test_a_lease_is_kept_while_it_is_renewed(database_url: str) -> None:
    """After more than its length the lease is still valid and trusted, and nothing has moved."""
    async with rows_of(database_url) as rows, candidates(database_url, database_url) as (first, second):
        one, two = await first.has(128), await second.has(128)
        shards = one.shards
        await wait_for(lambda: rows.value(RENEWED, one.fence.owner, TTL), "renewals")
        assert one.trusted()
        assert (one.shards, one.shards | two.shards) == (shards, SHARDS)


async def test_an_expired_lease_is_taken_over(database_url: str) -> None:
    """While its owner lives and renews nothing, a lease is waited for until it expires, and no longer."""
    async with rows_of(database_url) as rows:
        owner = await _somebody(rows, timedelta(seconds=1.5), shown=True)
        valid = "select expires_at > clock_timestamp() from chimeway.leases where owner = $1"
        async with candidates(database_url) as (standby,):
            tenure = await standby.granted()
            while await rows.value(valid, owner):
                before = len(tenure.shards)
                await asyncio.sleep(0.02)
            assert before == 0
            await standby.has(256)
            assert tenure.suspect == SHARDS


async def test_an_orphaned_lease_is_taken_over_at_once(database_url: str) -> None:
    """A lease with an hour to go whose owner's socket is closed needs not expire."""
    async with rows_of(database_url) as dying:
        await _somebody(dying, timedelta(hours=1), shown=True)
    async with candidates(database_url) as (standby,):
        tenure = await standby.has(256)
        assert tenure.suspect == SHARDS


async def test_who_shows_nothing_is_no_orphan(database_url: str) -> None:
    """Behind a pooler no lock can be held: such a lease is waited for, as long as it lasts."""
    async with rows_of(database_url) as rows:
        owner = await _somebody(rows, timedelta(hours=1))
        async with candidates(database_url) as (standby,):
            tenure = await standby.granted()
            await wait_for(lambda: rows.value(RENEWED, tenure.fence.owner, TTL), "many beats")
            assert tenure.shards == frozenset()
            await rows.value(
                "update chimeway.leases set expires_at = now() where owner = $1 returning 1", owner
            )
            await standby.has(256)


async def test_a_failure_hands_nothing_over(database_url: str) -> None:
    """A node whose own work fails leaves its lease to be taken over at once, as from the dead."""
    async with rows_of(database_url) as rows, candidates(database_url) as (first,):
        one = await first.has(256)
        await first.end()
        assert await _lease(rows, one) is not None
        async with candidates(database_url) as (second,):
            assert (await second.has(256)).suspect == SHARDS


async def test_trust_ends_before_the_lease(database_url: str) -> None:
    """When a beat is not answered trust ends while nobody else can end the lease, and comes back."""
    async with (
        rows_of(database_url) as rows,
        proxy_to(database_url) as proxy,
        candidates(proxy.url) as (holder,),
    ):
        tenure = await holder.has(256)
        gate = proxy.hold_request("chimeway.beat")
        await asyncio.wait_for(gate.reached.wait(), 10)
        await wait_for(lambda: not tenure.trusted(), "trust has ended", every_s=0.005)
        lease = await _lease(rows, tenure)
        assert lease is not None
        assert lease["valid"]
        assert not tenure.lost.is_set()
        gate.release()
        await wait_for(tenure.trusted, "the beat went through")
        assert tenure.shards == SHARDS


async def test_a_broken_line_is_replaced(database_url: str) -> None:
    """A node whose connection is cut connects again, takes its lock again, and keeps its lease and shards."""
    async with rows_of(database_url) as rows, candidates(database_url, database_url) as (first, second):
        one, two = await first.has(128), await second.has(128)
        shards = one.shards
        before = await rows.value(LOCKED_BY, one.fence.epoch)
        assert await rows.value("select pg_terminate_backend($1)", before)

        async def again() -> bool:
            return await rows.value(LOCKED_BY, one.fence.epoch) not in {None, before}

        await wait_for(again, "the lock is taken again", every_s=0.005)
        await wait_for(lambda: rows.value(RENEWED, two.fence.owner, TTL), "the other has looked")
        assert (one.shards, one.lost.is_set(), one.trusted()) == (shards, False, True)


async def test_an_outage_of_all_lines_moves_nothing(database_url: str) -> None:
    """When all connections break for longer than a lease, whoever comes back first ends no other's lease."""
    async with rows_of(database_url) as rows, AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(proxy_to(database_url)) for _ in range(3)]
        standing = await stack.enter_async_context(candidates(*(proxy.url for proxy in proxies)))
        tenures = [await one.granted() for one in standing]
        await wait_for(
            lambda: sorted(len(one.shards) for one in tenures) == [85, 85, 86], "they share", deadline_s=10
        )
        before = [one.shards for one in tenures]
        gates = [proxy.hold_request("chimeway.beat") for proxy in proxies]
        for gate in gates:
            await asyncio.wait_for(gate.reached.wait(), 10)
        expired = "select bool_and(expires_at < clock_timestamp()) from chimeway.leases"
        await wait_for(lambda: rows.value(expired), "all leases have run out")
        for gate in gates:
            gate.discard()  # the connection with it
            await asyncio.sleep(0.1)
        await wait_for(lambda: all(one.trusted() for one in tenures), "all are back")
        renewed = "select bool_and(expires_at > clock_timestamp() + $1::interval / 2) from chimeway.leases"
        await wait_for(lambda: rows.value(renewed, TTL), "all are well")
        assert [one.shards for one in tenures] == before
        assert not any(one.lost.is_set() for one in tenures)


async def test_who_was_ended_is_told(database_url: str) -> None:
    """The beat that finds no lease tells so; nothing is trusted any more, nothing handed over."""
    async with rows_of(database_url) as rows, candidates(database_url) as (holder,):
        tenure = await holder.has(256)
        await rows.value("delete from chimeway.leases returning 1")
        await asyncio.wait_for(tenure.lost.wait(), 10)
        assert not tenure.trusted()
        owner = await _somebody(rows, timedelta(hours=1))
        await holder.leave()
        assert await rows.value("select bool_and(owner = $1) from chimeway.shard_owners", owner)


async def test_of_three_two_share_what_the_third_had(database_url: str) -> None:
    """When one dies the others have its shards within moments, each a fair share, all of them suspect."""
    async with candidates(database_url, database_url, database_url) as standing:
        tenures = [await one.granted() for one in standing]
        await wait_for(
            lambda: sorted(len(one.shards) for one in tenures) == [85, 85, 86], "they share", deadline_s=10
        )
        gone = tenures[0].shards
        await standing[0].end()
        for one in standing[1:]:
            await one.has(128)
        assert tenures[1].suspect | tenures[2].suspect == gone


async def test_who_stops_waiting_leaves_nothing(database_url: str) -> None:
    """A node that ends before it had any shard keeps no lease, no lock and no connection."""
    async with rows_of(database_url) as rows:
        await _somebody(rows, timedelta(hours=1))
        async with candidates(database_url) as (standby,):
            tenure = await standby.granted()
            await standby.leave()
            await wait_for(lambda: rows.value(f"select ({STANDING}) = 0"), "its connection is closed")
            assert await _lease(rows, tenure) is None


@pytest.mark.parametrize("answered", [True, False], ids=["heard of late", "never heard of"])
async def test_who_is_told_to_end_before_it_knows_leaves_nothing(database_url: str, answered: bool) -> None:
    """A lease that was begun is ended in order, though its first beat is not answered yet, or never."""
    async with rows_of(database_url) as rows, proxy_to(database_url) as proxy:
        gate = proxy.hold_reply("chimeway.beat")
        async with candidates(proxy.url) as (early,):
            await asyncio.wait_for(gate.reached.wait(), 10)
            ending = asyncio.ensure_future(early.end())
            for _ in range(1 if answered else 5):  # it has been told
                await asyncio.sleep(0)
            (gate.release if answered else gate.discard)()
            await ending
        assert await rows.value("select count(*) from chimeway.leases") == 0
        assert await rows.value("select bool_and(clean) from chimeway.shard_owners")


async def test_busy_with_other_things_a_node_gives_nothing(database_url: str) -> None:
    """What the event loop has not let go of in time stays, and is given later."""
    async with candidates(database_url) as (first,):
        one, slow = await first.has(256), asyncio.Event()

        async def settle(_: frozenset[int]) -> None:
            await slow.wait()

        one.settle = settle
        async with candidates(database_url) as (second,):
            two = await second.granted()
            await wait_for(lambda: len(one.shards) == 128, "it has let go")
            await wait_for(lambda: len(one.shards) == 256, "it has them again")
            assert two.shards == frozenset()
            slow.set()
            await second.has(128)
