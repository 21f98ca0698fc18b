"""`/v1` against its own description, by Schemathesis: all checks, a real node, two tenants' tokens."""

import asyncio
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from chimeway.store.pool import Database
from kit.api import KEY, MENTION, Person, secret
from kit.daemon import running_daemon
from kit.door import SECRET
from kit.fuzzing import Tried, tried
from kit.home import email, home, in_app, wait, workflow

STREAM: Final = "/v1/inbox/stream"
SHORT: Final[Mapping[str, Any]] = {
    "request-timeout": 10,
    "operations": [{"include-path": STREAM, "generation": {"mode": "positive"}}],
}
"""A stream that is not told when to end would be read for ever: it is told each time."""
FEW: Final = (
    "/v1/trigger",
    "/v1/runs",
    "/v1/runs/{run_id}",
    "/v1/signals",
    "/v1/inbox/items",
    "/v1/workflows",
)
QUICK: Final[Mapping[str, Any]] = {
    "phases": {"coverage": {"enabled": False}, "stateful": {"enabled": False}},
    **SHORT,
}
EXCUSED: Final[Mapping[str, str]] = {
    '"code":"idempotency_key_reused"': "by chance the same key comes with another body",
    '"field":"cursor"': "nobody makes cursors but pages",
    '"field":"query.recipient_id"': "an inbox token needs no recipient, an API token does",
    **dict.fromkeys(
        (f'"field":"{name}' for name in ("preferences", "addresses", "email", "phone", "timezone", "locale")),
        "zones, addresses and preferences mean something",
    ),
    '"code":"invalid_definition"': "so does a definition",
}
"""Why what fits its schema is refused nevertheless: no schema can say it."""


def _within_reach(description: Any) -> Any:
    """Leave out the name of another tenant, which is always refused (see the matrix); let streams end."""
    for methods in description["paths"].values():
        for one in methods.values():
            one["parameters"] = [each for each in one.get("parameters", ()) if each["name"] != "tenant_id"]
    for each in description["paths"][STREAM]["get"]["parameters"]:
        if each["name"] == "ends_after_s":
            each |= {"required": True, "schema": {"type": "number", "minimum": 0.001, "maximum": 0.02}}
    return description


async def _node_tried(
    database: Database,
    url: str,
    folder: Path,
    *,
    examples: int,
    settings: Mapping[str, Any],
    paths: Collection[str] = (),
) -> Tried:
    where = home(folder, workflow(in_app(), wait(duration="PT2H"), email(), key=MENTION.definition.key))
    bind = {
        "HTTP_BIND": "127.0.0.1:0", "HTTP_RATE": "0",
        "INBOX_KEYS": KEY.decode(), "UNSUBSCRIBE_KEYS": KEY.decode(),
        "FEEDBACK": json.dumps({"own": {"kind": "signed", "secret": SECRET}}),
    }  # fmt: skip
    async with running_daemon(url, where, **bind) as daemon:
        port = (await daemon.event("http.listening"))["port"]
        base = f"http://127.0.0.1:{port}"
        people = {
            name: await secret(database, "produce", "read", "operate", tenant=name) for name in ("a", "b")
        }
        async with httpx2.AsyncClient(base_url=base, timeout=20) as client:
            for token in people.values():
                await Person(client, token).trigger("ada", data={"document_id": "d"})
            description = _within_reach((await client.get("/v1/openapi.json")).json())
            if paths:
                description["paths"] = {path: description["paths"][path] for path in paths}
        found = await asyncio.to_thread(
            tried, base, description, people, folder, EXCUSED, examples=examples, settings=settings
        )
        chief = {"chief": await secret(database, "operate", tenant=None)}
        of_all = {path: one for path, one in description["paths"].items() if path.startswith("/v1/workflows")}
        found.add(
            await asyncio.to_thread(
                tried, base, {**description, "paths": of_all}, chief, folder, EXCUSED,
                examples=examples, settings=settings,
            )
        )  # fmt: skip
        assert daemon.seen("http.failed") == []
    return found


async def test_a_sample(database: Database, database_url: str, tmp_path: Path) -> None:
    """A few paths: the examples of the description, and a request of each kind by chance."""
    found = await _node_tried(database, database_url, tmp_path, examples=1, settings=QUICK, paths=FEW)
    _holds(found, operations=6, requests=12)


@pytest.mark.big
@pytest.mark.timeout(900)
async def test_every_route_with_every_check(database: Database, database_url: str, tmp_path: Path) -> None:
    """Examples, edges of each schema, chance, and requests that follow from each other."""
    found = await _node_tried(database, database_url, tmp_path, examples=40, settings=SHORT)
    _holds(found, operations=30, requests=1_000)


def _holds(found: Tried, *, operations: int, requests: int) -> None:
    print(found.requests, found.statuses, found.checks)
    for (operation, check), told in found.failures.items():
        print("=====", operation, check, "\n", told)
    assert not found.failures
    assert len(found.operations) > operations
    assert found.requests > requests
    assert {"object_level_authorization", "not_a_server_error"} <= found.checks.keys()
