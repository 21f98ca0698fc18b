"""`/v1`: what producers, readers and operators ask, over a real socket and on real rows."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from chimeway.clock import SystemClock
from chimeway.limits import MAX_JSON_DEPTH
from chimeway.store.pool import Database
from chimeway.web.api.application import Api
from chimeway.web.auth import Tokens
from chimeway.web.limits import MAX_HTTP_BODY_BYTES
from chimeway.web.server import Site, application
from kit.api import FAILED, MENTION, Person, World, world
from kit.door import served
from kit.rows import Rows, rows_of

NOBODY = "019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"


async def test_a_producer_triggers_signals_and_cancels(database: Database) -> None:
    """One run for each recipient; the same event again begins nothing; what was stopped is told exactly."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        said = {
            "workflow": MENTION.definition.key,
            "recipients": [
                "ada",
                {"recipient_id": "bob", "email": "bob@example.org", "timezone": "Europe/Rome"},
            ],
            "data": {"document_id": "doc_1"},
            "idempotency_key": "mention-1",
            "cancellation_key": "doc_1",
        }
        first = await shop.post("/v1/trigger", said)
        again = await shop.post("/v1/trigger", said)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["runs"] == again.json()["runs"]
        assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
        profile = (await shop.get("/v1/recipients/bob")).json()
        assert profile["addresses"] == {"email": "bob@example.org"}
        assert profile["timezone"] == "Europe/Rome"
        heard = await shop.post("/v1/signals", {"type": "notification_read", "actor_id": "ada"})
        assert heard.status_code == 201, heard.text
        bulk = await shop.post("/v1/signals/bulk", {"signals": [{"type": "x", "actor_id": "ada"}] * 3})
        assert len(bulk.json()["signal_ids"]) == 3
        many = {"workflow": MENTION.definition.key, "triggers": [{"recipient_ids": ["eve", "ada"]}]}
        assert len((await shop.post("/v1/trigger/bulk", many)).json()["receipts"][0]["runs"]) == 2
        stopped = await shop.post("/v1/cancel", {"cancellation_key": "doc_1", "note": "deleted"})
        assert {one["run_id"] for one in stopped.json()["stopped"]} == {
            one["run_id"] for one in first.json()["runs"]
        }
        run = first.json()["runs"][0]["run_id"]
        told = (await shop.get(f"/v1/runs/{run}/explanation")).json()
        assert (told["run"]["state"], told["run"]["recipient_id"]) == ("stopped", "ada")
        assert told["why"]
        assert (await shop.post(f"/v1/runs/{run}/cancel")).json()["already_ended"][0]["run_id"] == run


async def test_pages_lead_through_everything_once(database: Database) -> None:
    """By opaque cursors, with filters; a cursor that no page gave is refused."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        runs = await shop.trigger("ada", "bob", "eve", "dan", "may")
        seen: list[str] = []
        path = "/v1/runs?limit=2"
        while True:
            page = (await shop.get(path)).json()
            seen += [run["id"] for run in page["items"]]
            if page["cursor"] is None:
                break
            path = f"/v1/runs?limit=2&cursor={page['cursor']}"
        assert sorted(seen) == sorted(runs.values())
        ada = (await shop.get("/v1/runs?recipient_id=ada&state=active")).json()["items"]
        assert [run["id"] for run in ada] == [runs["ada"]]
        for wrong in ("cursor=nonsense", "limit=0", "limit=201", "limit=x", "state=sleeping", "cursor=%00"):
            refused = await shop.get(f"/v1/runs?{wrong}")
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input"), wrong
        for path in ("waiting", "overdue", "stuck", "deliveries/failed", "recipients", "workflows"):
            assert (await shop.get(f"/v1/{path}")).status_code == 200, path


async def test_a_name_in_a_query_is_one_that_is_known(database: Database) -> None:
    """A filter that is misspelled does not show everything, and does not pass for one that was heard."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        await shop.trigger("ada", "bob")
        for path, name in (
            ("/v1/runs?recipent_id=ada", "recipent_id"),
            ("/v1/inbox/items?recipient_id=ada&unraed=true", "unraed"),
            ("/v1/overdue?tenant=a", "tenant"),
        ):
            refused = await shop.get(path)
            assert (refused.status_code, refused.json()["field"]) == (422, f"query.{name}"), path
            assert refused.json()["detail"] == f"query.{name}: nothing here has this name"
        sent = await shop.post("/v1/signals?dry_run=true", {"type": "read", "actor_id": "ada"})
        assert (sent.status_code, sent.json()["field"]) == (422, "query.dry_run")


