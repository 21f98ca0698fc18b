"""`Idempotency-Key`: once, whoever sends it again, at the same time, on another node, or after a crash."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chimeway.store import answers
from chimeway.store.pool import Database, open_database
from chimeway.store.pruning import turn
from kit.api import FAILED, MENTION, Person, secret, together, world
from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.rows import rows_of
from kit.waiting import wait_for
from store.pruning import KEPT, prune

SAID = {"workflow": MENTION.definition.key, "recipients": ["ada"], "data": {"n": 1}}
COUNT = "select count(*) from chimeway.workflow_runs"
HOLDERS = """from pg_locks l where l.locktype = 'advisory'
    and l.database = (select oid from pg_database where datname = current_database())"""


async def test_the_same_again_is_answered_as_the_first_time(database: Database, database_url: str) -> None:
    """To the letter, and marked; another request with the key is refused; others' keys are others'."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce", tenant=None)
        other = await found.person("produce", tenant=None)
        ask = "/v1/trigger?tenant_id=a"
        first = await shop.post(ask, SAID, Idempotency_Key='"key-1"')
        again = await shop.post(ask, dict(reversed(SAID.items())), Idempotency_Key="key-1")
        assert (first.status_code, again.status_code, first.text) == (201, 201, again.text)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        mixed = await shop.post(ask, {**SAID, "data": {"n": 2}}, Idempotency_Key="key-1")
        assert (mixed.status_code, mixed.json()["code"]) == (422, "idempotency_key_reused")
        signal = {"type": "t", "actor_id": "ada"}
        elsewhere = await shop.post("/v1/signals?tenant_id=a", signal, Idempotency_Key="key-1")
        assert elsewhere.json()["code"] == "idempotency_key_reused"
        assert await rows.value(COUNT) == 1
        for fresh in (
            await shop.post("/v1/trigger?tenant_id=b", SAID, Idempotency_Key="key-1"),
            await other.post(ask, SAID, Idempotency_Key="key-1"),
        ):
            assert (fresh.status_code, fresh.headers.get("idempotent-replayed")) == (201, None)
        assert await rows.value(COUNT) == 3
        for wrong in ("", "a b", "x" * 256, "\u00e9"):
            headers = {"Authorization": f"Bearer {shop.secret}", "Idempotency-Key": wrong.encode("latin-1")}
            refused = await found.client.post(ask, json=SAID, headers=headers)  # type: ignore[arg-type]
            assert refused.status_code in {400, 422}, wrong
        assert await rows.value(COUNT) == 3


async def test_a_path_is_another_request(database: Database) -> None:
    """Ids that look alike once they are decoded, or once more, are others': nobody's answer is another's."""
    async with world(database) as found:
        shop = await found.person("produce")
        for number, ids in enumerate((("a%3Fb", "a%253Fb"), ("a%23b", "a%2523b"), ("a%2Fb", "a%252Fb"))):
            one, other = [
                await shop.ask(
                    "PATCH", f"/v1/recipients/{name}", {"locale": "de"}, Idempotency_Key=f"k{number}"
                )
                for name in ids
            ]
            assert (one.status_code, other.status_code) == (200, 422), ids
            assert other.json()["code"] == "idempotency_key_reused"


