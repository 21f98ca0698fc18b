"""Inboxes by HTTP: a front end's token opens one, and nothing that is made to look like it opens any."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import jwt
import pytest

from chimeway.errors import InvalidInput
from chimeway.inbox_tokens import AUDIENCE
from chimeway.store.pool import Database
from chimeway.web import auth
from chimeway.web.api import streams
from chimeway.web.limits import INBOX_STREAMS_OF_ONE
from kit.api import KEY, MENTION, ORIGIN, OTHER_KEY, Person, World, world
from kit.command import inside
from kit.rows import rows_of
from kit.waiting import wait_for
from store.plain_sql import put_into_inbox


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token says; None takes away."""
    now = int(time.time())
    good = {"aud": AUDIENCE, "sub": "ada", "tenant_id": "a", "iat": now, "exp": now + 600}
    return {name: value for name, value in (good | more).items() if value is not None}


def signed(said: Any, key: bytes = KEY, head: Any = None, hashed: str = "sha256") -> str:
    """Return a token signed by hand, whatever its head says."""
    head = {"alg": "HS256", "typ": "JWT"} if head is None else head
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, said)
    ]
    mac = hmac.digest(key, ".".join(parts).encode(), hashed)
    return ".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=").decode()])


def unsigned(algorithm: str) -> str:
    """Return a token that says by itself that nobody need look at its signature."""
    return signed(claims(), head={"alg": algorithm, "typ": "JWT"}).rpartition(".")[0] + "."


async def test_tokens_of_attackers(database: Database) -> None:
    """Other keys, algorithms, audiences, times, owners: 401 for each, on each route of an inbox."""
    good = signed(claims())
    head, _, mac = good.split(".")
    now = int(time.time())
    attacks = {
        "none": unsigned("none"), "None": unsigned("None"), "no alg": signed(claims(), head={"typ": "JWT"}),
        "none, signed": signed(claims(), head={"alg": "none"}),
        "HS512": signed(claims(), hashed="sha512", head={"alg": "HS512"}),
        "HS512, said to be HS256": signed(claims(), hashed="sha512"),
        "RS256": signed(claims(), head={"alg": "RS256", "jwk": {"kty": "oct", "k": "AAAA"}}),
        "another key": signed(claims(), OTHER_KEY), "an empty key": signed(claims(), b""),
        "its digest": signed(claims(), hashlib.sha256(KEY).digest()),
        "crit": signed(claims(), head={"alg": "HS256", "crit": ["x"], "x": 1}),
        "another audience": signed(claims(aud="chimeway:console")), "no audience": signed(claims(aud=None)),
        "several audiences": signed(claims(aud=[AUDIENCE, "other"])),
        "expired": signed(claims(iat=now - 700, exp=now - 100)), "expires now": signed(claims(exp=now)),
        "no expiry": signed(claims(exp=None)), "not yet": signed(claims(iat=now + 300)),
        "too long": signed(claims(exp=now + 3_601)), "for ever": signed(claims(exp=2**53)),
        "expiry as text": signed(claims(exp=str(now + 60))), "as a fraction": signed(claims(exp=now + 60.5)),
        "as true": signed(claims(iat=True)), "no subject": signed(claims(sub=None)),
        "no tenant": signed(claims(tenant_id=None)), "a number for a tenant": signed(claims(tenant_id=7)),
        "an empty recipient": signed(claims(sub="")), "a list for claims": signed([1]),
        "body changed": ".".join([head, signed(claims(sub="eve")).split(".")[1], mac]),
        "cut": good[:-1], "four parts": f"{good}.x", "no parts": "....", "padded": f"{good}=",
    }  # fmt: skip
    async with world(database) as found:
        assert (await found.with_secret(good).get("/v1/inbox/counts")).status_code == 200
        for name, token in attacks.items():
            for path in ("counts", "items", "stream"):
                answered = await found.with_secret(token).get(f"/v1/inbox/{path}")
                assert (answered.status_code, answered.json()["code"]) == (401, "unauthorized"), (name, path)
        elsewhere = await found.with_secret(good).get("/v1/runs")
        assert elsewhere.status_code == 401
        assert (await found.client.get(f"/v1/inbox/counts?token={good}")).status_code == 401


