"""The web doors as they are: a real server on loopback, how a provider speaks to it, and who unsubscribes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx2
from starlette.types import ASGIApp

from chimeway.clock import Clock, SystemClock
from chimeway.feedback.signed import sign
from chimeway.setting_tables import Place
from chimeway.store.pool import Database
from chimeway.web.auth import Tokens
from chimeway.web.console import site as console
from chimeway.web.feedback import FeedbackDoor
from chimeway.web.fetching import Fetch
from chimeway.web.server import HttpServer, Site, application, bound
from chimeway.web.sources import read_sources
from chimeway.web.unsubscribe_page import Pages
from chimeway.web.unsubscribing import UnsubscribeDoor

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOURCES: Final[Mapping[str, Any]] = {
    "own": {"kind": "signed", "secret": SECRET},
    "theirs": {"kind": "signed", "secret": SECRET, "tenant": "org_456"},
    "postmark": {"kind": "postmark", "user": "chimeway", "password": "pass"},
}


class Provider:
    """Somebody who tells what became of deliveries."""

    def __init__(self, client: httpx2.AsyncClient, server: HttpServer | None = None) -> None:
        """Take a client that knows the address."""
        self.client = client
        self.server = server

    async def says(self, *events: Mapping[str, Any], source: str = "own") -> httpx2.Response:
        """Post signed events."""
        body = json.dumps({"events": events}).encode()
        headers = sign(SECRET, "msg-1", datetime.now(UTC), body)
        return await self.client.post(f"/v1/feedback/{source}", content=body, headers=headers)

    async def answers(self, *events: Mapping[str, Any], source: str = "own") -> list[str]:
        """Post signed events, and return the answer to each."""
        answered = await self.says(*events, source=source)
        assert answered.status_code == 200, answered.text
        return [each["answer"] for each in answered.json()["events"]]

    async def postmark(self, told: Mapping[str, Any]) -> httpx2.Response:
        """Post as Postmark does."""
        return await self.client.post("/v1/feedback/postmark", json=told, auth=("chimeway", "pass"))


@asynccontextmanager
async def door(
    database: Database, sources: Mapping[str, Any] = SOURCES, fetch: Fetch | None = None
) -> AsyncIterator[Provider]:
    """Serve while the block lasts."""
    read = read_sources(sources, Place("feedback", "a test"))
    site = Site(feedback=FeedbackDoor(database, SystemClock(), read, fetch).routes())
    async with served(application(site)) as (client, server):
        yield Provider(client, server)


@asynccontextmanager
async def unsubscribe_door(
    database: Database, *keys: bytes, below: str = "", pages: Pages | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Answer links while the block lasts."""
    site = Site(unsubscribing=UnsubscribeDoor(database, keys, pages).routes(below))
    async with served(application(site)) as (client, _):
        yield client


@asynccontextmanager
async def console_door(
    database: Database, clock: Clock | None = None, public_url: str | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the operators' pages while the block lasts."""
    now = clock or SystemClock()
    pages = console.routes(database, Tokens(database, now), now, timedelta(seconds=5), public_url)
    async with served(application(Site(console=pages))) as (client, _):
        yield client


@asynccontextmanager
async def served(
    app: ASGIApp, ending: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[httpx2.AsyncClient, HttpServer]]:
    """Serve an application on a free port of loopback while the block lasts."""
    listening = bound("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = HttpServer(app, listening, ending)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        try:
            async with httpx2.AsyncClient(base_url=address, timeout=20) as client:
                yield client, server
        finally:
            server.close()