async def test_pages_lead_through_what_stands_while_other_rows_come_and_go(
    database: Database, database_url: str
) -> None:
    """Who was there from the first page to the last is seen once, whatever begins and ends meanwhile."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce", "read")
        runs = await shop.trigger(*[f"user-{n}" for n in range(9)])
        gone = [runs[f"user-{n}"] for n in (0, 4, 8)]
        for person in runs:
            await shop.ask("PATCH", f"/v1/recipients/{person}", {"locale": "de"})
        for path, name, stood in (
            ("/v1/runs?state=active&", "id", set(runs.values()) - set(gone)),
            ("/v1/recipients?", "recipient_id", set(runs)),
        ):
            seen, cursor = list[str](), ""
            while True:
                page = (await shop.get(f"{path}limit=2{cursor}")).json()
                seen += [one[name] for one in page["items"]]
                if page["cursor"] is None:
                    break
                cursor = f"&cursor={page['cursor']}"
                for person in (f"user-{len(seen)}-{name}", f"a-{len(seen)}-{name}"):
                    await shop.trigger(person)
                    await shop.ask("PATCH", f"/v1/recipients/{person}", {"locale": "de"})
                if gone:
                    await shop.post(f"/v1/runs/{gone.pop(0)}/cancel")
            assert stood <= set(seen), path
            assert len(seen) == len(set(seen)), path
        assert await rows.value("select count(*) from chimeway.workflow_runs where state = 'stopped'") == 3


async def test_lists_of_trouble_have_pages(database: Database, database_url: str) -> None:
    """What is overdue, stuck, failed: each once, in its order, and to the end; of another tenant nothing."""
    async with world(database) as found, rows_of(database_url) as rows:
        ops = await found.person("operate", "produce")
        other = await found.person("produce", tenant="b")
        runs = sorted((await ops.trigger(*[f"user-{n}" for n in range(5)])).values())
        await other.trigger("eve")
        await rows.all(FAILED)
        await rows.all("update chimeway.workflow_runs set wake_at = now() - interval '1 minute'")

        async def paged(path: str) -> list[str]:
            seen, cursor = list[str](), ""
            while True:
                page = (await ops.get(f"/v1/{path}limit=2{cursor}")).json()
                seen += [one["run_id"] for one in page["items"]]
                assert len(page["items"]) <= 2
                if page["cursor"] is None:
                    return seen
                cursor = f"&cursor={page['cursor']}"

        assert await paged("overdue?") == runs
        assert await paged("overdue?max_lateness_s=360000&") == []
        by_time = "select run_id from chimeway.deliveries where tenant_id = 'a' order by next_attempt_at, id"
        assert await paged("deliveries/failed?") == [str(run) for (run,) in await rows.all(by_time)]
        for run in runs:
            assert (await ops.post(f"/v1/runs/{run}/hold", {})).status_code == 200
        assert await paged("stuck?") == runs
        assert await paged("overdue?") == []
        for path in ("overdue", "stuck", "deliveries/failed"):
            assert (await ops.get(f"/v1/{path}?cursor=nonsense")).json()["field"] == "cursor"


async def test_what_is_overdue_is_said_by_the_nodes_measure(database: Database, database_url: str) -> None:
    """As CHIMEWAY_MAX_LATENESS says, where nobody asks for another."""
    clock = SystemClock()
    api = Api(database, clock, Tokens(database, clock), lateness=timedelta(hours=1))
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce", "read")
        await shop.trigger("ada")
        await rows.all("update chimeway.workflow_runs set wake_at = now() - interval '10 minutes'")
        assert len((await shop.get("/v1/overdue")).json()["items"]) == 1
        async with served(application(Site(api=api.routes()))) as (client, _):
            patient = Person(client, shop.secret)
            assert (await patient.get("/v1/overdue")).json()["items"] == []
            assert len((await patient.get("/v1/overdue?max_lateness_s=300")).json()["items"]) == 1


async def test_ids_with_a_slash(database: Database) -> None:
    """Percent-encoded it is a part of its id, once; and leads to nothing else than it names."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        names = ("a/b", "/", "a%2Fb", "ada/preferences", "a//b", "../runs", "x?y#z", "\u00e4/\u2603")
        for name in names:
            path = f"/v1/recipients/{quote(name, safe='')}"
            assert (await shop.ask("PATCH", path, {"locale": "de"})).json() == {"recipient_id": name}, name
            assert (await shop.get(path)).json()["recipient_id"] == name
            prefers = {"preferences": {"channels": {"sms": False}}}
            assert (await shop.ask("PATCH", f"{path}/preferences", prefers)).status_code == 200
            assert (await shop.get(f"{path}/preferences")).json() == prefers
        listed = (await shop.get("/v1/recipients")).json()["items"]
        assert {one["recipient_id"] for one in listed} == set(names)
        for path in ("/v1/recipients/a/b", "/v1/recipients%2Fa", "/v1%2Finbox/counts", "/v1/runs%2F"):
            assert (await shop.get(path)).json()["code"] == "not_found", path
        for path in ("/v1/recipients/a%2Fb%00", "/v1/recipients/%ff%2F%00"):
            assert (await shop.get(path)).status_code == 422, path
        keyed = "/v1/recipients/k%2Fk"
        same = [await shop.ask("PATCH", keyed, {"locale": "de"}, Idempotency_Key="k") for _ in range(2)]
        assert [one.headers.get("idempotent-replayed") for one in same] == [None, "true"]
        other = await shop.ask("PATCH", "/v1/recipients/k%252Fk", {"locale": "de"}, Idempotency_Key="k")
        assert other.json()["code"] == "idempotency_key_reused"


