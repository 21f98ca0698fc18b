"""The operators' pages in a real Chromium, as much as fits in every run of the tests."""

import pytest

from browser.browsing import browsing, needs_chromium, token
from chimeway.store.pool import Database
from store.verify_world import played

pytestmark = [needs_chromium, pytest.mark.timeout(60)]


async def test_somebody_signs_in_and_finds_out_why(clock_database: Database) -> None:
    """From the token to the run: what SQL says is shown, and neither axe nor the browser complains."""
    world = await played(clock_database)
    secret = await token(clock_database, "operate")
    async with browsing(clock_database) as tab:
        await tab.sign_in(secret)
        await tab.open("/runs")
        rows = await tab.rows()
        assert len(rows) == await world.sql("select count(*) from chimeway.workflow_runs")
        assert await tab.faults() == []
        await tab.open(f"/runs/{world.runs['skipper']}")
        assert await tab.page.locator(".timeline li.signal").inner_text() != ""
        assert await tab.page.locator(".skip").count() == 1, "no word of people's is a class of ours"
        await tab.open("/runs")
        await tab.page.click("text=reader >> nth=0")
        await tab.page.wait_for_selector("#why")
        assert "stopped" in await tab.text(".top")
        assert "read came at" in await tab.text(".why")
        shown = await tab.page.locator(".timeline li.transition").count()
        sql = "select count(*) from chimeway.workflow_transitions where run_id = $1"
        assert shown == await world.sql(sql, world.runs["reader"])
        assert await tab.page.locator(".journey .here").count() == 1
        assert await tab.faults() == []
