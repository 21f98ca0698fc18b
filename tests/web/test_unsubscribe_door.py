"""The door for links to unsubscribe by, by real HTTP: who only looks, who unsubscribes, and who is nobody."""

import asyncio
import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

import httpx2
import pytest

from chimeway.render.templates import Templates
from chimeway.store.pool import Database
from chimeway.unsubscribe_tokens import Subscription, signed
from chimeway.web import bodies
from chimeway.web import unsubscribing as door_module
from chimeway.web.unsubscribe_page import Pages
from kit.door import unsubscribe_door
from kit.waiting import wait_for
from store.door import Door, opened
from store.plain_sql import deliver

KEY, OTHER = b"k" * 32, b"o" * 32
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
NO = {"workflows": {"escalation": {"email": False}}}


class Page(HTMLParser):
    """What a browser sees: the language, the title, and the one form."""

    def __init__(self, answer: httpx2.Response) -> None:
        """Read it."""
        super().__init__()
        self.url = str(answer.url)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all such tags."""
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def action(self) -> str:
        """Where the one form posts to."""
        (form,) = self.all("form")
        assert form["method"] == "post"
        return urljoin(self.url, form.get("action") or self.url)


async def sent(database: Database) -> tuple[Door, str]:
    """Plan an e-mail, and return the path of the link in it."""
    world = await opened(database)
    await world.trigger("ada")
    async with database.acquire() as connection:
        delivery = await deliver(connection, world.runs["ada"])
    return world, f"/v1/unsubscribe/{token(delivery)}"


def token(delivery: UUID, recipient: str = "ada") -> str:
    """Return a token as it stands in a mail."""
    made = signed(Subscription("default", recipient, "escalation", "email", delivery), [KEY])
    assert made is not None
    return made


async def prefers(world: Door) -> Any:
    """Return what ada prefers, if anything is known of her."""
    found = await world.sql("select preferences::text from chimeway.recipients where recipient_id = 'ada'")
    return None if found is None else json.loads(found)


@pytest.mark.parametrize("below", ["", "/mail/chimeway"])
async def test_a_person_unsubscribes_and_thinks_again(database: Database, below: str) -> None:
    """Looking changes nothing; one button unsubscribes; the next page undoes it, and back again."""
    world, path = await sent(database)
    async with unsubscribe_door(database, KEY, below=below) as browser:
        shown = await browser.get(below + path)
        head = await browser.head(below + path)
        assert (shown.status_code, head.status_code, head.text) == (200, 200, "")
        assert await prefers(world) is None
        page = Page(shown)
        assert page.all("html") == [{"lang": "en"}]
        assert page.action == str(shown.url)
        done = await browser.post(page.action)
        assert (done.status_code, await prefers(world)) == (200, NO)
        undo = Page(done).action
        assert undo == f"{shown.url}/undo"
        assert Page(await browser.get(undo)).action == undo
        assert await prefers(world) == NO
        undone = await browser.post(undo)
        assert (undone.status_code, await prefers(world)) == (200, {})
        again = await browser.post(Page(undone).action)
        assert (again.status_code, await prefers(world)) == (200, NO)


@pytest.mark.parametrize(
    "body", [{"data": ONE_CLICK}, {"files": {"List-Unsubscribe": "One-Click"}}, {"content": b"\xff{"}, {}]
)
async def test_a_mailbox_unsubscribes_with_one_request(database: Database, body: Any) -> None:
    """As a form, in parts, as nonsense, with no body: the method decides. No cookie, no redirect."""
    world, path = await sent(database)
    async with unsubscribe_door(database, KEY) as mailbox:
        for _ in range(2):
            answer = await mailbox.post(path, **body)
            assert answer.status_code == 200
            assert not answer.has_redirect_location
            assert "set-cookie" not in answer.headers
        assert await prefers(world) == NO
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_what_is_no_link_of_ours_says_no_more_than_that(database: Database) -> None:
    """Cut off, of another key, of another's delivery, forgotten: one answer for all, nothing is written."""
    world, path = await sent(database)
    delivery = (await world.deliveries("ada"))[-1]["id"]
    async with unsubscribe_door(database, OTHER) as client:
        told = [await client.get(path), await client.post(path)]
    async with unsubscribe_door(database, OTHER, KEY) as client:
        other = f"/v1/unsubscribe/{token(delivery, 'bob')}"
        for wrong in (
            path[:-1],
            path + "A",
            "/v1/unsubscribe/x",
            "/v1/unsubscribe/%00",
            "/v1/unsubscribe/" + "A" * 9_000,
        ):
            told += [await client.get(wrong), await client.post(wrong), await client.post(f"{wrong}/undo")]
        told.append(await client.post(other))
        await world.sql("update chimeway.deliveries set recipient_id = 'pseudonym'")
        told += [await client.post(path), await client.post(f"{path}/undo")]
        assert {(answer.status_code, answer.text) for answer in told} == {(404, told[0].text)}
        methods = [await client.request(method, path) for method in ("PUT", "DELETE", "OPTIONS")]
        assert [answer.status_code for answer in methods] == [405] * 3
        assert (await client.post("/v1/unsubscribe/")).status_code == 404
        assert (await client.post(f"{path}/")).status_code == 404
    assert await world.sql("select count(*) from chimeway.recipients") == 0


