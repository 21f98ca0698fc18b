"""`/v1` by who means it ill: values that no row can hold, requests that no browser sends, others' cursors."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

import pytest

from chimeway.store.pool import Database
from kit.api import FAILED, MENTION, ORIGIN, Person, World, together, world
from kit.rows import rows_of
from web.test_api_matrix import BODIES

LISTS: Final = ("runs", "waiting", "overdue", "stuck", "deliveries/failed", "recipients")
WHOLE: Final[Mapping[str, Any]] = {
    "trigger": {
        "recipients": [
            {
                "recipient_id": "ada", "email": "a@b", "phone": "+1", "timezone": "UTC", "locale": "de",
                "addresses": {"push": "x"}, "preferences": {}, "data": {"x": 1},
            }
        ],
        "data": {"x": 1}, "idempotency_key": "k", "cancellation_key": "c", "at": "2026-01-01T00:00:00Z",
        "workflow_version": 1,
    },
    "triggerMany": {
        "workflow_version": 1,
        "triggers": [
            {
                "recipient_ids": ["ada"], "data": {"x": 1}, "idempotency_key": "k2", "cancellation_key": "c",
                "at": "2026-01-01T00:00:00Z",
            }
        ],
    },
    "signal": {"payload": {"x": 1}, "dedupe_key": "d"},
    "signalMany": {"signals": [{"type": "t", "actor_id": "a", "payload": {"x": 1}, "dedupe_key": "d"}]},
    "identify": {
        "phone": "+1", "timezone": "UTC", "locale": "de", "addresses": {"push": "x"}, "data": {"x": 1},
    },
    "mintInboxToken": {"lasts_s": 5, "with_data": False},
    "markItems": {"item_ids": [str(uuid4())]},
    "markAllItems": {"through": str(uuid4()), "workflow": "w"},
    **{
        name: {"note": "n"}
        for name in ("cancelRun", "cancelByKey", "holdRun", "resumeRun", "retryDelivery", "pauseWorkflow",
                     "unpauseWorkflow")
    },
}  # fmt: skip
"""What may be said to each route, all of it, beside what must."""
NEVER: Final = ("\x00", "a\x00b", "\ud800", "\udfff\ud800")
"""What no row can hold."""
ODD: Final[tuple[Any, ...]] = (
    *NEVER, "x" * 100_000, "\u202e", "", 2**63, -(2**63) - 1, 10**99, 1e308, -0.0, True, None, [], {}, [[]],
    {"\x00": 1}, {"\ud800": 1}, {"__proto__": {}}, {"a": "\x00"}, {"a": 10**99},
    {"a": {"b": "\udc00"}}, {"": ""},
)  # fmt: skip
NOT_HERE: Final = {"etag", "last-modified", "set-cookie", "access-control-allow-origin"}
IN_URLS: Final = (
    "%00", "%ff", "%ed%a0%80", "x" * 9_000, "", "9" * 400, "-1", "1e309", "nan", "inf", "%F0%9F%98%80",
    "%0d%0a", "null", "[]", "%2F%2e%2e%2F", "%252F",
)  # fmt: skip


class Asked:
    """Everything there is to ask, by somebody who may, of a run and a message that are there."""

    def __init__(self, description: Mapping[str, Any], ids: Mapping[str, str], person: Person) -> None:
        """Take all three."""
        self.routes = [
            (path, method.upper(), one)
            for path, methods in description["paths"].items() for method, one in methods.items()
            if one["security"]
        ]  # fmt: skip
        self.ids = ids
        self.person = person

    def url(self, path: str, **ids: str) -> str:
        """Return where a route is asked, its ids from ours and these."""
        inbox = "&recipient_id=ada" if "/inbox/" in path else ""
        soon = "&ends_after_s=0.01" if path.endswith("stream") else ""
        return f"{path.format(**{**self.ids, **ids})}?tenant_id=a{inbox}{soon}"

    def body(self, one: Mapping[str, Any]) -> Any:
        """Return what a route is told."""
        name = one["operationId"]
        return {**BODIES[name], **WHOLE.get(name, {})} if "requestBody" in one else None

    async def tell(self, path: str, method: str, said: Any) -> tuple[int, str]:
        """Ask with a body as it is, however odd; return status and text."""
        headers = {"Authorization": f"Bearer {self.person.secret}", "Content-Type": "application/json"}
        client, body = self.person.client, json.dumps(said).encode()
        answered = await client.request(method, self.url(path), content=body, headers=headers)
        return answered.status_code, answered.text


def _spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from _spots(each, (*path, name))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


async def _all(found: World, database_url: str) -> Asked:
    chief = await found.person("produce", "read", "operate", tenant=None)
    said = {"workflow": MENTION.definition.key, "recipients": ["ada"]}
    run = (await chief.post("/v1/trigger?tenant_id=a", said)).json()["runs"][0]["run_id"]
    async with rows_of(database_url) as rows:
        await rows.all(FAILED)
        message = str(await rows.value("select id from chimeway.deliveries"))
    ids = {"run_id": run, "delivery_id": message, "recipient_id": "ada", "workflow": MENTION.definition.key}
    return Asked((await found.client.get("/v1/openapi.json")).json(), ids, chief)


async def test_what_no_row_can_hold_is_refused_wherever_it_is_said(
    database: Database, database_url: str
) -> None:
    """NUL and halves of surrogate pairs, in each text of each body: the caller's fault, and none taken."""
    async with world(database) as found:
        asked = await _all(found, database_url)
        tried = [
            (path, method, one["operationId"], spot, value, _with(asked.body(one), spot, value))
            for path, method, one in asked.routes if "requestBody" in one
            for spot, told in _spots(asked.body(one)) if isinstance(told, str)
            for value in NEVER
        ]  # fmt: skip
        assert len(tried) > 150
        for path, method, name, spot, value, said in tried:
            status, text = await asked.tell(path, method, said)
            assert 400 <= status < 500, (name, spot, value, status, text)


