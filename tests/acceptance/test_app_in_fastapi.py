"""`app.running` in the lifespan of a FastAPI application, under its own test client."""

import logging
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from chimeway import App, Chimeway, Message, Notify, Workflow
from chimeway.errors import SchemaMismatch
from kit.waiting import DEADLINE_S

WELCOME = Workflow(key="welcome", version=1, steps=[Notify("only", channel="sms", render_key="welcome")])


def web_on(url: str, sent: list[str]) -> FastAPI:
    """Return a web application that has a node in its lifespan."""
    app = App(workflows=[WELCOME])
    app.render("welcome")(lambda context: f"Hello {context.recipient.id}")

    @app.channel("sms", needs_address=False)
    async def send(message: Message) -> None:
        sent.append(message.body)

    @asynccontextmanager
    async def lifespan(_web: FastAPI) -> AsyncIterator[dict[str, Chimeway]]:
        async with app.running(url) as chimeway:
            yield {"chimeway": chimeway}

    web = FastAPI(lifespan=lifespan)

    @web.post("/users/{user}")
    async def register(user: str, request: Request) -> dict[str, str]:
        chimeway: Chimeway = request.state.chimeway
        receipt = await chimeway.trigger(WELCOME, recipients=[user])
        return {"run_id": str(receipt.run_ids[0])}

    @web.get("/runs/{run_id}")
    async def look(run_id: str, request: Request) -> dict[str, str]:
        chimeway: Chimeway = request.state.chimeway
        return {"state": (await chimeway.get_run(run_id)).state}

    @web.post("/disaster")
    async def break_it(request: Request) -> None:
        chimeway: Chimeway = request.state.chimeway
        async with chimeway._database.acquire() as connection:
            await connection.execute("alter table chimeway.workflow_runs rename to gone")

    return web


def _until_completed(client: TestClient, run_id: str) -> None:
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        if client.get(f"/runs/{run_id}").json()["state"] == "completed":
            return
    pytest.fail("the run does not complete")


def test_a_node_in_the_lifespan(database_url: str) -> None:
    """Requests trigger, the node of the lifespan sends; the host's signals and logging are untouched."""
    sent: list[str] = []
    before = (signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:], logging.getLogger().level)
    with TestClient(web_on(database_url, sent)) as client:
        _until_completed(client, client.post("/users/ada").json()["run_id"])
        after = (signal.getsignal(signal.SIGTERM), logging.getLogger().handlers[:], logging.getLogger().level)
        assert after == before
    assert sent == ["Hello ada"]


def test_one_after_the_other_and_both_at_once(database_url: str, server_url: str) -> None:
    """The same application can be begun again, and two of them can live in one process."""
    sent: list[str] = []
    web, other = web_on(database_url, sent), web_on(database_url, sent)
    with TestClient(web) as client:
        _until_completed(client, client.post("/users/ada").json()["run_id"])
    with TestClient(web) as client, TestClient(other) as standing_by:
        _until_completed(client, client.post("/users/bob").json()["run_id"])
        _until_completed(standing_by, standing_by.post("/users/cyd").json()["run_id"])
    assert sent == ["Hello ada", "Hello bob", "Hello cyd"]


def test_a_node_that_dies_under_the_web(database_url: str) -> None:
    """The node's death ends the lifespan with its error, which the server that runs it is told."""
    with pytest.raises(SchemaMismatch, match=r"chimeway.workflow_runs"):
        _break(TestClient(web_on(database_url, [])))


def _break(web: TestClient) -> None:
    with web as client:
        client.post("/disaster")
        client.task.exception(timeout=30)
