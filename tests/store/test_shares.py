"""Shards over nodes, in SQL: fair whoever comes and goes, each shard one node's, nothing moved in vain."""

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from chimeway.store.leases import LeaseLine
from chimeway.store.pool import Database, connect
from kit.waiting import wait_for
from store.shares import SILENT, STARTED, TTL, Shares


@pytest.fixture
async def shares(database: Database) -> AsyncIterator[Shares]:
    """Nobody yet."""
    connection = await connect(database.url, "shares")
    await connection.execute(STARTED.format(60))
    yield Shares(connection)
    await connection.close()


def fair(many: int) -> list[int]:
    """Return what each of so many nodes should have, the fewest first."""
    return sorted(256 // many + (place < 256 % many) for place in range(many))


async def _settled(shares: Shares) -> list[int]:
    """Let all beat three times."""
    for _ in range(3):
        for node in list(shares.nodes):
            await shares.beat(node)
    return await shares.counts()


async def test_who_comes_first_has_all(shares: Shares) -> None:
    """A node alone has all shards with its first beat, none of them under suspicion, and nothing too much."""
    beat = await shares.beat(await shares.join())
    assert (len(beat["shards"]), beat["suspect"], beat["surplus"], beat["nodes"]) == (256, [], 0, 1)


async def test_joining_moves_no_more_than_the_newcomer_gets(shares: Shares) -> None:
    """One after the other five nodes join; each time as many shards move as the new one needs."""
    for many in range(1, 6):
        await shares.join()
        shares.moved.clear()
        assert await _settled(shares) == fair(many)
        assert shares.moved.total() == (0 if many == 1 else 256 // many)


async def test_balanced_nothing_moves(shares: Shares) -> None:
    """However often they beat, whoever has the one more keeps it."""
    for _ in range(3):
        await shares.join()
    await _settled(shares)
    shares.moved.clear()
    await _settled(shares)
    assert shares.moved.total() == 0


async def test_any_order_of_joins_leaves_and_deaths_ends_fair(shares: Shares) -> None:
    """Whatever happens, and whoever of them beats meanwhile: in the end all shards are shared fairly."""
    draw = random.Random(6)
    for _ in range(60):
        kinds = ["join", "beat", "beat", "leave", "die", "end"] if shares.nodes else ["join"]
        match draw.choice(kinds):
            case "join" if len(shares.nodes) < 8:
                await shares.join()
            case "beat":
                await shares.beat(draw.choice(shares.nodes))
            case "leave":
                await shares.leave(draw.choice(shares.nodes))
            case "die":
                await shares.die(draw.choice(shares.nodes))
            case "end":
                await shares.end(draw.choice(shares.nodes))
            case _:
                continue
        if draw.random() < 0.2 and shares.nodes:
            assert await _settled(shares) == fair(len(shares.nodes))
            assert len(await shares.look()) == 256


async def test_a_death_makes_suspect_what_it_had(shares: Shares) -> None:
    """What is taken from the dead is under suspicion until it is absolved, in whoever's hand it goes."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.die(one)
    beat = await shares.beat(two)
    assert (len(beat["shards"]), len(beat["suspect"])) == (256, 128)
    three = await shares.join()
    await _settled(shares)
    inherited = await shares.beat(three)
    assert len(inherited["suspect"]) == len(set(beat["suspect"]) & set(inherited["shards"])) > 0
    sql = "select chimeway.absolve_shards($1, $2, $3)"
    await shares.connection.execute(sql, two.owner, two.epoch, list(range(256)))
    assert (await shares.beat(two))["suspect"] == []
    assert (await shares.beat(three))["suspect"] == inherited["suspect"], "only one's own"


async def test_a_clean_hand_over_makes_nothing_suspect(shares: Shares) -> None:
    """What a node gives away, or leaves behind when nobody is there, is nobody's concern."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.leave(one)
    assert (await shares.beat(two))["suspect"] == []
    await shares.leave(two)
    assert await shares.look() == {}
    assert (await shares.beat(await shares.join()))["suspect"] == []


async def test_who_leaves_is_given_nothing(shares: Shares) -> None:
    """A node that drains gets nothing from the dead or from those who leave after it; its lease goes on."""
    one, two, three = [await shares.join() for _ in range(3)]
    await _settled(shares)
    assert await shares.hand_over(one, list(range(256)), leaving=True) > 0
    await shares.leave(two)
    await shares.die(three)
    beat = await shares.beat(one)
    assert (beat["shards"], beat["nodes"], await shares.look()) == ([], 0, {})
    four = await shares.join()
    assert len((await shares.beat(four))["shards"]) == 256


async def test_nobody_gives_to_nobody(shares: Shares) -> None:
    """A hand-over for fairness' sake whose receiver has just gone gives nothing away."""
    one = await shares.join()
    await shares.beat(one)
    assert await shares.hand_over(one, [1, 2, 3]) == 0
    assert len((await shares.beat(one))["shards"]) == 256


async def test_who_judges_nobody_ends_nobody(shares: Shares) -> None:
    """After an outage leases that have run out stay: their nodes are about to renew them."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.die(one)
    assert len((await shares.beat(two, judges=False))["shards"]) == 128
    shares.nodes.append(one)
    assert len((await shares.beat(one))["shards"]) == 128
    assert await _settled(shares) == fair(2)


async def test_a_server_that_has_just_started_ends_nobody(shares: Shares) -> None:
    """For a lease's length after its start all leases that have run out stay, whoever comes first."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.die(one)
    await shares.connection.execute(STARTED.format(1))
    assert len((await shares.beat(two))["shards"]) == 128
    await shares.connection.execute(STARTED.format(60))
    assert len((await shares.beat(two))["shards"]) == 256


async def test_a_clock_set_back_makes_no_lease_longer(shares: Shares) -> None:
    """Who does not beat any more, though his lease lasts for hours by the clock as it is now, is followed."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    later = "update chimeway.leases set expires_at = expires_at + interval '2 h' where owner = $1"
    await shares.connection.execute(later, one.owner)
    assert len((await shares.beat(two, judges=False))["shards"]) == 128
    left = "select expires_at - clock_timestamp() from chimeway.leases where owner = $1"
    assert await shares.connection.fetchval(left, one.owner) > TTL
    assert len((await shares.beat(two))["shards"]) == 128, "he may live"
    assert timedelta(0) < await shares.connection.fetchval(left, one.owner) <= TTL
    await shares.die(one)
    assert len((await shares.beat(two))["shards"]) == 256


async def test_a_clock_set_back_before_the_servers_start_hides_no_dead(shares: Shares) -> None:
    """A server that started by a clock that was ahead by hours would else judge nobody for as long."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.die(one)
    await shares.connection.execute(STARTED.format(-180))
    assert len((await shares.beat(two))["shards"]) == 256


async def test_an_old_program_ends_nobody_when_the_server_has_just_started(shares: Shares) -> None:
    """All leases may have run out meanwhile: who stood by does not take all from those who come back."""
    acquire, old = "select * from chimeway.acquire_lease($1, $2, null)", uuid4()
    new = await shares.join()
    await shares.beat(new)
    await shares.die(new)
    await shares.connection.execute(STARTED.format(1))
    assert await shares.connection.fetchrow(acquire, old, TTL) is None
    assert len((await shares.beat(new))["shards"]) == 256
    shares.nodes.append(new)
    await shares.die(new)
    await shares.connection.execute(STARTED.format(60))
    got = await shares.connection.fetchrow(acquire, old, TTL)
    assert got is not None
    assert not got["clean"]


async def test_a_repeated_begin_shows_life_only_where_it_can(shares: Shares, database_url: str) -> None:
    """The session of a call whose answer was lost has the lock: the next beat takes it when it has gone."""
    lost, lasting = await connect(database_url, "lost"), await connect(database_url, "lasting")
    owner, node = uuid4(), uuid4()
    await LeaseLine(lost, may_show=True).begin(owner, node, TTL)
    line = LeaseLine(lasting, may_show=True)
    fence = await line.begin(owner, node, TTL)
    await lost.close()
    await shares.beat(await shares.join())
    assert await shares.connection.fetch(SILENT) == [], "it is not believed to be gone"
    beat = await line.beat(fence, TTL, judges=True, dead=())
    assert beat is not None
    assert beat.shown
    assert await shares.connection.fetch(SILENT) == []
    await lasting.close()
    await wait_for(lambda: shares.connection.fetch(SILENT), "now it is silent")


async def test_who_shows_nothing_is_not_ended_by_hearsay(shares: Shares) -> None:
    """Somebody says that a node is dead: it is looked at again, and one that shows no silence lives."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    assert len((await shares.beat(two, dead=[one.epoch]))["shards"]) == 128
    assert len((await shares.beat(one))["shards"]) == 128


async def test_the_ended_are_told(shares: Shares) -> None:
    """Who was ended learns it by his next beat, and can neither give nor take; who beats again is another."""
    one, two = await shares.join(), await shares.join()
    await _settled(shares)
    await shares.die(one)
    await shares.beat(two)
    assert await shares.beat(one) is None
    assert await shares.hand_over(one, list(range(256))) == 0
    again = await shares.join()
    assert again.epoch > two.epoch > one.epoch
    assert await _settled(shares) == fair(2)


async def test_more_nodes_than_shards(shares: Shares) -> None:
    """Each shard has one node, some nodes have none, and nothing moves to and fro."""
    for _ in range(260):
        await shares.join()
    for node in shares.nodes:
        await shares.beat(node)
    assert await shares.counts() == [0] * 4 + [1] * 256
    await shares.beat(shares.nodes[0])
    await shares.leave(shares.nodes[10])
    assert await shares.counts() == [0] * 3 + [1] * 256


async def test_an_old_program_has_all_or_none(shares: Shares) -> None:
    """A program of schema version 3 works when nobody does, gives nothing, and others wait for its end."""
    acquire = "select * from chimeway.acquire_lease($1, $2, $3)"
    old, new = "00000000-0000-0000-0000-000000000001", await shares.join()
    await shares.beat(new)
    assert await shares.connection.fetchrow(acquire, old, TTL, None) is None
    await shares.leave(new)
    got = await shares.connection.fetchrow(acquire, old, TTL, None)
    assert got["clean"]
    waiting = await shares.join()
    beat = await shares.beat(waiting)
    assert (beat["shards"], beat["surplus"]) == ([], 0)
    assert await shares.connection.fetchrow(acquire, str(waiting.owner), TTL, None) is None
    renew = "select chimeway.renew_lease($1, $2, $3)"
    assert await shares.connection.fetchval(renew, old, got["epoch"], TTL)
    assert await shares.connection.fetchval("select chimeway.release_lease($1, $2)", old, got["epoch"])
    assert not await shares.connection.fetchval(renew, old, got["epoch"], TTL)
    beat = await shares.beat(waiting)
    assert (len(beat["shards"]), beat["suspect"]) == (256, [])


CALL_UNDER_WAY = """
set session_replication_role = replica;
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, attempt_count, created_at)
    select chimeway.new_id(7::smallint), 7, gen_random_uuid(), 1, 's', 't', 'r', 'email',
           'k', 'dispatched', 1, now();
insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at)
    select d.id, 7, 1, d.run_id, '{}', pg_current_snapshot(), now() from chimeway.deliveries d;
