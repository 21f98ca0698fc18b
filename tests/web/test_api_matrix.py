"""Every route of a running node, as its own description has them, for each who may not: all are refused.

And nothing that is tenant a's has changed afterwards, nor was a word of it told.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from chimeway.store import tokens
from chimeway.store.pool import Database
from kit.api import KEY, MENTION, Person, secret
from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

MARK: Final = "zebrafish"
"""What only tenant a knows."""
BODIES: Final[Mapping[str, Any]] = {
    "trigger": {"workflow": MENTION.definition.key, "recipients": ["ada"]},
    "triggerMany": {"workflow": MENTION.definition.key, "triggers": [{"recipient_ids": ["ada"]}]},
    "signal": {"type": "notification_read", "actor_id": "ada"},
    "signalMany": {"signals": [{"type": "notification_read", "actor_id": "ada"}]},
    "identify": {"email": "eve@example.org"},
    "writePreferences": {"preferences": {"channels": {"email": False}}},
    "unsubscribeRecipient": {"workflow": MENTION.definition.key, "channel": "email"},
    "resubscribeRecipient": {"workflow": MENTION.definition.key, "channel": "email"},
    "cancelByKey": {"cancellation_key": "doc_1"},
    "cancelRun": {}, "holdRun": {}, "resumeRun": {}, "retryDelivery": {},
    "pauseWorkflow": {}, "unpauseWorkflow": {},
    "mintInboxToken": {"recipient_id": "ada"},
    "registerWorkflow": workflow(in_app(), key="evil"),
    "markItems": {"mark": "read"},
    "markAllItems": {"mark": "read"},
}  # fmt: skip
NOT_FOUND: Final = {"getRun", "explainRun", "cancelRun", "holdRun", "resumeRun", "retryDelivery"}
"""What names something of a tenant by its id: it is not there for who opens another."""
OF_ALL: Final = {"registerWorkflow", "pauseWorkflow", "unpauseWorkflow"}
OF_NONE: Final = {"listWorkflows", "getWorkflow"}
"""Definitions are of no tenant: who reads one tenant's runs may read them."""
ROWS_OF_A: Final = """
select md5(string_agg(x.row, ';' order by x.row)) from (
    select r::text as row from chimeway.workflow_runs r where r.tenant_id = 'a'
    union all select s::text from chimeway.signals s where s.tenant_id = 'a'
    union all select d::text from chimeway.deliveries d where d.tenant_id = 'a'
    union all select i::text from chimeway.inbox_items i where i.tenant_id = 'a'
    union all select p::text from chimeway.recipients p where p.tenant_id = 'a'
    union all select w::text from chimeway.workflow_definitions w
    union all select o::text from chimeway.operator_actions o) x"""


class Operation(NamedTuple):
    """One route, ready to be asked."""

    id: str
    method: str
    path: str
    scopes: frozenset[str]
    body: Any
    inbox: bool


def operations(description: Mapping[str, Any], ids: Mapping[str, str]) -> Iterator[Operation]:
    """Go through all that needs a token, with tenant a's ids in the paths."""
    for path, methods in description["paths"].items():
        for method, one in methods.items():
            if not one["security"]:
                continue
            body = BODIES[one["operationId"]] if "requestBody" in one else None
            if one["operationId"] == "markItems":
                body = {**body, "item_ids": [ids["item_id"]]}
            inbox = path.startswith("/v1/inbox/")
            where = path.format(**ids) + ("?ends_after_s=0.05" if path.endswith("stream") else "")
            scopes = frozenset(one["x-scope"].split(" or "))
            yield Operation(one["operationId"], method.upper(), where, scopes, body, inbox)


def with_query(path: str, **more: str) -> str:
    """Return the path with more in its query."""
    joined = "&".join(f"{name}={value}" for name, value in more.items())
    return f"{path}{'&' if '?' in path else '?'}{joined}" if joined else path


async def _nobody(client: httpx2.AsyncClient, database: Database, all_: list[Operation]) -> None:
    expired = await secret(database, "produce", "read", "operate", lasts=timedelta(milliseconds=1))
    made, revoked = await tokens.make(database, "gone", "a", ["produce", "read", "operate"], None)
    await tokens.revoke(database, made.id)
    for given in (None, "cw_" + "A" * 43, expired, revoked):
        for one in all_:
            answered = await Person(client, given).ask(one.method, one.path, one.body)
            assert (answered.status_code, answered.json()["code"]) == (401, "unauthorized"), (one, given)
            assert answered.headers["www-authenticate"] == 'Bearer realm="chimeway"'
            assert MARK not in answered.text