async def test_preferences_and_unsubscribing(database: Database) -> None:
    """Written key by key, and read as they are known."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        assert (await shop.get("/v1/recipients/ada/preferences")).json()["code"] == "recipient_not_found"
        path = "/v1/recipients/ada/preferences"
        await shop.ask("PATCH", path, {"preferences": {"channels": {"sms": False}}})
        await shop.ask("PATCH", path, {"preferences": {"channels": {"push": True}}})
        assert (await shop.get(path)).json() == {"preferences": {"channels": {"sms": False, "push": True}}}
        what = {"workflow": MENTION.definition.key, "channel": "email"}
        assert (await shop.post("/v1/recipients/ada/unsubscribe", what)).status_code == 200
        assert MENTION.definition.key in str((await shop.get(path)).json())
        assert (await shop.post("/v1/recipients/ada/resubscribe", what)).status_code == 200
        assert MENTION.definition.key not in str((await shop.get(path)).json())
        await shop.ask("PATCH", "/v1/recipients/ada", {"email": "ada@example.org", "locale": "de-DE"})
        await shop.ask("PATCH", "/v1/recipients/ada", {"email": None})
        shown = (await shop.get("/v1/recipients/ada")).json()
        assert (shown["addresses"], shown["locale"]) == ({}, "de-DE")


async def _audit(rows: Rows) -> list[tuple[Any, ...]]:
    found = await rows.all("select action, who, tenant_id, note from chimeway.operator_actions order by at")
    return [tuple(row) for row in found]


async def test_what_operators_do_is_written_down(database: Database, database_url: str) -> None:
    """Who, what and why, in the transaction of what was done: nothing where nothing was."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        ops = await found.person("operate", name="ops")
        everywhere = await found.person("operate", tenant=None, name="chief")
        run = (await shop.trigger("ada"))["ada"]
        held = await ops.post(f"/v1/runs/{run}/hold", {"note": "legal looks at it"})
        assert (held.status_code, held.json()["held_reason"]) == (200, "held_by_request")
        twice = await ops.post(f"/v1/runs/{run}/hold")
        assert (twice.status_code, twice.json()["code"]) == (409, "run_not_holdable")
        assert (await ops.post(f"/v1/runs/{run}/resume", {})).json()["held_reason"] is None
        assert (await ops.post(f"/v1/runs/{run}/resume")).json()["code"] == "run_not_held"
        assert (await ops.post(f"/v1/deliveries/{NOBODY}/retry")).json()["code"] == "delivery_not_found"
        for ended in ("stopped", "already_ended"):  # what had ended was not cancelled again
            done = (await shop.post(f"/v1/runs/{run}/cancel", {"note": "gone"})).json()
            assert [one["run_id"] for one in done[ended]] == [run]
        key = MENTION.definition.key
        assert (await ops.post(f"/v1/workflows/{key}/pause")).json()["code"] == "needs_all_tenants"
        assert (await everywhere.post(f"/v1/workflows/{key}/pause", {"note": "fire"})).json()["paused"]
        assert (await everywhere.post(f"/v1/workflows/{key}/unpause")).json() == {
            "workflow": key, "paused": False, "versions": 1,
        }  # fmt: skip
        definition = (await ops.get(f"/v1/workflows/{key}")).json()["definition"]
        new = await everywhere.post("/v1/workflows", {**definition, "version": 2})
        assert (new.status_code, new.json()["new"]) == (200, True), new.text
        faulty = await everywhere.post("/v1/workflows", {**definition, "version": 3, "steps": []})
        assert (faulty.status_code, faulty.json()["code"]) == (422, "invalid_definition")
        assert await _audit(rows) == [
            ("hold", "ops", "a", "legal looks at it"), ("resume", "ops", "a", None),
            ("cancel", "somebody", "a", "gone"),
            ("pause", "chief", None, "fire"), ("unpause", "chief", None, None),
            ("register", "chief", None, None),
        ]  # fmt: skip


