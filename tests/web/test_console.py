"""The operators' pages by real HTTP: who gets in, what each sees, which forms are taken, and what they do."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import pytest

from chimeway.store import console, nodes, tokens
from chimeway.store.definitions import register
from chimeway.store.pool import Database
from chimeway.store.verify import verify
from chimeway.web.console import live
from chimeway.web.console.guard import form_token
from chimeway.workflow.parse import parse
from kit.console import POLICY, Page, Site
from kit.door import console_door
from kit.waiting import wait_for
from store.door import Door
from store.verify_world import ESCALATION


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    """Ada and bob of "default", eve of "other", who wait; nobody is signed in."""
    world = Door(database)
    await register(database, parse(ESCALATION))
    for person in ("ada", "bob"):
        await world.start(person)
    sql = """select chimeway.trigger('escalation', tenant_id => 'other', recipient_id => 'eve',
                                     data => '{"document": 7}')"""
    world.runs["eve"] = await world.sql(sql)
    await world.progress("eve")
    async with console_door(database) as http:
        yield Site(world, http)


PATHS = (
    "/", "/runs", "/waiting", "/overdue", "/workflows", "/workflow?key=escalation", "/deliveries",
    "/recipients", "/recipient?id=ada", "/audit",
)  # fmt: skip


async def test_nobody_sees_anything_before_he_has_signed_in(site: Site) -> None:
    """Each page leads to where one signs in, and from there back; each form is refused."""
    for path in (*PATHS, f"/runs/{site.world.runs['ada']}"):
        answer = await site.http.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/sign-in")
    assert (await site.post("/plans", {"action": "cancel"})).status_code == 401
    secret = await site.token("read")
    answer = await site.sign_in(secret, next="/runs?state=waiting")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?state=waiting")
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", "/\tevil"):
        assert (await site.sign_in(secret, next=elsewhere)).headers["location"] == "/"


async def test_a_token_that_does_not_hold_lets_nobody_in(site: Site) -> None:
    """Unknown, revoked, expired, or one that may only produce."""
    revoked = await site.token("read")
    await tokens.revoke(site.world.database, UUID(site.secrets[revoked]))
    expired = await site.token("read", lasts=timedelta(0))
    for secret in ("", "cw_" + "x" * 43, revoked, expired, await site.token("produce")):
        answer = await site.sign_in(secret)
        assert answer.status_code == 403, secret
        assert "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text


async def test_the_cookie_is_safe_and_the_session_ends_with_its_token(site: Site) -> None:
    """Out of scripts' reach, kept as a digest; over when its token is, or by signing out."""
    secret = await site.token("read")
    cookie = (await site.sign_in(secret)).headers["set-cookie"]
    assert re.fullmatch(
        r"chimeway_console=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie
    ), cookie
    value = cookie.partition("=")[2].partition(";")[0]
    kept = await site.world.sql("select encode(digest, 'hex') || token_id from chimeway.console_sessions")
    assert value not in kept
    assert secret not in cookie
    proxied = await site.post("/sign-in", {"token": secret}, **{"X-Forwarded-Proto": "https"})
    assert proxied.headers["set-cookie"].startswith("__Host-chimeway_console=")
    assert "Secure" in proxied.headers["set-cookie"]
    assert (await site.http.get("/runs")).status_code == 200
    await tokens.revoke(site.world.database, UUID(site.secrets[secret]))
    assert (await site.http.get("/runs")).status_code == 303
    await site.sign_in(await site.token("read"))
    old = dict(site.http.cookies)
    assert (await site.post("/sign-out", {})).headers["location"] == "/sign-in"
    assert "chimeway_console" not in site.http.cookies
    site.http.cookies.update(old)
    assert (await site.http.get("/runs")).status_code == 303, (
        "it is over here, too, and not only forgotten there"
    )


