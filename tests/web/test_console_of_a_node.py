"""The operators' pages of real nodes: what is done on one of them the nodes do at once."""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from chimeway.store import tokens
from chimeway.store.definitions import register
from chimeway.store.pool import Database, open_database
from chimeway.store.verify import verify
from chimeway.web.console.guard import form_token
from chimeway.workflow.parse import parse
from kit.daemon import Daemon, running_daemon
from kit.door import console_door
from kit.home import GUIDE, home
from kit.logins import as_role, logins
from kit.psql import psql
from kit.rows import rows_of
from store.door import Door
from store.verify_world import ESCALATION

HOURS = GUIDE.replace("PT2S", "PT2H")
START = (
    "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => '{\"document_id\": \"d\"}')"
)


async def where(daemon: Daemon) -> str:
    """Return where a node listens."""
    told = await daemon.event("http.listening")
    return f"http://127.0.0.1:{told['port']}"


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def test_a_node_without_an_owners_rights_can_do_all_of_it(
    database: Database, names: Mapping[str, str]
) -> None:
    """The role of nodes may begin sessions, act, count and carry out plans, and write down who did."""
    world = Door(database)
    await register(database, parse(ESCALATION))
    for person in ("ada", "bob"):
        await world.start(person)
    _, secret = await tokens.make(database, "night", None, ["operate"], None)
    await world.sql("select chimeway.grant_roles()")
    async with (
        open_database(as_role(database.url, names["daemon"])) as as_node,
        console_door(as_node) as http,
    ):
        mine = {"Origin": str(http.base_url).rstrip("/")}
        assert (await http.post("/sign-in", data={"token": secret}, headers=mine)).status_code == 303
        csrf = {"csrf": form_token(http.cookies["chimeway_console"])}
        for action in ("hold", "resume", "wake", "retime"):
            path = f"/runs/{world.runs['ada']}/{action}"
            assert (await http.post(path, data=csrf, headers=mine)).status_code == 303, action
        for action in ("pause", "unpause"):
            form = {**csrf, "key": "escalation"}
            assert (await http.post(f"/workflow/{action}", data=form, headers=mine)).status_code == 303
        form = {**csrf, "of": "waiting", "tenant": "default", "action": "cancel"}
        plan = (await http.post("/plans", data=form, headers=mine)).headers["location"]
        assert (await http.post(plan, data=csrf, headers=mine)).status_code == 303
        assert "2</strong> stopped" in (await http.get(plan)).text
        for path in (
            "/",
            "/runs",
            "/overdue",
            "/deliveries",
            "/nodes",
            "/audit",
            "/workflow?key=escalation",
        ):
            assert (await http.get(path)).status_code == 200, path
        assert (await http.post("/sign-out", headers=mine)).status_code == 303
    assert await world.sql("select count(*) from chimeway.console_sessions") == 0
    assert await verify(database) == []


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