async def test_a_message_that_failed_is_tried_again(database: Database, database_url: str) -> None:
    """What failed is listed, and tried again now; what did not is refused with its state."""
    async with world(database) as found, rows_of(database_url) as rows:
        ops = await found.person("operate", "produce", name="ops")
        run = (await ops.trigger("ada"))["ada"]
        await rows.all(FAILED)
        delivery = await rows.value("select id from chimeway.deliveries")
        (listed,) = (await ops.get("/v1/deliveries/failed?channel=email")).json()["items"]
        assert (listed["delivery_id"], listed["recipient_id"]) == (str(delivery), "ada")
        done = await ops.post(f"/v1/deliveries/{delivery}/retry", {"note": "provider is back"})
        assert (done.status_code, done.json()["run_id"]) == (200, run), done.text
        assert await _audit(rows) == [("retry", "ops", "a", "provider is back")]


async def test_what_is_not_asked_rightly(database: Database) -> None:
    """Each refusal is a problem with a stable code, and says what would be right; nothing is quoted of it."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        deep = {"type": "t", "actor_id": "a", "payload": {}}
        for _ in range(MAX_JSON_DEPTH):
            deep = {"payload": deep}
        json_type = {"Content-Type": "application/json", "Authorization": f"Bearer {shop.secret}"}
        for body, headers, status, code in (
            (b"{", {}, 400, "malformed_json"),
            (b'{"type": "t", "type": "t", "actor_id": "a"}', {}, 400, "malformed_json"),
            (b'{"type": "t", "actor_id": "a", "payload": {"x": NaN}}', {}, 400, "malformed_json"),
            (b'{"type": "\xff", "actor_id": "a"}', {}, 400, "malformed_json"),
            (b"\xff\xfe{\x00}\x00", {}, 400, "malformed_json"),
            (b'{"x": ' + b"9" * 500 + b"}", {}, 400, "malformed_json"),
            (b'{"x": [' + b"[]," * 60_000 + b"[]]}", {}, 400, "malformed_json"),
            (str(deep).replace("'", '"').encode(), {}, 400, "malformed_json"),
            (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
            (b"{}", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
            (b" " * (MAX_HTTP_BODY_BYTES + 1), {}, 413, "too_large"),
            (b"{}", {}, 422, "invalid_input"),
            (b"[]", {}, 422, "invalid_input"),
            (b"", {}, 422, "invalid_input"),
            (b'{"type": "t", "actor_id": "a", "cw_secret": 1}', {}, 422, "invalid_input"),
            (b'{"type": "t", "actor_id": ""}', {}, 422, "invalid_input"),
            (b'{"type": "t\\u0000", "actor_id": "a"}', {}, 422, "invalid_input"),
            (b'{"type": "t\\ud800", "actor_id": "a"}', {}, 422, "invalid_input"),
        ):  # fmt: skip
            answered = await found.client.post("/v1/signals", content=body, headers={**json_type, **headers})
            told = answered.json()
            assert (answered.status_code, told["code"]) == (status, code), (body[:60], told)
            assert answered.headers["content-type"] == "application/problem+json"
            assert told["type"] == f"urn:chimeway:{code}"
        for method, path, status in (
            ("GET", "/v1/nothing", 404), ("GET", "/v1", 404), ("GET", "/v1/runs/", 404),
            ("PUT", "/v1/runs", 405), ("GET", "/v1/runs/x", 422), ("GET", f"/v1/runs/{NOBODY}", 404),
            ("GET", "/v1/workflows/nobody", 404), ("TRACE", "/v1/runs", 405),
        ):  # fmt: skip
            answered = await shop.ask(method, path)
            assert answered.status_code == status, (method, path, answered.text)
            assert answered.headers["content-type"] == "application/problem+json"
            assert status != 405 or answered.headers["allow"]
        wrong = {"workflow": MENTION.definition.key, "recipients": ["ada"], "at": "yesterday"}
        assert (await shop.post("/v1/trigger", wrong)).json()["field"] == "body.at"
        unknown = await shop.post("/v1/trigger", {"workflow": "nobody", "recipients": ["ada"]})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_workflow")


async def test_a_database_that_is_away(database: Database) -> None:
    """503, and when to come again; nothing of the database's own words is told."""
    async with world(database) as found:
        shop = await found.person("read")
        assert (await shop.get("/v1/runs")).status_code == 200
        await database.close()
        answered = await shop.get("/v1/runs")
        assert (answered.status_code, answered.json()["code"]) == (503, "try_again")
        assert answered.headers["retry-after"]
        assert "closed" not in answered.text