async def test_bodies_end_somewhere(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is far too long is no request to unsubscribe, nor what never comes."""
    world, path = await sent(database)
    async with unsubscribe_door(database, KEY) as client:
        assert (await client.post(path, content=b"x" * 20_000)).status_code == 413
        monkeypatch.setattr(bodies, "BODY_S", 0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
    assert await prefers(world) is None


async def test_without_the_database_it_is_put_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has it locked, the schema is older, nobody answers: come again; nothing is lost by that."""
    world, path = await sent(database)
    async with unsubscribe_door(database, KEY) as client:
        async with database.acquire() as other, other.transaction():
            await other.execute("select from chimeway.deliveries for update")
            with monkeypatch.context() as patch:
                patch.setattr(door_module, "_WRITE_S", 0.3)
                busy = await client.post(path)
        await world.sql("alter function chimeway.unsubscribe rename to was_not_there_before")
        older = await client.post(path)
        await world.sql("alter function chimeway.was_not_there_before rename to unsubscribe")
        assert (await client.post(path)).status_code == 200
        await database.close()
        away = await client.post(path)
        for answer in (busy, older, away):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
            assert Page(answer).action == str(answer.url)
        assert (await client.get(path)).status_code == 200


async def test_the_nodes_connections_are_its_own(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many unsubscribe at once, most connections stay the engine's; all are answered in the end."""
    monkeypatch.setattr(door_module, "_WRITE_S", 20)
    world, path = await sent(database)
    waiting = """select count(*) from pg_stat_activity where datname = current_database()
                    and query ~ 'unsubscribe' and wait_event_type = 'Lock'"""
    async with unsubscribe_door(database, KEY) as client:
        async with database.acquire() as other, other.transaction():
            await other.execute("select from chimeway.deliveries for update")
            posts = [asyncio.ensure_future(client.post(path)) for _ in range(8)]
            await wait_for(lambda: world.sql(f"{waiting} having count(*) >= 4"), "they wait")
            assert (await client.get("/healthz")).status_code == 200
            assert await world.sql(waiting) == 4
        assert [answer.status_code for answer in await asyncio.gather(*posts)] == [200] * 8


async def test_a_template_says_it_in_other_words(database: Database) -> None:
    """In the browser's language; what fills it is escaped; where it has a fault, our own words stand in."""
    form = '{% if action is not none %}<form method="post" action="{{ action }}"></form>{% endif %}'
    templates = Templates(
        {
            "unsubscribe.html.j2": "{{ state }} {{ workflow }}" + form,
            "unsubscribe.html.de.j2": "Abmelden ({{ state }})" + form,
            "unsubscribe.html.fr.j2": "{% if state == 'done' %}{{ nothing }}{% endif %}" + form,
        }
    )
    (fault,) = Pages(templates).faults()
    assert fault.startswith("unsubscribe.html.fr.j2 line 1: 'nothing' is undefined")
    broken = Pages(Templates({"unsubscribe.html.j2": "{{ state }}{{ nothing }}"}))
    assert "'nothing' is undefined" in next(broken.faults())
    world, path = await sent(database)
    made = signed(Subscription("default", "ada", "<b>&", "email", UUID(int=7)), [KEY])
    german, french = {"Accept-Language": "de-CH, de;q=0.9, en;q=0.8"}, {"Accept-Language": "fr"}
    async with unsubscribe_door(database, KEY, pages=Pages(templates)) as client:
        assert (await client.get(f"/v1/unsubscribe/{made}")).text.startswith("ask &lt;b&gt;&amp;<form")
        assert (await client.get("/v1/unsubscribe/x")).text == "invalid "
        asked = await client.get(path, headers=german)
        assert asked.text.startswith("Abmelden (ask)")
        done = await client.post(Page(asked).action, headers=german)
        assert done.text.startswith("Abmelden (done)")
        undone = await client.post(Page(done).action, headers=german)
        assert "Unsubscribed" in (await client.post(Page(undone).action, headers=french)).text
    assert await prefers(world) == NO


async def test_what_is_shown_is_text(database: Database) -> None:
    """A workflow's key and a channel's name are shown, and never as HTML."""
    made = signed(Subscription("default", "ada", "<b>&", "e_mail", UUID(int=7)), [KEY])
    async with unsubscribe_door(database, KEY) as client:
        text = (await client.get(f"/v1/unsubscribe/{made}")).text
    assert "\u201c&lt;b&gt;&amp;\u201d messages by e mail" in text