@pytest.mark.big
async def test_odd_values_everywhere(database: Database, database_url: str) -> None:
    """Too long, too large, of another kind, in bodies, queries and paths: never our fault, never a hang."""
    async with world(database) as found:
        asked = await _all(found, database_url)
        for path, method, one in asked.routes:
            for spot, _ in _spots(asked.body(one)) if "requestBody" in one else ():
                for value in ODD:
                    status, text = await asked.tell(path, method, _with(asked.body(one), spot, value))
                    assert status < 500, (path, spot, str(value)[:30], text)
            for given in one.get("parameters", ()):
                for value in IN_URLS:
                    url = asked.url(path)
                    if given["in"] == "query" and given["name"] != "ends_after_s":
                        url = f"{url}&{given['name']}={value}"
                    if given["in"] == "path" and value:
                        url = asked.url(path, **{given["name"]: value})
                    body = BODIES[one["operationId"]] if "requestBody" in one else None
                    async with asyncio.timeout(10):
                        answered = await asked.person.ask(method, url, body)
                    assert answered.status_code < 500, (method, url[:100], answered.text)


async def test_methods_that_a_route_has_not(database: Database, database_url: str) -> None:
    """405 with those that it has, and nothing done; HEAD without a body."""
    async with world(database) as found:
        asked = await _all(found, database_url)
        for path in sorted({path for path, _, _ in asked.routes}):
            for method in ("HEAD", "OPTIONS", "FOO"):
                answered = await asked.person.ask(method, asked.url(path))
                assert (answered.status_code, method) == (405, method), path
                assert answered.headers["allow"]
                assert method != "HEAD" or answered.content == b""


