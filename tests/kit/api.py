"""`/v1` as it is: a real server on loopback, and people with tokens who ask it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import httpx2

from chimeway import Chimeway, Notify, Wait, Workflow, signal_received
from chimeway.clock import SystemClock
from chimeway.store import tokens
from chimeway.store.pool import Database
from chimeway.web.api.application import Api
from chimeway.web.auth import Tokens
from chimeway.web.server import Site, application
from kit.door import served

KEY: Final = b"k" * 40
OTHER_KEY: Final = b"o" * 40
ORIGIN: Final = "https://app.example.org"
MENTION: Final = Workflow(
    key="mention_escalation",
    version=1,
    steps=[
        Notify("in_app", channel="in_app", render_key="mention"),
        Wait("wait", duration="PT2H", stop_conditions=[signal_received("notification_read")]),
        Notify("email", channel="email", render_key="mention"),
    ],
)

FAILED: Final = """
insert into chimeway.deliveries (id, shard, run_id, tenant_id, recipient_id, visit, step_id, channel,
       render_key, status, attempt_count, failed_count, next_attempt_at, last_outcome, created_at)
select gen_random_uuid(), shard, id, tenant_id, recipient_id, 1, 's', 'email', 'k', 'failed', 1, 1,
       now() + interval '1 hour' + interval '1 minute' * (row_number() over () % 2), 'failed', now()
  from chimeway.workflow_runs"""
"""Each run has a message that failed, and is tried again in an hour or so."""


class Person:
    """Somebody with a token, or without one."""

    def __init__(self, client: httpx2.AsyncClient, secret: str | None) -> None:
        """Take a client that knows the address."""
        self.client = client
        self.secret = secret

    async def ask(self, method: str, path: str, said: Any = None, **headers: str) -> httpx2.Response:
        """Ask; names of headers are written with `_`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.secret is not None:
            given["Authorization"] = f"Bearer {self.secret}"
        if said is None:
            return await self.client.request(method, path, headers=given)
        return await self.client.request(method, path, json=said, headers=given)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Read."""
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, said: Any = None, **headers: str) -> httpx2.Response:
        """Do."""
        return await self.ask("POST", path, said, **headers)

    async def trigger(self, *recipients: str, **more: Any) -> dict[str, str]:
        """Begin a mention for some, and return their runs."""
        said = {"workflow": MENTION.definition.key, "recipients": list(recipients), **more}
        answered = await self.post("/v1/trigger", said)
        assert answered.is_success, answered.text
        return {run["recipient_id"]: run["run_id"] for run in answered.json()["runs"]}


class World:
    """A database with a server before it, and people."""

    def __init__(self, database: Database, client: httpx2.AsyncClient, api: Api) -> None:
        """Take all three."""
        self.database = database
        self.client = client
        self.api = api
        self.chimeway = Chimeway(database)

    async def person(
        self, *scopes: str, tenant: str | None = "a", lasts: timedelta | None = None, name: str = "somebody"
    ) -> Person:
        """Make a token, and return who has it."""
        return Person(
            self.client, await secret(self.database, *scopes, tenant=tenant, lasts=lasts, name=name)
        )

    def with_secret(self, secret: str | None) -> Person:
        """Return somebody with this secret."""
        return Person(self.client, secret)


async def secret(
    database: Database,
    *scopes: str,
    tenant: str | None = "a",
    lasts: timedelta | None = None,
    name: str = "somebody",
) -> str:
    """Make a token, and return its secret."""
    return (await tokens.make(database, name, tenant, scopes, lasts))[1]


@asynccontextmanager
async def world(database: Database, keys: Sequence[bytes] = (KEY,)) -> AsyncIterator[World]:
    """Serve `/v1` while the block lasts; the mention is registered."""
    clock = SystemClock()
    api = Api(database, clock, Tokens(database, clock), keys, {ORIGIN})
    async with served(application(Site(api=api.routes())), api.streams.end) as (client, _):
        found = World(database, client, api)
        await found.chimeway.register(MENTION)
        yield found


async def together(*what: Any) -> list[Any]:
    """Do several things at once."""
    return list(await asyncio.gather(*what))