set session_replication_role = origin"""


async def test_an_old_program_waits_for_the_calls_of_who_drains(shares: Shares) -> None:
    """It takes all calls that are not its own for abandoned ones, and would make them once more meanwhile."""
    acquire, old, new = "select * from chimeway.acquire_lease($1, $2, null)", uuid4(), await shares.join()
    await shares.beat(new)
    await shares.connection.execute(CALL_UNDER_WAY.format(new.owner))
    await shares.hand_over(new, list(range(256)), leaving=True)
    assert await shares.connection.fetchrow(acquire, old, TTL) is None
    await shares.connection.execute(
        "update chimeway.deliveries set status = 'succeeded', terminal_at = now()"
    )
    got = await shares.connection.fetchrow(acquire, old, TTL)
    assert got is not None
    assert got["clean"]


async def test_a_sole_lease_becomes_one_of_many(shares: Shares) -> None:
    """A program that learns to share goes on under its lease, and gives of its shards."""
    owner = "00000000-0000-0000-0000-000000000001"
    sql = "select epoch from chimeway.acquire_lease($1, $2, null)"
    epoch = await shares.connection.fetchval(sql, owner, TTL)
    other = await shares.join()
    assert (await shares.beat(other))["shards"] == []
    beat = "select * from chimeway.beat($1, $2, $3, false, true, '{}')"
    assert (await shares.connection.fetchrow(beat, owner, epoch, TTL))["surplus"] == 128
    assert await shares.connection.fetch(SILENT) == [], "it has not shown its life as one of many"
