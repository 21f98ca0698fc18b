"""After a restore, at the door of all attempts: what is held, until when, and what becomes of it."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest

from chimeway import Chimeway
from chimeway.store import migrations, restoring
from chimeway.store.acting import Operator
from chimeway.store.pool import Database, open_database
from kit.bare import bare_database, run
from kit.logins import as_role, logins
from store.door import Door, opened
from store.journey import journey
from store.plain_sql import plain
from store.why_cases import mention

EVE = Operator(None, "eve", None)
MARK = "select waiting_for_node from chimeway.deliveries where id = $1"


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def _begun(world: Door, *recipients: str) -> list[str]:
    return [one.answer for one in await world.begin(*[await world.beginning(each) for each in recipients])]


async def _restored(world: Door, ago_h: float = 0) -> restoring.Begun:
    now = await world.sql("select chimeway.clock()")
    return await restoring.begin(world.database, now - timedelta(hours=ago_h), "test")


async def test_what_was_not_sent_in_the_backup_is_held_and_nothing_else(clock_database: Database) -> None:
    """It leaves no attempt, waits in nobody's way, and goes when it is let go; a newer one goes at once."""
    world = await opened(clock_database)
    await world.to_email("ada")
    assert await _restored(world) == restoring.Begun(again=False, deliveries=1, runs=1)
    assert await _restored(world) == restoring.Begun(again=True, deliveries=0, runs=0)
    await world.pass_time(1)
    await world.to_email("new")
    assert await _begun(world, "ada", "new") == ["gone", "begun"]
    ada = await world.delivery("ada")
    assert await world.sql(MARK, ada) == "after_restore"
    (held,) = await restoring.held(world.database, restoring.Which(workflow="escalation"), 10)
    assert (held.delivery_id, held.recipient_id, held.channel) == (ada, "ada", "email")
    assert await restoring.held(world.database, restoring.Which(tenant="another"), 10) == []
    assert await restoring.decide(world.database, EVE, [ada], release=True) == [(ada, "released")]
    assert await restoring.decide(world.database, EVE, [ada], release=False) == [(ada, "decided")]
    assert await _begun(world, "ada") == ["begun"]


async def test_what_a_doubted_journey_plans_is_held_until_the_lost_time_is_over_again(
    clock_database: Database,
) -> None:
    """Two were due in the lost hours: what they plan within as many is held, and what comes later goes."""
    world = await opened(clock_database)
    for recipient in ("soon", "late"):
        await world.start(recipient)
    await world.pass_time(3)
    assert await _restored(world, ago_h=2.5) == restoring.Begun(again=False, deliveries=0, runs=2)
    await world.progress("soon")
    await world.pass_time(2.6)
    await world.progress("late")
    assert await _begun(world, "soon", "late") == ["gone", "begun"]


async def test_what_is_given_up_lets_its_journey_go_on_and_keeps_the_doubt(clock_database: Database) -> None:
    """The delivery is superseded, the run is woken, and what is asked for another is no harm."""
    world = await opened(clock_database)
    await world.to_email("ada", "bob")
    await _restored(world)
    ada = await world.delivery("ada")
    assert await restoring.decide(world.database, EVE, [ada, world.runs["bob"]], release=False) == [
        (ada, "dropped"),
        (world.runs["bob"], "gone"),
    ]
    email = (await world.deliveries("ada"))[-1]
    assert (email["status"], email["suppression_reason"], email["waiting_for_node"]) == (
        "cancelled", "superseded", None,
    )  # fmt: skip
    assert (await world.row("ada"))["wake_at"] is not None
    doubted = "select count(*) from chimeway.restored_runs where run_id = $1"
    assert await world.sql(doubted, world.runs["ada"]) == 1
    await world.progress("ada")
    assert (await world.row("ada"))["state"] == "completed"
    bob = await world.delivery("bob")
    await world.sql("select count(*) from chimeway.cancel($1)", world.runs["bob"])
    assert await restoring.decide(world.database, EVE, [bob], release=True) == [(bob, "ended")]


@pytest.mark.parametrize("role", [None, "operator"])
async def test_the_oldest_schema_that_is_served_tells_and_notes_it(
    server_url: str, names: Mapping[str, str], role: str | None
) -> None:
    """A reader asks why, before, meanwhile and after; whoever decides is noted."""
    async with (
        bare_database(server_url, version=migrations.OLDEST) as url,
        open_database(url, size=2) as owner,
    ):
        await run(url, "select chimeway.grant_roles()")
        async with (
            journey(owner, mention(), email="ada@example.org", phone="+44") as ada,
            Chimeway.connect(as_role(url, names["reader"])) as reader,
            open_database(as_role(url, names[role]) if role else url, size=1) as operator,
        ):
            assert (await reader.explain(ada.run_id)).deliveries[0].restored is None
            await restoring.begin(owner, await ada.now(), "node")
            (held,) = await restoring.held(reader.database, restoring.Which(), 10)
            assert "has been held back since" in (await reader.explain(ada.run_id)).why[1]
            await restoring.decide(operator, EVE, [held.delivery_id], release=True)
            assert "and eve released it at" in (await reader.explain(ada.run_id)).why[1]
        async with plain(url) as connection:
            noted = "select who || ' ' || action from chimeway.operator_actions where delivery_id = $1"
            assert await connection.fetchval(noted, held.delivery_id) == "eve release"