async def test_a_form_must_be_ours(site: Site) -> None:
    """From another place, without one, without what the session's pages show: refused, nothing happens."""
    run = site.world.runs["ada"]
    path = f"/runs/{run}/cancel"
    await site.sign_in(await site.token("operate"))
    form = Page(await site.http.get(path)).forms[path]
    assert len(form["csrf"]) == 64
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://["}):
        assert (await site.post(path, form, **headers)).status_code == 403
        assert (await site.post("/sign-out", {}, **headers)).status_code == 403
        assert (await site.post("/sign-in", {"token": "cw_x"}, **headers)).status_code == 403
    assert (await site.http.post(path, data=form)).status_code == 403
    assert (await site.post(path, {})).status_code == 403
    assert (await site.post(path, {"csrf": "0" * 64})).status_code == 403
    assert (await site.post(path, {**form, "note": "x" * 20_000})).status_code == 400
    assert (await site.post(path, form | {f"f{n}": "1" for n in range(200)})).status_code == 400
    assert (await site.world.row("ada"))["state"] == "waiting"
    other = await site.post("/sign-in", {"token": "cw_x"}, Origin="https://evil.example")
    assert (other.status_code, "set-cookie" in other.headers) == (403, False)
    answer = await site.post(path, {**form, "note": "the document is gone"})
    assert answer.headers["location"] == f"/runs/{run}?did=stopped"
    assert "The run was stopped." in Page(await site.http.get(answer.headers["location"])).text


async def test_every_page_bears_its_headers_and_nothing_inline(site: Site) -> None:
    """A strict policy, no copies, no foreign frames; what it links to is there, and is kept for a year."""
    pages = ["/sign-in"]
    await site.sign_in(await site.token("operate"))
    ada = site.world.runs["ada"]
    acts = [f"/runs/{ada}/{action}" for action in ("cancel", "hold", "resume", "wake", "retime")]
    pages += [*PATHS, f"/runs/{ada}", *acts, f"/runs/{uuid4()}", "/runs?state=nonsense", "/runs/nonsense"]
    for path in pages:
        answer = await site.http.get(path)
        assert answer.headers["content-security-policy"] == POLICY, path
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert Page(answer).inline == [], path
        assert "<title>" in answer.text
        assert "<h1>" in answer.text
        assert '<html lang="en">' in answer.text
    for asset in re.findall(r'(?:href|src)="(/assets/[^"]+)"', answer.text):
        found = await site.http.get(asset)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
    assert (await site.http.get("/assets/console.css")).status_code == 404


async def test_one_tenants_token_sees_nothing_of_another(site: Site) -> None:
    """Not in lists, not by id, not by asking for the other; nor does anything happen to it."""
    await site.sign_in(await site.token("operate"))
    eve = site.world.runs["eve"]
    others = ("/runs?tenant=other", "/waiting?tenant=other", "/runs?recipient=eve&tenant=other")
    for path in (*PATHS, *others, "/recipients?tenant=other"):
        assert str(eve) not in (await site.http.get(path)).text, path
    for path in ("/nodes", "/recipient?id=eve&tenant=other", "/workflow/pause?key=escalation"):
        assert (await site.http.get(path)).status_code == 404, path
    csrf = Page(await site.http.get(f"/runs/{site.world.runs['ada']}/hold")).forms
    form = next(each for each in csrf.values() if "csrf" in each)
    for path in ("", "/cancel", "/hold", "/retime", "/wake", f"/retry/{uuid4()}"):
        assert (await site.http.get(f"/runs/{eve}{path}")).status_code == 404, path
        if path:
            assert (await site.post(f"/runs/{eve}{path}", form)).status_code == 404, path
    pause = await site.post("/workflow/pause", {**form, "key": "escalation"})
    assert pause.status_code == 404, "it is of all tenants"
    made = await site.post("/plans", {**form, "of": "waiting", "tenant": "other", "action": "cancel"})
    plan = Page(await site.http.get(made.headers["location"]))
    assert "2 runs" in plan.text
    assert "eve" not in plan.text
    stopped = await site.post(made.headers["location"], form)
    assert stopped.status_code == 303
    assert (await site.world.row("eve"))["state"] == "waiting"
    assert (await site.world.row("ada"))["state"] == "stopped"
    await site.sign_in(await site.token("operate", tenant="other"))
    assert (await site.http.get(made.headers["location"])).status_code == 404
    await site.sign_in(await site.token("read", tenant=None))
    text = (await site.http.get("/runs")).text
    assert "eve" in text
    assert "ada" in text
    assert (await site.http.get(f"/runs/{eve}")).status_code == 200


