"""route_signals: which runs hear a signal, whatever is locked and whoever commits first."""

from uuid import UUID

from chimeway.store import mailbox, runs
from chimeway.store.pool import Database
from store.door import Door, locked, opened
from store.plain_sql import plain

TRIGGER = """select chimeway.trigger('escalation', recipient_id => 'ada', data => '{"document": 7}')"""


async def _heard(world: Door) -> dict[UUID, list[int]]:
    """Return the numbers in each run's mailbox."""
    rows = await world.all("select run_id, number from chimeway.run_mailbox order by number")
    return {run: [row["number"] for row in rows if row["run_id"] == run] for run in world.runs.values()}


async def _unrouted(world: Door) -> int:
    found: int = await world.sql("select count(*) from chimeway.signals where routed_at is null")
    return found


async def test_a_signal_reaches_each_run_once(clock_database: Database) -> None:
    """A routed signal stands once in the mailbox of each live run, in order, and is marked as routed."""
    world = await opened(clock_database)
    await world.trigger("ada")
    world.runs["ada again"] = await world.sql(TRIGGER)
    await world.trigger("bob")
    first, second = await world.say("ada", "read"), await world.say("ada", "skip")
    woken, last = await mailbox.route(clock_database, 0)
    assert {run for run, _ in woken} == {world.runs["ada"], world.runs["ada again"]}
    assert last is not None
    assert await mailbox.route(clock_database, 0) == ([], None)
    assert await _heard(world) == {
        world.runs["ada"]: [1, 2], world.runs["ada again"]: [1, 2], world.runs["bob"]: [],
    }  # fmt: skip
    order = await world.all("select signal_id from chimeway.run_mailbox where run_id = $1 order by number",
                            world.runs["ada"])  # fmt: skip
    assert [row["signal_id"] for row in order] == [first, second]
    assert await _unrouted(world) == 0


async def test_a_signal_keeps_its_mark_while_a_run_is_locked(clock_database: Database) -> None:
    """Of two runs one is locked: the other hears at once, the signal waits, and then both have heard once."""
    world = await opened(clock_database)
    await world.trigger("ada")
    world.runs["ada again"] = await world.sql(TRIGGER)
    await world.say("ada", "read")
    async with locked(clock_database, world.runs["ada"]):
        assert (await mailbox.route(clock_database, 0))[0] == [(world.runs["ada again"], "default")]
        assert await _unrouted(world) == 1
    assert (await mailbox.route(clock_database, 0))[0] == [(world.runs["ada"], "default")]
    assert await _unrouted(world) == 0
    assert await _heard(world) == {run: [1] for run in world.runs.values()}


async def test_a_late_trigger_hears_an_earlier_signal(clock_database: Database) -> None:
    """Trigger written, signal written, committed and routed, then the trigger commits: the run hears it."""
    world = await opened(clock_database)
    async with plain(clock_database.url) as producer:
        transaction = producer.transaction()
        await transaction.start()
        world.runs["ada"] = await producer.fetchval(TRIGGER)
        await world.say("ada", "halt")
        assert await mailbox.route(clock_database, 0) != ([], None)
        assert await _unrouted(world) == 0
        await transaction.commit()
    assert await _heard(world) == {world.runs["ada"]: []}
    entry = await world.entry("ada")
    assert await world.commit(entry) == ["stale"]
    assert await _heard(world) == {world.runs["ada"]: [1]}
    await world.progress("ada")
    assert (await world.row("ada"))["state"] == "stopped"
    assert await world.sql("select count(*) from chimeway.deliveries") == 0


async def test_a_signal_from_before_the_trigger_is_not_heard(clock_database: Database) -> None:
    """A signal written before a run, routed before or after it, is not for that run."""
    world = await opened(clock_database)
    await world.say("ada", "halt")
    await mailbox.route(clock_database, 0)
    await world.say("ada", "halt")
    await world.start("ada")
    await mailbox.route(clock_database, 0)
    assert await _heard(world) == {world.runs["ada"]: []}
    assert await _unrouted(world) == 0


