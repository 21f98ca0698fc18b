"""`/readyz`: what is asked, in which order, and what is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx2
import pytest

from chimeway.daemon import readiness as readiness_module
from chimeway.daemon.readiness import Readiness, Stage
from chimeway.store.health import Trouble
from chimeway.store.pool import Database, open_database
from chimeway.web.ready import ReadyDoor
from chimeway.web.server import Site, application


@asynccontextmanager
async def asking(state: Readiness, database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """Ask a door in this process."""
    app = application(Site(ready=ReadyDoor(lambda: state.asked(database)).routes()))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://node") as client:
        yield client


@pytest.mark.parametrize(
    ("stage", "status"), [("starting", 503), ("standing_by", 200), ("working", 200), ("draining", 503)]
)
async def test_where_a_node_is_in_its_life(stage: Stage, status: int, database: Database) -> None:
    """Who works is ready, and so is who stands by; who begins or ends is not."""
    async with asking(Readiness(stage), database) as client:
        answered = await client.get("/readyz")
    assert answered.status_code == status
    assert (answered.json()["status"] if status == 200 else answered.json()["type"]).endswith(stage)


async def test_what_its_work_has_met_is_said(database: Database) -> None:
    """A trouble is told by its kind, with the server's own words."""
    state = Readiness("working")
    now = asyncio.get_running_loop().time()
    state.health.met("a call", Trouble("refused", "commit", now - 60, "no space left", "53100"))
    async with asking(state, database) as client:
        answered = await client.get("/readyz")
        assert (answered.status_code, answered.json()["type"]) == (503, "urn:chimeway:database_refused")
        assert "no space left" in answered.json()["detail"]
        assert answered.headers["Retry-After"] == "1"
        state.health.over("a call", through=True)
        assert (await client.get("/readyz")).json() == {"status": "working"}


async def test_a_node_that_has_nothing_to_do_asks(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has met no trouble yet: so the database is asked, not too often, and not for long."""
    monkeypatch.setattr(readiness_module, "_REMEMBERED_S", 0.0)
    monkeypatch.setattr(readiness_module, "_ANSWER_S", 20.0)
    state = Readiness("standing_by")
    async with (
        open_database(database_url, size=1) as database,
        asking(state, database) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        async with database.acquire() as held:
            with monkeypatch.context() as patch:
                patch.setattr(state._question, "_waits_s", 0.2)
                slow = await client.get("/readyz")
            assert slow.json()["type"] == "urn:chimeway:database_slow"
            pid = await held.fetchval("select pg_backend_pid()")
        killer = await asyncpg.connect(database_url)
        await killer.execute("select pg_terminate_backend($1, 5000)", pid)
        await killer.close()
        codes = {(await client.get("/readyz")).status_code for _ in range(2)}
        assert codes <= {200, 503}
        assert (await client.get("/readyz")).status_code == 200, "it has connected anew"