async def test_a_node_without_keys_believes_none(database: Database) -> None:
    """Nor makes any; with new keys before old ones both are believed, and the first signs."""
    async with world(database, keys=()) as found:
        assert (await found.with_secret(signed(claims(), b"")).get("/v1/inbox/counts")).status_code == 401
        shop = await found.person("produce")
        refused = await shop.post("/v1/inbox-tokens", {"recipient_id": "ada"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
        assert "CHIMEWAY_INBOX_KEYS" in refused.json()["detail"]
    async with world(database, keys=(OTHER_KEY, KEY)) as found:
        assert (await found.with_secret(signed(claims())).get("/v1/inbox/counts")).status_code == 200
        shop = await found.person("produce")
        made = (await shop.post("/v1/inbox-tokens", {"recipient_id": "ada"})).json()["token"]
        assert jwt.decode(made, OTHER_KEY, ["HS256"], audience=AUDIENCE)["sub"] == "ada"


async def _item(found: World, recipient: str = "ada", tenant: str = "a") -> UUID:
    """Put an item into an inbox, as a decision does."""
    run = (await found.chimeway.for_tenant(tenant).trigger(
        MENTION.definition.key, {"secret": "zebrafish"}, recipients=recipient
    )).run_ids[0]  # fmt: skip
    async with found.database.acquire() as connection:
        item: UUID = await put_into_inbox(connection, run)
    return item


async def test_an_inbox_is_its_recipients(database: Database) -> None:
    """Listed, counted, marked; what is somebody else's is not there, and stays as it is."""
    async with world(database) as found:
        mine, theirs, foreign = [await _item(found, *whose) for whose in (("ada",), ("eve",), ("ada", "b"))]
        shop = await found.person("produce", "read")
        minted = (await shop.post("/v1/inbox-tokens", {"recipient_id": "ada", "lasts_s": 60})).json()
        ada = found.with_secret(minted["token"])
        (item,) = (await ada.get("/v1/inbox/items")).json()["items"]
        assert (item["id"], item["data"]) == (str(mine), None)
        full = (await shop.post("/v1/inbox-tokens", {"recipient_id": "ada", "with_data": True})).json()[
            "token"
        ]
        assert (await found.with_secret(full).get("/v1/inbox/items")).json()["items"][0]["data"]
        ids = [str(one) for one in (mine, theirs, foreign)]
        marked = await ada.post("/v1/inbox/marks", {"mark": "read", "item_ids": ids})
        assert marked.json() == {"item_ids": [str(mine)]}
        assert (await ada.get("/v1/inbox/counts")).json() == {"unseen": 0, "unread": 0}
        for whose in ({"recipient_id": "eve"}, {"recipient_id": "ada", "tenant_id": "b"}):
            everywhere = await found.person("read", tenant=None)
            query = "&".join(f"{name}={value}" for name, value in ({"tenant_id": "a"} | whose).items())
            assert (await everywhere.get(f"/v1/inbox/counts?{query}")).json()["unread"] == 1
        for query, code in (("recipient_id=eve", "wrong_recipient"), ("tenant_id=b", "wrong_tenant")):
            refused = await ada.get(f"/v1/inbox/items?{query}")
            assert (refused.status_code, refused.json()["code"]) == (403, code)
        assert (await ada.post("/v1/inbox/marks/all", {"mark": "archived"})).json()["item_ids"] == [str(mine)]
        assert (await shop.get("/v1/inbox/items")).json()["field"] == "query.recipient_id"


async def test_made_without_a_node(database: Database, tmp_path: Path) -> None:
    """By the client and by the command, with the nodes' key; never for longer than an hour."""
    (tmp_path / "chimeway.toml").write_text(f'inbox_keys = "{KEY.decode()}"')
    async with world(database) as found:
        by_client = found.chimeway.inbox("ada", tenant="a").token([KEY.decode()])
        by_hand = await inside("tokens", "inbox", "ada", "--tenant", "a", "--json", cwd=tmp_path)
        for token in (by_client, by_hand.json["token"]):
            assert (await found.with_secret(token).get("/v1/inbox/counts")).status_code == 200
        for weak in ([], ["short"], KEY.decode(), [KEY.decode(), ""]):
            with pytest.raises(InvalidInput):
                found.chimeway.inbox("ada").token(weak)
    too_long = await inside("tokens", "inbox", "ada", "--expires", "PT2H", cwd=tmp_path)
    assert (too_long.code, "3600 seconds" in too_long.err) == (3, True)


async def test_browsers_ask_from_where_they_may(database: Database) -> None:
    """By an allow-list, for inboxes alone; an origin that is not on it, or nearly, gets no word of CORS."""
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    async with world(database) as found:
        allowed = await found.client.options("/v1/inbox/items", headers={"Origin": ORIGIN, **asks})
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in allowed.headers
        assert allowed.headers["vary"] == "Origin"
        for path, origin in (
            ("/v1/inbox/items", f"{ORIGIN}.evil.example"), ("/v1/inbox/items", "null"),
            ("/v1/inbox/items", ORIGIN.replace("https", "http")), ("/v1/runs", ORIGIN),
            ("/v1/inbox-tokens", ORIGIN), ("/v1/trigger", ORIGIN),
        ):  # fmt: skip
            refused = await found.client.options(path, headers={"Origin": origin, **asks})
            plain = await found.client.get(path, headers={"Origin": origin})
            for answered in (refused, plain):
                assert not [name for name in answered.headers if name.startswith("access-control")], path
            assert refused.status_code == 404
        unauthorized = await found.client.get("/v1/inbox/items", headers={"Origin": ORIGIN})
        assert (unauthorized.status_code, unauthorized.headers["access-control-allow-origin"]) == (
            401,
            ORIGIN,
        )


@asynccontextmanager
async def following(
    person: Person, client: httpx2.AsyncClient, query: str = "", **headers: str
) -> AsyncIterator[Any]:
    """Follow an inbox; each call returns the next block of lines that is no sign of life."""
    given = {"Authorization": f"Bearer {person.secret}", **headers}
    async with client.stream("GET", f"/v1/inbox/stream{query}", headers=given) as answered:
        assert answered.status_code == 200, await answered.aread()
        assert answered.headers["content-type"].startswith("text/event-stream")
        lines = answered.aiter_lines()

        async def event(alive: bool = False) -> dict[str, Any]:
            said: dict[str, Any] = {}
            async for line in lines:
                if not line and "event" in said:
                    return said
                if line.startswith(":") and alive:
                    return {"event": "alive"}
                name, _, value = line.partition(": ")
                said |= {name: json.loads(value) if name == "data" else value} if name else {}
            return {"event": "(end)"}

        yield event


async def test_a_stream_says_what_is(database: Database) -> None:
    """At once, after every change, and to whoever comes back whether there is something to list."""
    async with world(database) as found:
        first = await _item(found)
        ada = found.with_secret(signed(claims()))
        async with asyncio.timeout(60), following(ada, found.client) as event:
            begin = await event()
            assert (begin["event"], begin["id"]) == ("state", str(first))
            assert begin["data"] == {"unseen": 1, "unread": 1, "newest": str(first), "resync": False}
            await ada.post("/v1/inbox/marks", {"mark": "seen", "item_ids": [str(first)]})
            assert (await event())["data"]["unseen"] == 0
        for known, resync in ((str(first), False), ("019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21", True)):
            async with asyncio.timeout(60), following(ada, found.client, **{"Last-Event-ID": known}) as event:
                assert (await event())["data"]["resync"] is resync


async def test_a_stream_ends(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its token: one that expires says so, one that was revoked soon, too; and with the node."""
    monkeypatch.setattr(streams, "INBOX_STREAM_ALIVE_S", 0.05)
    monkeypatch.setattr(auth, "_REMEMBERED_S", 0.1)
    async with world(database) as found, rows_of(database.url) as rows:
        now = int(time.time())
        short = found.with_secret(signed(claims(exp=now + 2)))
        async with asyncio.timeout(60), following(short, found.client) as event:
            assert (await event())["event"] == "state"
            assert (await event(alive=True))["event"] == "alive"
            assert (await event())["event"] == "expired"
            assert (await event())["event"] == "(end)"
        assert (await short.get("/v1/inbox/counts")).status_code == 401
        shop = await found.person("read")
        async with asyncio.timeout(60), following(shop, found.client, "?recipient_id=ada") as event:
            assert (await event())["event"] == "state"
            await rows.all("update chimeway.api_tokens set revoked_at = now()")
            assert (await event())["event"] == "expired"
        ada = found.with_secret(signed(claims()))
        async with asyncio.timeout(60), following(ada, found.client) as event:
            assert (await event())["event"] == "state"
            found.api.streams.end()
            assert (await event())["event"] == "(end)"
        gone = await ada.get("/v1/inbox/stream")
        assert (gone.status_code, gone.json()["code"]) == (503, "try_again")


async def test_a_busy_stream_ends_with_its_token(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often something happens in it: a token that was revoked shows nothing of it any more."""
    monkeypatch.setattr(streams, "INBOX_STREAM_ALIVE_S", 0.5)
    monkeypatch.setattr(auth, "_REMEMBERED_S", 0.1)
    async with world(database) as found, rows_of(database.url) as rows:
        mine = str(await _item(found))
        shop, ada = await found.person("read"), found.with_secret(signed(claims()))
        async with asyncio.timeout(60), following(shop, found.client, "?recipient_id=ada") as event:
            assert (await event())["event"] == "state"
            await rows.all("update chimeway.api_tokens set revoked_at = now()")
            for number in range(100):
                mark = "unseen" if number % 2 else "seen"
                assert (await ada.post("/v1/inbox/marks", {"mark": mark, "item_ids": [mine]})).is_success
                if (await event())["event"] == "expired":
                    return
            pytest.fail("it goes on and on")


async def test_who_leaves_at_once_leaves_nothing_behind(database: Database) -> None:
    """Gone before the first state: nobody waits for the node's end, or for a change, in his place."""

    async def holds() -> bool:
        return True

    async with world(database) as found:
        await found.chimeway.inbox("ada", tenant="a").counts()
        before = asyncio.all_tasks()
        for read in range(3):
            changes = found.chimeway.inbox("ada", tenant="a").changes()
            events = streams.told(changes, None, (None, False), holds, found.api.streams)
            for _ in range(read):
                await anext(events)
            await events.aclose()
        assert [one for one in asyncio.all_tasks() - before if not one.get_name().startswith("inbox-")] == []


async def test_there_are_so_many_streams(database: Database) -> None:
    """Of one recipient eight; whoever leaves gives the place back."""
    async with world(database) as found:
        ada, eve = (found.with_secret(signed(claims(sub=name))) for name in ("ada", "eve"))

        async def follow() -> None:
            async with following(ada, found.client) as event:
                await event()
                here.append(1)
                await event()

        here: list[int] = []
        tasks = [asyncio.create_task(follow()) for _ in range(INBOX_STREAMS_OF_ONE)]
        await wait_for(lambda: len(here) == INBOX_STREAMS_OF_ONE, "all follow")
        refused = await ada.get("/v1/inbox/stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"]
        async with asyncio.timeout(60), following(eve, found.client) as event:
            assert (await event())["event"] == "state"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        async def place() -> bool:
            return (await ada.get("/v1/inbox/stream?ends_after_s=0.01")).status_code == 200

        await wait_for(place, "a place is free again")