async def test_who_may_only_read_is_offered_nothing_and_can_do_nothing(site: Site) -> None:
    """Neither buttons nor deeds."""
    await site.sign_in(await site.token("read"))
    ada = site.world.runs["ada"]
    page = Page(await site.http.get(f"/runs/{ada}"))
    assert not [link for link in page.links if link.endswith(("cancel", "hold", "retime"))]
    assert "/plans" not in Page(await site.http.get("/waiting")).forms
    confirm = Page(await site.http.get(f"/runs/{ada}/cancel"))
    assert list(confirm.forms) == ["/sign-out"]
    cookie = site.http.cookies["chimeway_console"]
    answer = await site.post(f"/runs/{ada}/cancel", {"csrf": form_token(cookie)})
    assert answer.status_code == 403
    assert "lacks the scope operate" in answer.text
    assert (await site.world.row("ada"))["state"] == "waiting"


async def test_what_is_done_to_a_run_is_done_and_written_down(site: Site) -> None:
    """Hold, resume, move, cancel: each says what came of it; the audit bears who and why."""
    await site.sign_in(await site.token("operate"))
    ada = site.world.runs["ada"]
    steps = [
        ("hold", {"note": "legal looks"}, "held"),
        ("hold", {}, "not_holdable"),
        ("resume", {"note": "legal is fine"}, "resumed"),
        ("resume", {}, "not_held"),
        ("wake", {}, "not_due"),
        (
            "retime",
            {"how": "later", "number": "90", "unit": "minutes", "note": "wait for the fix"},
            "retimed",
        ),
        ("cancel", {"note": "gone"}, "stopped"),
        ("cancel", {}, "ended"),
    ]
    for action, form, code in steps:
        answer = await site.send(f"/runs/{ada}/{action}", f"/runs/{ada}/{action}", **form)
        assert answer.headers["location"] == f"/runs/{ada}?did={code}", (action, answer.text)
        assert 'role="status"' in (await site.http.get(answer.headers["location"])).text
    rows = await site.world.all("select who, action, note from chimeway.operator_actions order by at, id")
    assert [tuple(row) for row in rows] == [
        ("night operate", "hold", "legal looks"),
        ("night operate", "resume", "legal is fine"),
        ("night operate", "retime", "wait for the fix"),
        ("night operate", "cancel", "gone"),
    ]
    audit = Page(await site.http.get("/audit"))
    assert audit.links.count(f"/runs/{ada}") == 4
    assert "wait for the fix" in audit.text
    text = Page(await site.http.get(f"/runs/{ada}")).text
    assert "hold by night operate" in text
    assert "legal is fine" in text
    assert await verify(site.world.database) == []
    path = f"/runs/{site.world.runs['bob']}/retime"
    refused = await site.send(path, path, how="later", number="soon")
    assert refused.status_code == 400


async def test_a_workflow_is_paused_and_goes_on(site: Site) -> None:
    """By who may act for all tenants; written down, and seen on its page."""
    await site.sign_in(await site.token("operate", tenant=None))
    for action, code in (("pause", "paused"), ("unpause", "unpaused")):
        answer = await site.send(
            f"/workflow/{action}?key=escalation", f"/workflow/{action}", note="the template is wrong"
        )
        assert answer.headers["location"] == f"/workflow?key=escalation&did={code}"
        at = await site.world.sql("select paused_at from chimeway.workflow_definitions")
        assert (at is not None) == (action == "pause")
        assert 'role="status"' in (await site.http.get(answer.headers["location"])).text
    told = """select array_agg(action || ' ' || workflow_key || ' ' || note order by at)
                from chimeway.operator_actions"""
    why = "escalation the template is wrong"
    assert await site.world.sql(told) == [f"pause {why}", f"unpause {why}"]
    assert (await site.http.get("/workflow?key=nothing")).status_code == 404
    assert (await site.http.get("/workflow?key=escalation&version=9")).status_code == 404
    assert (await site.http.get("/nodes")).status_code == 200