async def test_answers_are_for_nobody_else(database: Database, database_url: str) -> None:
    """No cache keeps one, no browser guesses what it is, no cookie is set, whatever was asked."""
    async with world(database) as found:
        asked = await _all(found, database_url)
        nobody = found.with_secret(None)
        answers = [await nobody.get(path) for path in ("/v1/runs", "/v1/nothing", "/v1/openapi.json")]
        for path, method, one in asked.routes:
            answers.append(await asked.person.ask(method, asked.url(path), asked.body(one)))
        for answered in answers:
            assert answered.headers["cache-control"] == "no-store", answered.url
            assert answered.headers["x-content-type-options"] == "nosniff"
            assert not NOT_HERE & set(answered.headers)


async def test_ids_in_another_coding_are_nobodys(database: Database) -> None:
    """Müller and Möller in Latin-1 are not one person of whom nobody knows the second letter."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        for name in ("M%FCller", "M%F6ller", "%ED%A0%80"):
            said = {"email": "x@example.org"}
            answered = [
                await shop.ask("PATCH", f"/v1/recipients/{name}", said),
                await shop.get(f"/v1/recipients/{name}"),
                await shop.get(f"/v1/runs?recipient_id={name}"),
            ]  # fmt: skip
            assert [(one.status_code, one.json()["code"]) for one in answered] == [(422, "invalid_input")] * 3
        assert (await shop.ask("PATCH", "/v1/recipients/M%C3%BCller", {"locale": "de"})).is_success
        assert [one["recipient_id"] for one in (await shop.get("/v1/recipients")).json()["items"]] == [
            "Müller"
        ]


async def test_the_description_is_written_out_once(database: Database) -> None:
    """Anybody may ask for it, as often as he likes: it costs what any answer does."""
    async with world(database) as found:
        first = await found.client.get("/v1/openapi.json")
        found.api.description()["paths"].clear()  # type: ignore[attr-defined]
        again = await found.client.get("/v1/openapi.json")
        assert (first.status_code, again.content == first.content) == (200, True)
        assert first.json()["paths"]
        assert first.headers["content-type"] == "application/json"


async def test_cursors_of_others_lead_to_ones_own(database: Database, database_url: str) -> None:
    """A cursor says where, never whose; of another list, or made up, it shows no more than one's own does."""
    async with world(database) as found, rows_of(database_url) as rows:
        theirs = await found.person("produce", "read", tenant="a")
        mine = await found.person("produce", "read", tenant="b")
        await theirs.trigger(*[{"recipient_id": f"zebra-{n}", "locale": "de"} for n in range(4)])  # type: ignore[list-item]
        await mine.trigger({"recipient_id": "eve", "locale": "de"})  # type: ignore[arg-type]
        await rows.all(FAILED)
        await rows.all("update chimeway.workflow_runs set wake_at = now() - interval '1 hour'")
        cursors = [(await theirs.get(f"/v1/{name}?limit=1")).json()["cursor"] for name in LISTS]
        assert len([one for one in cursors if one]) >= 4, cursors
        made_up = [
            "", "=", "x" * 1_000, "PWE", "MDAwMS0wMS0wMVQwMDowMDowMCswMDowMCA", "OTk5OS0xMi0zMSAwIDA",
            "LWluZmluaXR5IDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA", "JyBvciAxPTEgLS0",
        ]  # fmt: skip
        for name in LISTS:
            for cursor in (*filter(None, cursors), *made_up):
                answered = await mine.get(f"/v1/{name}?limit=200&cursor={cursor}")
                assert answered.status_code in {200, 422}, (name, cursor, answered.text)
                assert "zebra" not in answered.text


