"""The operators' pages of real nodes: what is done on one of them the nodes do at once."""

import re
import time
from pathlib import Path

import httpx2

from chimeway.store import tokens
from chimeway.store.pool import Database
from chimeway.store.verify import verify
from kit.daemon import Daemon, running_daemon
from kit.home import GUIDE, home
from kit.psql import psql
from kit.rows import rows_of

HOURS = GUIDE.replace("PT2S", "PT2H")
START = (
    "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => '{\"document_id\": \"d\"}')"
)


async def where(daemon: Daemon) -> str:
    """Return where a node listens."""
    told = await daemon.event("http.listening")
    return f"http://127.0.0.1:{told['port']}"


async def test_a_wait_is_moved_on_one_node_and_the_session_holds_on_the_other(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Signed in at the first, moved at the second; the run goes on by itself; who looks on keeps no node."""
    place = home(tmp_path, HOURS)
    _, secret = await tokens.make(database, "night", "default", ["operate"], None)
    async with (
        running_daemon(database_url, place, name="one", HTTP_BIND="127.0.0.1:0") as one,
        running_daemon(database_url, place, name="two", HTTP_BIND="127.0.0.1:0") as two,
        rows_of(database_url) as rows,
        httpx2.AsyncClient(timeout=20) as http,
    ):
        (run,) = await psql(database_url, START)
        await rows.until(run, "waiting")
        first, second = await where(one), await where(two)
        answer = await http.post(f"{first}/sign-in", data={"token": secret}, headers={"Origin": first})
        assert answer.status_code == 303
        http.cookies.update(answer.cookies)
        path = f"{second}/runs/{run}/retime"
        page = (await http.get(path)).text
        found = re.search(r'name="csrf" value="(\w+)"', page)
        assert found is not None, page
        events = {"Accept": "text/event-stream"}
        async with http.stream("GET", f"{second}/runs/{run}", headers=events) as stream:
            assert stream.status_code == 200
            form = {"csrf": found[1], "how": "now"}
            moved = await http.post(path, data=form, headers={"Origin": second})
            assert moved.headers["location"] == f"/runs/{run}?did=retimed"
            began = time.monotonic()
            await rows.until(run, "active", "completed")
            assert time.monotonic() - began < 5, "nobody waits for two hours any more"
            began = time.monotonic()
            assert await two.stopped() == 0
            assert time.monotonic() - began < 4, "who looks on is let go"
        assert await verify(database) == []