async def test_whoever_asks_finds_by_whatever_he_has(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient, of whatever tenant; a run or a message by id; a key; and nothing of another tenant.

    A key of his own tenant is found however many tenants stand before it.
    """
    eve = site.world.runs["eve"]
    await site.world.sql(
        """select chimeway.trigger('escalation', tenant_id => 'other', recipient_id => 'zoe',
               data => '{"document": 7}', idempotency_key => 'mail-7', cancellation_key => 'doc-7')"""
    )
    zoe = await site.world.sql("select id from chimeway.workflow_runs where recipient_id = 'zoe'")
    mail = await site.world.sql("select id from chimeway.deliveries where run_id = $1", eve)
    leads = {
        "eve": "/runs?recipient=eve", str(eve): f"/runs/{eve}", str(mail): f"/runs/{eve}",
        "mail-7": f"/runs/{zoe}", "doc-7": f"/runs/{zoe}", "no/thing": "/runs?recipient=no%2Fthing",
    }  # fmt: skip
    await site.sign_in(await site.token("read", tenant=None))
    for name, path in leads.items():
        answer = await site.http.get("/find", params={"q": name})
        assert answer.headers["location"] == path, name
    assert f"/runs/{eve}" in Page(await site.http.get("/runs?recipient=eve")).links
    await site.sign_in(await site.token("read"))
    for name in leads:
        answer = await site.http.get("/find", params={"q": name})
        assert answer.headers["location"].startswith("/runs?recipient="), name
        assert str(eve) not in Page(await site.http.get(answer.headers["location"])).links
    monkeypatch.setattr(console, "MAX_PAGE", 1)
    await site.sign_in(await site.token("read", tenant="other"))
    assert (await site.http.get("/find?q=mail-7")).headers["location"] == f"/runs/{zoe}"


async def test_what_people_are_called_is_text_wherever_it_stands(site: Site) -> None:
    """Names, keys and notes of any kind are shown as they are, and are never part of a page."""
    evil = "\"><script>alert('x')</script>&amp;"
    definition = {**ESCALATION, "key": evil, "version": 1}
    await register(site.world.database, parse(definition))
    begin = """select chimeway.trigger($1, recipient_id => $1, data => '{"document": 7}',
                                       cancellation_key => $1)"""
    run = await site.world.sql(begin, evil)
    site.world.runs["evil"] = run
    await site.world.progress("evil")
    await site.world.sql("select chimeway.hold_run($1, 'held_by_request', $2)", run, evil)
    await site.sign_in(await site.token("operate", tenant=None))
    q = quote(evil)
    for path in (
        "/runs", f"/runs?recipient={q}", f"/runs?step={q}", f"/runs/{run}", f"/runs/{run}/cancel",
        "/workflows", "/waiting", f"/waiting?step={q}", f"/workflow?key={q}", f"/workflow/pause?key={q}",
        "/recipients",
        f"/recipient?tenant=default&id={q}", f"/deliveries?channel={q}", f"/runs/{run}?did={q}",
        f"/sign-in?next=/{q}",
    ):  # fmt: skip
        answer = await site.http.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert Page(answer).inline == [], path
    assert f"/runs/{run}" in Page(await site.http.get(f"/runs?recipient={q}")).links


AGAIN_IN_AN_HOUR = """update chimeway.deliveries set next_attempt_at = now() + '1 h', status = 'failed'
    where id = $1"""


async def _failed(site: Site, note: str | None) -> None:
    """Bob's wait is over, and the first attempt of his e-mail has failed."""
    await site.world.sql(
        "select chimeway.retime_runs(array[$1]::uuid[], p_by => '-9 h')", site.world.runs["bob"]
    )
    await site.world.progress("bob")
    await site.world.attempt("bob", "failed", error_class="transient", note=note, next_attempt_at=None)


async def test_what_a_provider_answers_is_text_wherever_it_stands(site: Site) -> None:
    """Its words, and an operator's name and note: of no page a part, and no template."""
    evil = "\"><img src=x onerror=alert(1)>{{7*7}}<script>alert('x')</script>"
    await _failed(site, evil)
    bob, mail = site.world.runs["bob"], await site.world.delivery("bob")
    did = """insert into chimeway.operator_actions (who, action, tenant_id, run_id, note)
             values ($1, $1, 'default', $2, $1)"""
    await site.world.sql(did, evil, bob)
    await site.sign_in(await site.token("operate", tenant=None))
    shown = 0
    for path in (
        "/",
        "/deliveries",
        "/audit",
        f"/runs/{bob}",
        f"/runs/{bob}/retry/{mail}",
        "/recipient?tenant=default&id=bob",
    ):
        answer = await site.http.get(path)
        assert answer.status_code in {200, 303}, path
        assert "<img src=x" not in answer.text, path
        assert "<script>alert" not in answer.text, path
        assert "49<" not in answer.text, path
        assert Page(answer).inline == [], path
        shown += evil in Page(answer).text
    assert shown >= 2, "it is shown, as it is"


async def test_why_there_is_no_run_is_said(site: Site) -> None:
    """Of somebody without runs; who else has such a name is told to those only who see all tenants."""
    await site.world.sql("select chimeway.identify('other', 'eve', '{}')")
    path = "/runs?recipient=eve"
    await site.sign_in(await site.token("read"))
    page = Page(await site.http.get(path))
    assert "Why was nothing triggered? eve has no profile." in page.text
    assert 'tenant "other"' not in page.text
    assert "Why was nothing" not in Page(await site.http.get("/runs?recipient=ada")).text
    assert "Why was nothing" not in Page(await site.http.get(f"{path}&state=waiting")).text
    await site.sign_in(await site.token("read", tenant=None))
    assert 'has a profile in tenant "other"' in Page(await site.http.get(f"{path}&tenant=default")).text
    assert "Name the tenant, too" in Page(await site.http.get("/runs?recipient=nobody")).text


async def test_a_failed_message_is_tried_again(site: Site) -> None:
    """From the run's page, which says its fault once; what has succeeded meanwhile is not."""
    await _failed(site, "transient_failure: the server answered 451 later")
    bob, mail = site.world.runs["bob"], await site.world.delivery("bob")
    await site.world.sql(AGAIN_IN_AN_HOUR, mail)
    await site.sign_in(await site.token("operate"))
    assert f"/runs/{bob}" in Page(await site.http.get("/deliveries")).links
    path = f"/runs/{bob}/retry/{mail}"
    assert path in Page(await site.http.get(f"/runs/{bob}")).links
    for shown in ("/deliveries", f"/runs/{bob}"):
        text = (await site.http.get(shown)).text
        assert ("the server answered 451 later" in text, "transient_failure" in text) == (True, False), shown
    assert (await site.send(path, path)).headers["location"] == f"/runs/{bob}?did=retried"
    assert await site.world.sql(
        "select next_attempt_at <= now() from chimeway.deliveries where id = $1", mail
    )
    await site.world.sql("select chimeway.hold_run($1, 'held_by_request')", bob)
    assert (await site.send(path, path)).headers["location"] == f"/runs/{bob}?did=run_held"


async def test_a_channel_that_no_node_has_can_be_chosen(site: Site) -> None:
    """Its messages fail for just that: they can be listed alone, and the page says that they are."""
    await nodes.enrol(site.world.database, uuid4(), "node", "0", ["log"])
    await _failed(site, None)
    await site.world.sql(AGAIN_IN_AN_HOUR, await site.world.delivery("bob"))
    await site.sign_in(await site.token("read"))
    assert '<option value="email">' in (await site.http.get("/deliveries")).text
    assert '<option value="email" selected>' in (await site.http.get("/deliveries?channel=email")).text
    assert '<option value="email"' not in (await site.http.get("/deliveries?channel=log")).text


async def test_a_plan_does_what_it_counted_and_tells_what_had_changed(site: Site) -> None:
    """Counted, shown, confirmed; who moved in between is left, and told; sent twice it does nothing twice."""
    await site.sign_in(await site.token("operate"))
    made = await site.send("/waiting", "/plans", action="retime", how="now")
    path = made.headers["location"]
    page = Page(await site.http.get(path))
    assert "Move the waits of 2 runs?" in page.text
    assert "now, at once" in page.text
    assert {"ada", "bob"} <= set(page.text.split())
    await site.world.say("bob", "skip")
    await site.world.progress("bob")
    for _ in range(2):
        answer = await site.post(path, {**page.forms[path], "note": "at night"})
        assert answer.headers["location"] == path
    done = Page(await site.http.get(path)).text
    assert "1 moved" in done
    assert "1 had changed since they were counted" in done
    assert await site.world.reasons("ada") == [*(await site.world.reasons("ada"))[:-1], "wait_retimed"]
    assert (await site.world.reasons("ada")).count("wait_retimed") == 1
    assert (await site.world.reasons("bob"))[-1] == "step_activated"
    assert await site.world.sql("select count(*) from chimeway.operator_actions") == 1
    assert await verify(site.world.database) == []


async def test_a_page_that_is_looked_on_at_says_what_has_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server-sent events on the page's own address; they end with the session."""
    monkeypatch.setattr(live, "_EVERY_S", 0.2)
    secret = await site.token("read")
    await site.sign_in(secret)
    headers = {"Accept": "text/event-stream"}
    shown = re.search(r'data-mark="(\w+)"', (await site.http.get(f"/runs/{site.world.runs['ada']}")).text)
    assert shown is not None
    async with site.http.stream("GET", f"/runs/{site.world.runs['ada']}", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = stream.aiter_lines()
        first = [line async for line in _until(events, "data: ")]
        assert f"id: {shown[1]}" in first, "it is what the page shows already"
        assert "waiting" in first[-1]
        await site.world.sql("select count(*) from chimeway.cancel($1)", site.world.runs["ada"])
        assert "cancelled_by_request" in [line async for line in _until(events, "data: ")][-1]
        await tokens.revoke(site.world.database, UUID(site.secrets[secret]))
        lines = [line async for line in _until(events, "event: over")]
        assert lines[-1] == "event: over"


async def test_nobody_looks_on_in_all_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four places a tenant's people have three; who comes then has one, and each is given back."""
    monkeypatch.setattr(live, "LOOKERS", 4)
    url, looking = f"/runs/{site.world.runs['ada']}", {"Accept": "text/event-stream"}
    async with console_door(site.world.database) as http, httpx2.AsyncClient(timeout=20) as other:
        other.base_url = http.base_url
        ours, theirs = Site(site.world, http), Site(site.world, other)
        await ours.sign_in(await ours.token("read"))
        await theirs.sign_in(await theirs.token("read", tenant=None))
        async with AsyncExitStack() as looked:

            async def looks(who: Site) -> int:
                ask = who.http.stream("GET", url, headers=looking)
                return (await looked.enter_async_context(ask)).status_code

            assert [await looks(ours) for _ in range(4)] == [200, 200, 200, 503]
            assert await looks(theirs) == 200

        async def place() -> bool:
            async with http.stream("GET", url, headers=looking) as stream:
                return stream.status_code == 200

        await wait_for(place, "there is a place again")


async def _until(lines: AsyncIterator[str], start: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith(start):
            return


async def test_the_waiting_room_of_all_tenants(site: Site) -> None:
    """Who may see all sees all of them, each with its tenant; to act on many, one is chosen."""
    await site.sign_in(await site.token("operate", tenant=None))
    page = Page(await site.http.get("/waiting"))
    assert "eve" in page.text
    assert "other" in page.text
    assert "/plans" not in page.forms
    assert "Choose a tenant to do something" in page.text
    assert "/plans" in Page(await site.http.get("/waiting?tenant=other")).forms