async def test_other_origins_are_told_nothing(database: Database) -> None:
    """`null`, look-alikes, others' paths: no answer bears an origin but those listed, and for inboxes."""
    async with world(database) as found:
        shop = await found.person("produce", "read")
        for origin in (
            "null",
            "*",
            f"{ORIGIN}.evil.example",
            f"{ORIGIN}:8443",
            ORIGIN.upper(),
            f"{ORIGIN}/",
            "https://evil.example",
        ):
            for path in ("/v1/inbox/counts?recipient_id=ada", "/v1/runs"):
                answered = await shop.get(path, Origin=origin)
                assert "access-control-allow-origin" not in answered.headers, (origin, path)
                asks = {"Origin": origin, "Access_Control_Request_Method": "GET"}
                preflight = await found.with_secret(None).ask("OPTIONS", path, **asks)
                assert preflight.status_code == 404
                assert "access-control-allow-origin" not in preflight.headers
        elsewhere = await shop.get("/v1/runs", Origin=ORIGIN)
        assert "access-control-allow-origin" not in elsewhere.headers
        inbox = await shop.get("/v1/inbox/counts?recipient_id=ada", Origin=ORIGIN)
        assert inbox.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in inbox.headers
        assert "origin" in inbox.headers["vary"].lower()


async def test_one_key_with_two_bodies_at_once(database: Database, database_url: str) -> None:
    """One of them is done; the other is told that it is another, or to come again, and does nothing."""
    async with world(database) as found, rows_of(database_url) as rows:
        shop = await found.person("produce")
        for number in range(5):
            said = [{"type": "t", "actor_id": f"{name}-{number}"} for name in ("ada", "eve") * 4]
            told = await together(
                *(shop.post("/v1/signals", one, Idempotency_Key=f"k-{number}") for one in said)
            )
            statuses = sorted({answered.status_code for answered in told})
            assert statuses[0] == 201
            assert set(statuses) <= {201, 409, 422}
            assert len({answered.text for answered in told if answered.status_code == 201}) == 1
            assert await rows.value("select count(*) from chimeway.signals") == number + 1


_SIGNAL: Final = b"POST /v1/signals HTTP/1.1\r\nHost: x\r\n"
_RUNS: Final = b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n"
_SECOND: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
RAW: Final[Mapping[str, bytes]] = {
    "two lengths": _SIGNAL + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunks": _SIGNAL + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": _SIGNAL + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "unknown coding": _SIGNAL + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": _SIGNAL + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "negative length": _SIGNAL + b"Content-Length: -1\r\n\r\n",
    "plus length": _SIGNAL + b"Content-Length: +2\r\n\r\n{}",
    "a blank before the colon": _RUNS + b"Authorization : Bearer x\r\n\r\n",
    "a name of two lines": _RUNS + b"Author\r\n ization: Bearer x\r\n\r\n",
    "NUL in a header": _RUNS + b"Authorization: Bearer \x00\r\n\r\n",
    "CR in a header": _RUNS + b"Authorization: Bearer a\rb\r\n\r\n",
    "no host": b"GET /v1/runs HTTP/1.1\r\n\r\n",
    "two hosts": _RUNS + b"Host: y\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /v1/runs HTTP/9.9\r\nHost: x\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a method with a blank": b"GE T /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "a head without end": _RUNS + b"" + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n",
    "headers without end": _RUNS + b"A: b\r\n" * 9_000 + b"\r\n",
    "a query without end": b"GET /v1/runs?" + b"a=b&" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "everything": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "another's place": b"GET http://evil.example/v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "two slashes": b"GET //evil.example/v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "dots": b"GET /v1/../metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path that is no text": b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": _RUNS + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a chunk of no length": _SIGNAL + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
}  # fmt: skip
"""Requests that no browser sends; what means two things to two readers stands first."""
AMBIGUOUS: Final = tuple(RAW)[:8]


async def test_requests_that_no_browser_sends(database: Database) -> None:
    """Each is refused; where it is not clear where one ends, no more is heard on its connection."""
    async with world(database) as found:
        url = found.client.base_url
        for name, sent in RAW.items():
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(sent + _SECOND)
            writer.write_eof()
            async with asyncio.timeout(10):
                answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
            writer.close()
            statuses = [int(answer[:3]) for answer in answers]
            assert statuses, name
            assert statuses[0] in {400, 401, 404}, (name, answers)
            assert name not in AMBIGUOUS or statuses == [400], (name, answers)
        assert (await (await found.person("read")).get("/v1/runs")).status_code == 200