async def _wrong_scope(client: httpx2.AsyncClient, database: Database, all_: list[Operation]) -> None:
    for scope in ("produce", "read", "operate"):
        person = Person(client, await secret(database, scope, tenant=None))
        for one in all_:
            if scope in one.scopes or (scope == "operate" and "read" in one.scopes):
                continue
            answered = await person.ask(one.method, with_query(one.path, tenant_id="a"), one.body)
            assert (answered.status_code, answered.json()["code"]) == (403, "missing_scope"), (one, scope)
            assert answered.json()["scope"] == " or ".join(sorted(one.scopes, reverse=True)), one


async def _foreign(client: httpx2.AsyncClient, database: Database, all_: list[Operation]) -> None:
    person = Person(client, await secret(database, "produce", "read", "operate", tenant="b"))
    for one in all_:
        if one.id not in OF_ALL | OF_NONE:
            named = await person.ask(one.method, with_query(one.path, tenant_id="a"), one.body)
            assert (named.status_code, named.json()["code"]) == (403, "wrong_tenant"), one
        more = {"recipient_id": "ada"} if one.inbox else {}
        answered = await person.ask(one.method, with_query(one.path, **more), one.body)
        assert MARK not in answered.text, one
        if one.id in OF_ALL:
            assert answered.json()["code"] == "needs_all_tenants", one
        elif one.id in NOT_FOUND:
            assert answered.status_code == 404, one
        else:
            assert answered.is_success, (one, answered.text)
    everywhere = Person(client, await secret(database, "produce", "read", "operate", tenant=None))
    for one in all_:
        if one.id not in OF_ALL | OF_NONE:
            answered = await everywhere.ask(one.method, one.path, one.body)
            assert (answered.status_code, answered.json()["field"]) == (422, "query.tenant_id"), one


async def _inbox_bearer(client: httpx2.AsyncClient, shop: Person, all_: list[Operation]) -> None:
    """A front end's token opens its inbox, and of all else nothing."""
    minted = (await shop.post("/v1/inbox-tokens", {"recipient_id": "eve"})).json()
    eve = Person(client, minted["token"])
    for one in all_:
        answered = await eve.ask(one.method, one.path, one.body)
        assert answered.is_success if one.inbox else answered.status_code == 401, (one, answered.text)
        assert MARK not in answered.text


async def _life(shop: Person, rows: Rows) -> dict[str, str]:
    """Let tenant a have something of everything; return its ids."""
    ada = {"recipient_id": "ada", "email": "ada@example.org", "data": {"word": MARK}}
    said = {
        "workflow": MENTION.definition.key, "recipients": [ada], "data": {"word": MARK},
        "cancellation_key": "doc_1",
    }  # fmt: skip
    begun = await shop.post("/v1/trigger", said)
    assert begun.status_code == 201, begun.text
    run = begun.json()["runs"][0]["run_id"]

    async def waiting() -> bool:
        return (
            await rows.value("select state from chimeway.workflow_runs where tenant_id = 'a'")
        ) == "waiting"

    await wait_for(waiting, "the run waits")
    item = await rows.value("select id from chimeway.inbox_items where tenant_id = 'a'")
    return {
        "run_id": run, "delivery_id": str(item), "item_id": str(item), "recipient_id": "ada",
        "workflow": MENTION.definition.key,
    }  # fmt: skip


async def test_every_route_for_each_who_may_not(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """No token, garbage, an expired, revoked, foreign one, one of too narrow a scope, a front end's."""
    where = home(tmp_path, workflow(in_app(), wait(duration="PT2H"), email(), key=MENTION.definition.key))
    settings = {"HTTP_BIND": "127.0.0.1:0", "INBOX_KEYS": KEY.decode()}
    async with running_daemon(database_url, where, **settings) as daemon, rows_of(database_url) as rows:
        port = (await daemon.event("http.listening"))["port"]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            shop = Person(client, await secret(database, "produce"))
            ids = await _life(shop, rows)
            all_ = list(operations((await client.get("/v1/openapi.json")).json(), ids))
            assert len(all_) > 30
            before = await rows.value(ROWS_OF_A)
            await _nobody(client, database, all_)
            await _wrong_scope(client, database, all_)
            await _foreign(client, database, all_)
            await _inbox_bearer(client, shop, all_)
            assert await rows.value(ROWS_OF_A) == before
        assert daemon.seen("http.failed") == []
        log = daemon.tail(10_000)
        assert "cw_" not in log
