"""Decisions on mail that is not in the mailbox yet: the ledger puts it there, as foretold or not."""

from datetime import timedelta
from uuid import UUID

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Noop
from chimeway.store import mailbox
from chimeway.store.pool import Database
from chimeway.store.verify import verify
from store.door import Door, foretelling, foretold_entry, locked, opened
from store.plain_sql import plain

_SIGNAL = "select chimeway.signal('read', actor_id => 'ada', payload => '{\"document\": 7}')"
_MAIL = (
    "select number, signal_id, consumed_by is not null as consumed from chimeway.run_mailbox order by number"
)


async def _mail(world: Door) -> list[tuple[int, UUID, bool]]:
    return [tuple(row) for row in await world.all(_MAIL)]  # type: ignore[misc]


async def test_a_decision_puts_its_own_mail(clock_database: Database) -> None:
    """Of an unrouted signal a run stops in one transaction, and its rows are as if it had been routed."""
    world = await opened(clock_database)
    await world.start("ada")
    heeded = await world.say("ada", "unheard")
    signal = await world.say("ada", "read")
    entry = await foretold_entry(world)
    assert entry.foretold == [(1, signal)]
    assert (await world.row("ada"))["mailbox_count"] == 0
    assert await world.commit(entry) == ["applied"]
    assert await world.commit(entry) == ["applied"], "whose answer was lost is told the same"
    assert await _mail(world) == [(1, signal, True)]
    row = await world.row("ada")
    assert (row["state"], row["mailbox_count"], row["mailbox_seen"]) == ("stopped", 1, 1)
    assert (await mailbox.route_named(clock_database, [heeded, signal])) == ([], False)
    assert await world.sql("select count(*) from chimeway.signals where routed_at is null") == 0
    assert await verify(clock_database) == []


@pytest.mark.parametrize("routed", [True, False])
async def test_only_the_signal_that_fitted_is_consumed(clock_database: Database, routed: bool) -> None:
    """Of mail in the mailbox, and of mail that it puts there, a decision marks with its id what it used."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read", document=8)
    await world.say("ada", "skip")
    if routed:
        await mailbox.route(clock_database, 0)
    entry = await foretold_entry(world, born=lambda *_: Birth("pending"))
    assert len(entry.foretold) == (0 if routed else 2)
    assert await world.commit(entry) == ["applied"]
    marks = await world.all("select number, consumed_by from chimeway.run_mailbox order by number")
    assert [tuple(row) for row in marks] == [(1, None), (2, entry.id)]
    assert (await world.row("ada"))["mailbox_seen"] == 2


async def test_mail_that_has_come_otherwise_makes_a_decision_stale(clock_database: Database) -> None:
    """Another router saw one signal before the other: as many are there, under each other's numbers."""
    world = await opened(clock_database)
    await world.start("ada")
    first = await world.say("ada", "read")
    second = await world.say("ada", "read", document=8)
    entry = await foretold_entry(world)
    assert entry.foretold == [(1, first), (2, second)]
    async with plain(clock_database.url) as other, other.transaction():
        put = """insert into chimeway.run_mailbox (run_id, shard, number, signal_id, routed_at)
                 select r.id, r.shard, $1, $2, chimeway.clock() from chimeway.workflow_runs r"""
        await other.execute(put, 1, second)
        await other.execute(put, 2, first)
        await other.execute("update chimeway.workflow_runs set mailbox_count = 2")
    assert await world.commit(entry) == ["stale"]
    assert (await world.row("ada"))["state"] == "waiting"
    again = await foretold_entry(world)
    assert again.foretold == ()
    assert await world.commit(again) == ["applied"]
    assert await _mail(world) == [(1, second, False), (2, first, True)]


async def test_mail_that_came_after_all_makes_a_decision_stale_and_is_kept(clock_database: Database) -> None:
    """A signal that was written first and committed last goes before the one that was foretold its number."""
    world = await opened(clock_database)
    await world.start("ada")
    async with plain(clock_database.url) as other:
        late = other.transaction()
        await late.start()
        written_first = await other.fetchval(_SIGNAL)
        seen = await world.say("ada", "read")
        entry = await foretold_entry(world)
        assert entry.foretold == [(1, seen)]
        await late.commit()
    assert await world.commit(entry) == ["stale"]
    assert await _mail(world) == [(1, written_first, False), (2, seen, False)]
    row = await world.row("ada")
    assert (row["state"], row["mailbox_count"], row["mailbox_seen"]) == ("waiting", 2, 0)
    assert await world.commit(await foretold_entry(world)) == ["applied"]
    assert await verify(clock_database) == []


async def test_neighbours_in_a_batch_bear_only_their_own_mail(clock_database: Database) -> None:
    """One foretold rightly, one wrongly, one who had his mail before: each gets his own answer."""
    world = await opened(clock_database)
    for person in ("ada", "bob", "cleo"):
        await world.start(person)
    await world.say("cleo", "read")
    await mailbox.route(clock_database, 0)
    await world.say("ada", "read")
    await world.say("bob", "read")
    entries = [await foretold_entry(world, person) for person in ("ada", "bob", "cleo")]
    await world.say("bob", "read", document=8)
    assert await world.commit(*entries) == ["applied", "stale", "applied"]
    assert (await world.row("bob"))["mailbox_count"] == 2
    assert await verify(clock_database) == []


async def test_a_first_step_hears_what_was_routed_before_it(clock_database: Database) -> None:
    """Before its first step nothing is foretold to a run: what it hears then may be routed already."""
    world = await opened(clock_database)
    await world.trigger("ada")
    await world.say("ada", "read")
    loaded = await foretelling(world)
    assert loaded.foretold == ()
    assert loaded.snapshot is not None
    assert loaded.snapshot.mail == ()


async def test_who_does_not_fit_is_no_decision(clock_database: Database) -> None:
    """Mail that moves nothing is foretold, too, and nothing is written until it is routed."""
    world = await opened(clock_database)
    await world.start("ada")
    await world.say("ada", "read", document=8)
    loaded = await foretelling(world)
    assert loaded.snapshot is not None
    now = await world.sql("select chimeway.clock()") - timedelta(seconds=0)
    assert isinstance(decide(loaded.snapshot, now, lambda *_: None), Noop)  # type: ignore[arg-type,return-value]
    assert await _mail(world) == []


async def test_heeding_names_runs_and_writes_nothing(clock_database: Database) -> None:
    """Each waiting signal is told with its runs, or with none; who has a run locked is in nobody's way."""
    world = await opened(clock_database)
    for person in ("ada", "bob"):
        await world.start(person)
    to_ada, to_nobody = await world.say("ada", "read"), await world.say("zoe", "read")
    before = await world.contents()
    async with locked(clock_database, world.runs["ada"]):
        heard = await mailbox.heed(clock_database, ())
    assert set(heard.signals) == {to_ada, to_nobody}
    assert heard.runs == [(world.runs["ada"], "default")]
    assert (await mailbox.heed(clock_database, [to_ada])).runs == []
    assert set((await mailbox.heed(clock_database, [to_ada])).signals) == {to_nobody}
    assert await world.contents() == before