async def test_what_is_refused_may_be_sent_again(database: Database, database_url: str) -> None:
    """Nothing was done and nothing is kept: with the fault mended, the same key does it."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        wrong = {**SAID, "workflow": "nobody"}
        assert (await shop.post("/v1/trigger", wrong, Idempotency_Key="k")).status_code == 404
        assert await rows.value("select count(*) from chimeway.request_answers") == 0
        assert (await shop.post("/v1/trigger", SAID, Idempotency_Key="k")).status_code == 201


async def test_many_at_once_on_two_nodes(database: Database, database_url: str) -> None:
    """One does it; the others are told that it is being done, or what was answered, in the end the same."""
    async with (
        open_database(database_url) as second, world(database) as here, world(second) as there,
        rows_of(database_url) as rows,
    ):  # fmt: skip
        first = await here.person("produce")
        people = [first, there.with_secret(first.secret)] * 10
        keys = [f"key-{number}" for number in range(8)]

        async def insist(person: Person, key: str) -> tuple[int, str, bool]:
            while True:
                said = {**SAID, "data": {"key": key}}
                answered = await person.post("/v1/trigger", said, Idempotency_Key=key)
                if answered.status_code != 409:
                    return answered.status_code, answered.text, "idempotent-replayed" in answered.headers
                assert answered.json()["code"] == "request_in_progress"
                assert answered.headers["retry-after"]
                busy[key] += 1
                await asyncio.sleep(0.01)

        busy: Counter[str] = Counter()
        told = await together(*(insist(person, key) for key in keys for person in people))
        assert {status for status, _, _ in told} == {201}
        assert len({text for _, text, _ in told}) == len(keys)
        assert sum(not replayed for _, _, replayed in told) == len(keys)
        assert await rows.value(COUNT) == len(keys)


async def test_while_one_is_at_it_others_are_told_so(database: Database, database_url: str) -> None:
    """409, and not a wait; and when whoever was at it is cut off, nothing was done and the key is free."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        run = (await shop.trigger("ada"))["ada"]
        async with rows.connection.transaction():
            await rows.all("select 1 from chimeway.workflow_runs for update")
            first = asyncio.ensure_future(shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k"))
            await wait_for(lambda: rows.value(f"select count(*) {HOLDERS}"), "one is at it")
            second = await shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k")
            assert (second.status_code, second.json()["code"]) == (409, "request_in_progress")
            await rows.all(f"select pg_terminate_backend(l.pid) {HOLDERS}")
            assert (await first).status_code == 503
        assert await rows.value("select count(*) from chimeway.request_answers") == 0
        again = await shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k")
        assert len(again.json()["stopped"]) == 1
        assert "idempotent-replayed" not in again.headers
        replayed = await shop.post(f"/v1/runs/{run}/cancel", {}, Idempotency_Key="k")
        assert replayed.text == again.text
        assert await rows.value("select count(*) from chimeway.operator_actions") == 1


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_crash_between_the_effect_and_the_answer(
    where: str, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the commit nothing is left, behind it all is: there is no third way."""
    once = answers._once

    async def dying(connection: Any, act: Any, key: Any) -> Any:
        done = await once(connection, act, key)
        if where == "before":
            raise ConnectionResetError("the process ends here")
        return done

    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        signal = {"type": "t", "actor_id": "ada"}
        with monkeypatch.context() as patch:
            patch.setattr(answers, "_once", dying)
            lost = await shop.post("/v1/signals", signal, Idempotency_Key="k")
        assert lost.status_code == (503 if where == "before" else 201)
        done = 0 if where == "before" else 1
        assert await rows.value("select count(*) from chimeway.signals") == done
        assert await rows.value("select count(*) from chimeway.request_answers") == done
        again = await shop.post("/v1/signals", signal, Idempotency_Key="k")
        assert again.status_code == 201
        assert ("idempotent-replayed" in again.headers) == (where == "after")
        assert await rows.value("select count(*) from chimeway.signals") == 1


async def test_of_who_was_forgotten_the_key_alone_holds(database: Database, database_url: str) -> None:
    """Sent again it does nothing, and tells nothing; the row has no word of the person."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        ops = await found.person("operate", name="ops")
        begun = await shop.post("/v1/trigger", SAID, Idempotency_Key="mention-ada")
        run = begun.json()["runs"][0]["run_id"]
        await ops.post(f"/v1/runs/{run}/hold", {"note": "ada rang"}, Idempotency_Key="held")
        await ops.post(f"/v1/runs/{run}/resume", Idempotency_Key="resumed")
        await shop.post("/v1/signals", {"type": "t", "actor_id": "bob"}, Idempotency_Key="bob")
        await found.chimeway.for_tenant("a").forget("ada")
        again = await shop.post("/v1/trigger", SAID, Idempotency_Key="mention-ada")
        assert (again.status_code, again.json()["code"]) == (410, "answer_forgotten")
        for verb, key in (("hold", "held"), ("resume", "resumed")):
            again = await ops.post(f"/v1/runs/{run}/{verb}", {"note": "ada rang"}, Idempotency_Key=key)
            assert (again.status_code, again.json()["code"]) == (410, "answer_forgotten")
        assert (await ops.post(f"/v1/runs/{run}/cancel", {"note": "ada rang again"})).status_code == 200
        assert await rows.value(COUNT) == 1
        texts = await rows.all("select a::text as told from chimeway.request_answers a union all "
                               "select o::text from chimeway.operator_actions o")  # fmt: skip
        assert not any(re.search(r"\bada\b", row["told"]) for row in texts)  # digests may hold `ada`, in hex
        assert any("bob" in row["told"] for row in texts)


async def test_what_was_said_of_who_was_forgotten_leaves(database: Database, database_url: str) -> None:
    """A note may name him, and its digest could be guessed: those of cancels and retries leave, too."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop, ops = await found.person("produce"), await found.person("operate")
        runs = await shop.trigger("ada", "bob", cancellation_key="doc_1")
        await rows.all(FAILED)
        by_run = "select id from chimeway.deliveries where recipient_id = 'ada'"
        why = {"note": "ada rang"}
        for path, said in (
            (f"/v1/deliveries/{await rows.value(by_run)}/retry", why),
            (f"/v1/runs/{runs['ada']}/cancel", why),
            (f"/v1/runs/{runs['ada']}/cancel", {"note": "once more"}),
            ("/v1/cancel", {"cancellation_key": "doc_1", **why}),
        ):
            await found.chimeway.for_tenant("a").forget("nobody")
            asked = await ops.post(path, said, Idempotency_Key=f"{path} {said['note']}".replace(" ", "-"))
            assert asked.status_code == 200, asked.text
        known = "select count(fingerprint) from chimeway.request_answers"
        assert await rows.value(known) == 4
        await found.chimeway.for_tenant("a").forget("ada")
        assert await rows.value(known) == 0


async def test_answers_leave_by_their_age(database: Database, database_url: str) -> None:
    """As keys of triggers do, by the pruner, and by `chimeway prune`."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        for key in ("old", "new"):
            await shop.post("/v1/signals", {"type": "t", "actor_id": "ada"}, Idempotency_Key=key)
        late = """update chimeway.request_answers set created_at = created_at - interval '31 days'
                   where key_digest = (
                        select key_digest from chimeway.request_answers order by created_at limit 1)"""
        await rows.all(late)
        assert (await prune(database, dry=True))["request_answers"] == 1
        assert (await turn(database, "answers", KEPT)).removed == {"request_answers": 1}
        assert (await prune(database))["request_answers"] == 0
        assert await rows.value("select count(*) from chimeway.request_answers") == 1
        again = await shop.post("/v1/signals", {"type": "t", "actor_id": "ada"}, Idempotency_Key="new")
        assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.big
async def test_a_node_that_is_killed_meanwhile(database: Database, database_url: str, tmp_path: Path) -> None:
    """With kill -9, between the beginning of a request and its commit: another node does it, once."""
    where = home(tmp_path, workflow(in_app(), wait(duration="PT2H"), email(), key=MENTION.definition.key))
    async with (
        running_daemon(database_url, where, name="one", HTTP_BIND="127.0.0.1:0") as one,
        running_daemon(database_url, where, name="two", HTTP_BIND="127.0.0.1:0") as two,
        rows_of(database_url) as rows, httpx2.AsyncClient(timeout=20) as client,
    ):  # fmt: skip
        ports = [(await node.event("http.listening"))["port"] for node in (one, two)]
        token = await secret(database, "produce")

        async def cancel(port: int, run: str) -> httpx2.Response:
            path = f"http://127.0.0.1:{port}/v1/runs/{run}/cancel"
            return await Person(client, token).post(path, {}, Idempotency_Key="k")

        begun = await Person(client, token).post(f"http://127.0.0.1:{ports[1]}/v1/trigger", SAID)
        run = begun.json()["runs"][0]["run_id"]
        await rows.until(run, "waiting")
        async with rows.connection.transaction():
            await rows.all("select 1 from chimeway.workflow_runs for update")
            lost = asyncio.create_task(cancel(ports[0], run))
            await wait_for(lambda: rows.value(f"select count(*) {HOLDERS}"), "one is at it")
            one.kill()
            with pytest.raises(httpx2.HTTPError):
                await lost

        async def done() -> httpx2.Response | None:
            answered = await cancel(ports[1], run)
            return answered if answered.status_code == 200 else None

        answered = await wait_for(done, "the other node does it")
        assert len(answered.json()["stopped"]) == 1
        assert (await cancel(ports[1], run)).text == answered.text
        assert await rows.value("select count(*) from chimeway.operator_actions") == 1
