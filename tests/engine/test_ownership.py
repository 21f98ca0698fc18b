"""The lease: granted, waited for, handed over, taken over, doubted and lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg

from chimeway.engine.ownership import Ownership, Tenure
from kit.proxy import proxy_to
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

TTL = timedelta(seconds=1.2)
LEASE = "select owner, epoch, expires_at > clock_timestamp() as valid, clean from chimeway.shards"
LOCK = "select pg_advisory_lock(206420, 0)"
LOCKED_BY = """
select pid from pg_locks join pg_database d on d.oid = database
 where d.datname = current_database() and locktype = 'advisory' and classid = 206420 and granted"""
STANDING = """
select count(*) from pg_stat_activity
 where datname = current_database() and application_name like 'candidate%'"""
TAKE = "select epoch from chimeway.acquire_lease($1, $2, $3)"


class Candidate:
    """A node that wants the lease, holds it once granted, and lets it go when told."""

    def __init__(self, url: str, name: str) -> None:
        """Take where the lease is."""
        self._ownership = Ownership(url, name, TTL)
        self._leave = asyncio.Event()
        self.tenure: Tenure | None = None
        self.task = asyncio.ensure_future(self._stand())

    async def _stand(self) -> None:
        async with self._ownership.hold() as tenure:
            self.tenure = tenure
            await self._leave.wait()

    async def granted(self) -> Tenure:
        """Wait until it holds the lease."""
        await wait_for(lambda: self.tenure is not None or self.task.done(), "the lease", deadline_s=10)
        assert self.tenure is not None, self.task
        return self.tenure

    async def leave(self) -> None:
        """Hand the lease over."""
        self._leave.set()
        await self.task

    async def end(self) -> None:
        """Fail: stand no more, and hand nothing over."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def candidates(*urls: str) -> AsyncIterator[list[Candidate]]:
    """Let them stand while the block lasts."""
    standing = [Candidate(url, f"candidate {number}") for number, url in enumerate(urls)]
    try:
        yield standing
    finally:
        for one in standing:
            await one.end()


@asynccontextmanager
async def held_lock(url: str) -> AsyncIterator["asyncpg.Connection[object]"]:
    """Be a living owner: hold the session lock on a connection of one's own."""
    connection = await asyncpg.connect(url)
    await connection.execute(LOCK)
    try:
        yield connection
    finally:
        await connection.close()


async def _lease(rows: Rows) -> asyncpg.Record:
    return (await rows.all(LEASE))[0]


async def _taken(rows: Rows, ttl: timedelta) -> None:
    """Have the lease belong to somebody else."""
    assert await rows.value(TAKE, uuid4(), ttl, 1)


async def test_a_free_lease_is_granted_and_handed_over(database_url: str) -> None:
    """The first gets it, the second waits until it is handed over, and neither is a take-over."""
    async with rows_of(database_url) as rows, candidates(database_url) as (first,):
        one = await first.granted()
        assert (one.fence.epoch, one.clean, one.trusted()) == (1, True, True)
        lease = await _lease(rows)
        assert (lease["owner"], lease["epoch"], lease["valid"]) == (one.fence.owner, 1, True)
        async with candidates(database_url) as (second,):
            await wait_for(lambda: rows.value(f"select ({STANDING}) = 2"), "the second stands by")
            await first.leave()
            assert not one.trusted()
            two = await second.granted()
            assert (two.fence.epoch, two.clean) == (2, True)
            assert two.fence.owner != one.fence.owner
            await second.leave()
        assert (await _lease(rows))["owner"] is None


async def test_a_lease_is_kept_while_it_is_renewed(database_url: str) -> None:
    """After more than its length the lease is still valid, trusted and of the same epoch."""
    async with rows_of(database_url) as rows, candidates(database_url) as (first,):
        tenure = await first.granted()
        sql = "select max(expires_at - taken_at) > 2 * $1::interval from chimeway.shards"
        await wait_for(lambda: rows.value(sql, TTL), "renewals")
        assert tenure.trusted()
        assert (await _lease(rows))["epoch"] == 1


async def test_an_expired_lease_is_taken_over(database_url: str) -> None:
    """While its owner lives and renews nothing, a lease is waited for until it expires, and no longer."""
    async with rows_of(database_url) as rows, held_lock(database_url):
        await _taken(rows, timedelta(seconds=1))
        async with candidates(database_url) as (standby,):
            before = standby.tenure
            while (lease := await _lease(rows))["valid"] and lease["epoch"] == 1:
                assert before is None  # (looked at first: it may be had as soon as the row is read)
                before = standby.tenure
                await asyncio.sleep(0.02)
            tenure = await standby.granted()
            assert (tenure.clean, tenure.fence.epoch) == (False, 2)


async def test_an_orphaned_lease_is_taken_over_at_once(database_url: str) -> None:
    """A lease with an hour to go whose owner's socket is closed needs not expire."""
    async with rows_of(database_url) as rows, candidates(database_url) as (standby,):
        await standby.granted()
        await standby.leave()
        await _taken(rows, timedelta(hours=1))
        async with candidates(database_url) as (next_one,):
            tenure = await next_one.granted()
            assert (tenure.clean, tenure.fence.epoch) == (False, 3)