async def test_who_asks_is_said_in_one_way(database: Database) -> None:
    """By one header, as a bearer; the challenge says so, and no answer says the secret."""
    async with world(database) as found:
        shop = await found.person("read")
        assert shop.secret is not None
        for scheme in ("Basic", "Token", "Bearer x", "bearer: "):
            answered = await found.client.get(
                "/v1/runs", headers={"Authorization": f"{scheme} {shop.secret}"}
            )
            assert (answered.status_code, answered.json()["code"]) == (401, "unauthorized")
            assert answered.headers["www-authenticate"] == 'Bearer realm="chimeway"'
            assert shop.secret not in answered.text
        twice = [("Authorization", f"Bearer {shop.secret}")] * 2
        assert (await found.client.get("/v1/runs", headers=twice)).status_code == 401
        assert (await found.client.get(f"/v1/runs?access_token={shop.secret}")).status_code == 401


async def test_the_description(database: Database) -> None:
    """OpenAPI 3.1, for everybody; each operation has a stable id, who may, and what it may refuse."""
    async with world(database) as found:
        told: World = found
        description = (await told.client.get("/v1/openapi.json")).json()
        assert description["openapi"].startswith("3.1")
        operations = [one for path in description["paths"].values() for one in path.values()]
        ids = [one["operationId"] for one in operations]
        assert len(set(ids)) == len(ids) > 30
        for one in operations:
            assert one.get("security") == [] or (one["x-scope"] and "401" in one["responses"]), one