async def test_a_second_evaluation_does_not_hear_again(clock_database: Database) -> None:
    """A run that has entered a step takes unrouted signals only, and none of them twice."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read", document=8)
    await mailbox.route(clock_database, 0)
    await world.pass_time(2)
    await world.progress("ada")
    await world.attempt("ada", "succeeded")
    assert await _heard(world) == {world.runs["ada"]: [1]}


async def test_our_own_signals_reach_their_run_only(clock_database: Database) -> None:
    """A mark on one run's in-app item is heard by that run, and by no other of the same person."""
    definition = {
        "key": "escalation",
        "version": 1,
        "steps": [
            {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "mention"}},
            {"id": "wait", "action": {"type": "wait", "duration": "PT2H", "stop_conditions": [
                {"type": "signal_received", "signal_type": "chimeway.notification.read"}]}},
            {"id": "email", "action": {"type": "notify", "channel": "email", "render_key": "mention"}},
        ],
    }  # fmt: skip
    world = await opened(clock_database, definition)
    await world.start("ada")
    world.runs["other"] = await world.sql(TRIGGER)
    await world.progress("other")
    items = "select chimeway.mark_inbox('default', 'ada', array[$1::uuid], 'read')"
    item = await world.sql("select id from chimeway.inbox_items where run_id = $1", world.runs["ada"])
    assert await world.all(items, item)
    assert (await mailbox.route(clock_database, 0))[0] == [(world.runs["ada"], "default")]
    assert await _heard(world) == {world.runs["ada"]: [1], world.runs["other"]: []}
    await world.progress("ada")
    assert [(await world.row(who))["state"] for who in ("ada", "other")] == ["stopped", "waiting"]


async def test_tenants_do_not_hear_each_other(clock_database: Database) -> None:
    """The same recipient's id in another tenant hears nothing, though both lie in one shard."""
    world = await opened(clock_database)
    await world.trigger("ada")
    same_shard = """select 'tenant ' || n from generate_series(1, 10000) n
        where chimeway.shard_of('tenant ' || n, 'ada') = chimeway.shard_of('default', 'ada') limit 1"""
    await world.sql("select chimeway.signal('read', $1, 'ada')", await world.sql(same_shard))
    await mailbox.route(clock_database, 0)
    assert await _heard(world) == {world.runs["ada"]: []}
    assert await _unrouted(world) == 0


async def test_after_the_end_nothing_is_heard(clock_database: Database) -> None:
    """A signal for a run that has ended is marked as routed and reaches nobody."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.sql("select chimeway.cancel(run_id => $1)", world.runs["ada"])
    await world.say("ada", "read")
    assert (await mailbox.route(clock_database, 0))[0] == []
    assert (await _heard(world), await _unrouted(world)) == ({world.runs["ada"]: []}, 0)


async def test_a_batch_goes_on_where_the_last_one_ended(clock_database: Database) -> None:
    """Signals whose runs are locked do not keep the router from those behind them."""
    world = await opened(clock_database)
    for person in ("ada", "bob"):
        await world.trigger(person)
        await world.say(person, "read")
    one = "select run_id, last_arrival from chimeway.route_signals(1, 100, $1)"
    async with locked(clock_database, world.runs["ada"]):
        (first,) = await world.all(one, 0)
        assert first["run_id"] is None
        rows = await world.all(one, first["last_arrival"])
        assert [row["run_id"] for row in rows if row["run_id"]] == [world.runs["bob"]]
    assert await _unrouted(world) == 1


async def test_unread_mail_is_found_without_its_router(clock_database: Database) -> None:
    """A run whose router died between routing and waking is listed until a decision has seen the mail."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read", document=8)
    await mailbox.route(clock_database, 0)
    (found,) = await runs.unread(clock_database, runs.NO_ID, 10)
    assert (found.id, found.state[0], found.paused) == (world.runs["ada"], 1, False)
    assert await runs.unread(clock_database, world.runs["ada"], 10) == []
    await world.pass_time(2)
    await world.progress("ada")
    assert await runs.unread(clock_database, runs.NO_ID, 10) == []