async def test_a_failure_hands_nothing_over(database_url: str) -> None:
    """A holder whose own work fails leaves its lease to be taken over at once, as from the dead."""
    async with rows_of(database_url) as rows, candidates(database_url) as (first,):
        owner = (await first.granted()).fence.owner
        await first.end()
        assert (await _lease(rows))["owner"] == owner
        async with candidates(database_url) as (second,):
            assert (await second.granted()).clean is False


async def test_trust_ends_before_the_lease(database_url: str) -> None:
    """When a renewal is not answered trust ends while nobody else can have the lease, and comes back."""
    async with (
        rows_of(database_url) as rows,
        proxy_to(database_url) as proxy,
        candidates(proxy.url) as (holder,),
    ):
        tenure = await holder.granted()
        gate = proxy.hold_request("renew_lease")
        await asyncio.wait_for(gate.reached.wait(), 10)
        await wait_for(lambda: not tenure.trusted(), "trust has ended", every_s=0.005)
        assert (await _lease(rows))["valid"]
        assert not tenure.lost.is_set()
        gate.release()
        await wait_for(tenure.trusted, "the renewal went through")
        assert (await _lease(rows))["epoch"] == 1


async def test_a_broken_line_is_replaced(database_url: str) -> None:
    """A holder whose connection is cut connects again, takes its lock again and keeps its lease."""
    async with rows_of(database_url) as rows, candidates(database_url) as (holder,):
        tenure = await holder.granted()
        before = await rows.value(LOCKED_BY)
        assert await rows.value("select pg_terminate_backend($1)", before)

        async def again() -> bool:
            return await rows.value(LOCKED_BY) not in {None, before}

        await wait_for(again, "the lock is taken again")
        await wait_for(tenure.trusted, "it is trusted")
        assert ((await _lease(rows))["epoch"], tenure.lost.is_set()) == (1, False)


async def test_a_lost_lease_is_told(database_url: str) -> None:
    """The renewal that finds another owner tells so; nothing is trusted any more, nothing handed over."""
    async with rows_of(database_url) as rows, candidates(database_url) as (holder,):
        tenure = await holder.granted()
        await _taken(rows, timedelta(hours=1))
        await asyncio.wait_for(tenure.lost.wait(), 10)
        assert not tenure.trusted()
        await holder.leave()
        lease = await _lease(rows)
        assert (lease["owner"] is None, lease["epoch"]) == (False, 2)


async def test_of_two_standbys_one_wins(database_url: str) -> None:
    """When the holder of a lease is gone two that stood by get one lease between them."""
    async with rows_of(database_url) as rows, held_lock(database_url) as owner:
        await _taken(rows, timedelta(hours=1))
        async with candidates(database_url, database_url) as standbys:
            await wait_for(lambda: rows.value(f"select ({STANDING}) = 2"), "both stand by")
            await owner.close()
            await wait_for(lambda: any(one.tenure for one in standbys), "one has it")
            (winner,) = [one for one in standbys if one.tenure]
            (other,) = [one for one in standbys if one is not winner]
            renewed = "select expires_at > taken_at + 1.5 * $1::interval from chimeway.shards"
            await wait_for(lambda: rows.value(renewed, TTL), "it is renewed")
            assert other.tenure is None
            tenure = await winner.granted()
            assert not tenure.lost.is_set()
            assert (await _lease(rows))["epoch"] == tenure.fence.epoch == 2


async def test_a_free_lease_is_not_taken_by_force(database_url: str) -> None:
    """Of two who find the lease free the slower one leaves it to the quicker one."""
    async with rows_of(database_url) as rows, proxy_to(database_url) as proxy:
        gate = proxy.hold_request("acquire_lease")
        async with candidates(proxy.url) as (slow,):
            await asyncio.wait_for(gate.reached.wait(), 10)
            async with candidates(database_url) as (quick,):
                tenure = await quick.granted()
                gate.release()
                renewed = "select expires_at > taken_at + 1.5 * $1::interval from chimeway.shards"
                await wait_for(
                    lambda: slow.tenure is not None or rows.value(renewed, TTL), "one of them has it for good"
                )
                assert slow.tenure is None
                assert not tenure.lost.is_set()


async def test_who_stops_waiting_leaves_nothing(database_url: str) -> None:
    """A standby that ends takes no lease, holds no lock and keeps no connection."""
    async with rows_of(database_url) as rows, held_lock(database_url):
        await _taken(rows, timedelta(hours=1))
        async with candidates(database_url) as (standby,):
            await wait_for(lambda: rows.value(f"select ({STANDING}) = 1"), "it stands by")
            await standby.end()
            await wait_for(lambda: rows.value(f"select ({STANDING}) = 0"), "its connection is closed")
        assert (await _lease(rows))["epoch"] == 1
