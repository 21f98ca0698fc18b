"""What the pages say of what is late, fails, works and was done, beside what SQL says: in a small world."""

from typing import Any

import pytest

from browser.browsing import Tab, browsing, needs_chromium, token
from chimeway.store import nodes
from chimeway.store.pool import Database
from store.verify_world import World, played

pytestmark = [pytest.mark.big, pytest.mark.timeout(120), needs_chromium]


async def shows(tab: Tab, path: str, world: World, sql: str, *args: Any, at: int = 0) -> list[str]:
    """Assert that the lists of a page name just those, in this order, whom SQL names; return the rows."""
    await tab.open(path)
    rows = await tab.rows()
    assert [row.split()[0] for row in rows[at:]] == (await world.sql(sql, *args) or []), path
    return rows


async def test_what_is_overdue(clock_database: Database) -> None:
    """Nothing at first; then who should have moved, the latest first, and a plan of just those."""
    world = await played(clock_database)
    secret = await token(clock_database, "operate")
    async with browsing(clock_database) as tab:
        await tab.sign_in(secret)
        await tab.open("/overdue")
        assert "Nothing is overdue." in await tab.text()
    await world.pass_time(2.5)
    async with browsing(clock_database) as tab:
        await tab.sign_in(secret)
        late = """select array_agg(recipient_id order by wake_at, id) from chimeway.workflow_runs
                   where wake_at < chimeway.clock() - interval '5 s' and held_reason is null"""
        (row,) = await shows(tab, "/overdue", world, late)
        assert "30 min ago" in row
        assert "1 run is overdue" in await tab.text()
        await shows(tab, "/runs?show=overdue", world, late)
        await tab.open("/")
        assert "1 overdue" in await tab.text("#live")
        await tab.open("/overdue")
        await tab.page.click("text=Wake these…")
        await tab.page.wait_for_url("**/plans/**")
        await tab.page.click("main button[type=submit]")
        await tab.page.wait_for_selector("[role=status]")
        assert "1 woken" in await tab.text()
        assert await tab.faults() == []


async def test_what_fails(clock_database: Database) -> None:
    """What is tried again, and what was given up, with why; and it is tried now from its run's page."""
    world = await played(clock_database)
    await world.attempt("skipper", "failed", error_class="transient", note="451 try again later")
    await world.sql(
        """update chimeway.deliveries
              set status = 'failed', next_attempt_at = chimeway.clock() + interval '4 min' where id = $1""",
        await world.delivery("skipper"),
    )
    await world.sql(
        """update chimeway.deliveries set status = 'cancelled', suppression_reason = 'permanent_failure',
                  note = '550 no such user', terminal_at = chimeway.clock() where id = $1""",
        await world.delivery("sending"),
    )
    async with browsing(clock_database) as tab:
        await tab.sign_in(await token(clock_database, "operate"))
        failing = """select array_agg(recipient_id order by next_attempt_at is null, next_attempt_at)
                       from chimeway.deliveries
                      where status = 'failed' or suppression_reason = 'permanent_failure'"""
        again, never = await shows(tab, "/deliveries", world, failing)
        assert "transient" in again
        assert "451 try again later" in again
        assert "550 no such user" in never
        await tab.open("/")
        assert "1 message being retried" in await tab.text("#live")
        assert "2 messages failed" in await tab.text("#live")
        await tab.open(f"/runs/{world.runs['skipper']}")
        await tab.page.click("text=Try now…")
        await tab.page.wait_for_url("**/retry/**")
        await tab.page.click("main button[type=submit]")
        await tab.page.wait_for_selector("[role=status]")
        assert "tried again now" in await tab.text()
        who = "select array_agg(who order by at desc) from chimeway.operator_actions"
        assert await world.sql(who) == ["night shift"]
        await tab.open("/audit")
        (row,) = await tab.rows()
        assert row.startswith("night shift retry run …" + str(world.runs["skipper"])[-8:])


async def test_who_works_and_who_is_written_to(clock_database: Database) -> None:
    """Nodes with their channels, and shards that are nobody's; a profile as it is, with what it wishes."""
    world = await played(clock_database)
    ids = [await world.sql("select gen_random_uuid()") for _ in range(2)]
    for number, node in enumerate(ids):
        await nodes.enrol(clock_database, node, f"berlin-{number}", "1.2.3", ["email", "sms"][: number + 1])
    await world.sql("select chimeway.begin_lease($1, $1, interval '1 h', false)", ids[0])
    await world.sql("update chimeway.shard_owners set owner = $1 where shard < 100", ids[0])
    await world.sql(
        """select chimeway.identify('default', 'waiter', '{"email": "waiter@example.org",
               "timezone": "Asia/Tokyo", "preferences": {"channels": {"sms": false}}}')"""
    )
    async with browsing(clock_database) as tab:
        await tab.sign_in(await token(clock_database, "read"))
        first, second = await shows(
            tab, "/nodes", world, "select array_agg(name order by started_at, id) from chimeway.nodes"
        )
        assert "100 of 256" in first
        assert "working" in first
        assert "email, sms" in second
        assert "Nobody who lives has shards 100-255" in await tab.text()
        await tab.open("/recipient?tenant=default&id=waiter")
        text = await tab.text()
        assert "waiter@example.org" in text
        assert "Asia/Tokyo" in text
        assert '"sms": false' in text
        assert len(await tab.rows()) == await world.sql(
            "select count(*) from chimeway.workflow_runs where recipient_id = 'waiter'"
        )
        await tab.open("/workflows")
        assert len(await tab.rows()) == await world.sql(
            "select count(distinct key) from chimeway.workflow_definitions"
        )
        assert await tab.faults() == []
