"""The webhook channel against a real server: what it sends, what it makes of answers, and of none."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chimeway.clock import ManualClock, SystemClock
from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    PermanentFailure,
    RateLimited,
    SendFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.delivery.channels.webhook_posting import Bounds
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets
from chimeway.delivery.route import single
from kit.receiver import CLOSE, HANG, OK, Receiver, receiving, reply
from kit.waiting import wait_for
from kit.webhooks import NOW, SECRET, message, webhook

QUICK = Bounds(connect_timeout_s=0.6, reply_timeout_s=0.3)
PATIENT = Bounds(connect_timeout_s=20, reply_timeout_s=20)


async def sent_by(receiver: Receiver, path: str = "/hook", **changes: Any) -> Sent:
    """Send one message to the receiver, as to a recipient's address."""
    async with webhook(receiver.port, **changes) as channel:
        return await channel.send(message(f"http://127.0.0.1:{receiver.port}{path}"))


async def test_what_is_posted() -> None:
    """A POST of JSON, signed so that another's implementation verifies it, to the path that was given."""
    async with receiving(reply(202, "X-Request-Id: r-4711")) as receiver:
        sent = await sent_by(receiver, "/hook?tenant=a%20b")
    (request,) = receiver.requests
    assert sent == Sent("r-4711")
    assert request.first == "POST /hook?tenant=a%20b HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["webhook-id"] == "0198b2c4-aaaa-7000-8000-000000000001"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert json.loads(request.body) == {
        "type": "mention_webhook",
        "timestamp": "2025-08-16T12:04:49.962Z",
        "data": {
            "delivery_id": "0198b2c4-aaaa-7000-8000-000000000001",
            "run_id": "r1",
            "tenant_id": "org_456",
            "recipient_id": "ada",
            "workflow": "mention",
            "step": "tell",
            "subject": "You were mentioned",
            "body": "<p>Gr\u00fc\u00dfe</p>",
            "text": "Gr\u00fc\u00dfe",
            "data": {"document_id": "doc_789"},
        },
    }


async def test_receivers_verify_it() -> None:
    """Another's implementation of Standard Webhooks takes what is posted, and not with a byte changed."""
    async with receiving() as receiver:
        await sent_by(receiver, clock=SystemClock())
    (request,) = receiver.requests
    Webhook(SECRET).verify(request.body.decode(), request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.decode() + " ", request.headers)


async def test_each_attempt_has_the_same_bytes() -> None:
    """Only timestamp and signature differ between attempts of one delivery."""
    clock = ManualClock(NOW)
    async with receiving() as receiver, webhook(receiver.port, clock=clock) as channel:
        for _ in range(2):
            await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
            clock.advance(60)
    first, second = receiver.requests
    assert first.body == second.body
    differ = {name for name in first.headers if first.headers[name] != second.headers[name]}
    assert differ == {"webhook-timestamp", "webhook-signature"}
    assert first.connection == second.connection


async def test_the_triggers_data_can_be_left_out() -> None:
    """Then only what was rendered for the receiver leaves, and an URL to unsubscribe by is there when set."""
    async with receiving() as receiver, webhook(receiver.port, with_data=False) as channel:
        url = f"http://127.0.0.1:{receiver.port}/"
        await channel.send(message(url, unsubscribe_url="https://example.org/u"))
    data = json.loads(receiver.requests[0].body)["data"]
    assert "data" not in data
    assert data["unsubscribe_url"] == "https://example.org/u"


async def test_a_fixed_url_needs_no_address() -> None:
    """Where the settings name the URL, all messages go there, whoever the recipient is."""
    async with receiving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/all"
        async with webhook(receiver.port, url=url) as channel:
            assert not channel.needs_address
            assert channel.endpoint("https://example.org/") is None
            await channel.send(message(None))
    assert receiver.requests[0].first == "POST /all HTTP/1.1"


REFUSALS = [
    (400, PermanentFailure, PermanentFailure),
    (401, PermanentFailure, ConfigurationFailure),
    (403, PermanentFailure, ConfigurationFailure),
    (404, Bounced, ConfigurationFailure),
    (410, Bounced, ConfigurationFailure),
    (408, TransientFailure, TransientFailure),
    (413, PermanentFailure, PermanentFailure),
    (422, PermanentFailure, PermanentFailure),
    (425, TransientFailure, TransientFailure),
    (429, RateLimited, RateLimited),
    (500, TransientFailure, TransientFailure),
    (502, UnknownOutcome, UnknownOutcome),
    (504, UnknownOutcome, UnknownOutcome),
    (524, UnknownOutcome, UnknownOutcome),
    (503, TransientFailure, TransientFailure),
    (599, TransientFailure, TransientFailure),
    (302, PermanentFailure, ConfigurationFailure),
    (304, PermanentFailure, ConfigurationFailure),
    (600, UnknownOutcome, UnknownOutcome),
    (999, UnknownOutcome, UnknownOutcome),
]


@pytest.mark.parametrize(("status", "of_recipient", "of_ours"), REFUSALS)
async def test_refusals(status: int, of_recipient: type[SendFailure], of_ours: type[SendFailure]) -> None:
    """Each status is what it means; for the whole endpoint it depends on whose URL it is."""
    answer = reply(status, "Location: /there", body=b"no")
    async with receiving(answer, answer) as receiver:
        with pytest.raises(SendFailure) as caught:
            await sent_by(receiver)
        assert type(caught.value) is of_recipient
        with pytest.raises(SendFailure) as caught:
            await sent_by(receiver, url=f"http://127.0.0.1:{receiver.port}/")
        assert type(caught.value) is of_ours
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("Retry-After: 120", 120.0),
        ("Retry-After: Mon, 04 May 2026 12:01:00 GMT", 60.0),
        ("Retry-After: Mon, 04 May 2026 11:00:00 GMT", 0.0),
        ("Retry-After: soon", None),
        ("Retry-After: -5", None),
        ("Retry-After: \u0663", None),
        ("X: y", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after(status: int, said: str, seconds: float | None) -> None:
    """Seconds or a date say when to come again; nonsense says nothing."""
    async with receiving(reply(status, said.encode("utf-8").decode("latin-1"))) as receiver:
        with pytest.raises((RateLimited, TransientFailure)) as caught:
            await sent_by(receiver)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (CLOSE, UnknownOutcome),
        (b"HTTP/1.1 20" + CLOSE, UnknownOutcome),
        (b"HTTP/1.1 200 OK\r\nContent-Le" + CLOSE, UnknownOutcome),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok" + CLOSE, UnknownOutcome),
        (b"\x00\xff rubbish\r\n\r\n" + CLOSE, UnknownOutcome),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n" + CLOSE, UnknownOutcome),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + CLOSE, UnknownOutcome),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nno" + CLOSE, TransientFailure),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + HANG, UnknownOutcome),
        (HANG, TimeoutError),
        (b"SSH-2.0-OpenSSH_9.9\r\n" + HANG, TimeoutError),
        (b"HTTP/1.1 200 OK\r\nContent-Le" + HANG, TimeoutError),
    ],
)
async def test_no_answer(answer: bytes, failure: type[Exception]) -> None:
    """Whoever has the whole request may have the message, whatever does not come back."""
    async with receiving(answer) as receiver:
        with pytest.raises(failure) as caught:
            await sent_by(receiver, bounds=QUICK if failure is TimeoutError else PATIENT)
    assert type(caught.value) is failure
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"y" * 300_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"y" * 65_536,
        reply(200, "Content-Encoding: gzip", body=gzip.compress(b"\0" * 20_000_000, mtime=0)),
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["endless", "chunked", "bomb", "empty"],
)
async def test_the_rest_of_an_answer_is_bounded(answer: bytes) -> None:
    """A yes is a yes; its body is read up to a bound, unpacked never, and the next message gets through."""
    async with receiving(answer + CLOSE) as receiver, webhook(receiver.port) as channel:
        for _ in range(2):
            await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
    assert len(receiver.requests) == 2


async def test_nobody_listens() -> None:
    """A refused connection is transient: nothing was sent."""
    async with receiving() as receiver:
        pass
    with pytest.raises(TransientFailure, match="no connection"):
        await sent_by(receiver)


async def test_an_idle_connection_that_was_closed_is_replaced() -> None:
    """What the receiver closed while it lay idle is seen before anything is sent."""
    async with receiving() as receiver, webhook(receiver.port) as channel:
        await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
        receiver.hang_up()
        await receiver.gone.wait()
        await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_an_answer_that_came_before_its_request() -> None:
    """What a receiver said too much belongs to no message: not to the next one, and then it is over."""
    gone = OK + reply(410)
    async with receiving(gone) as receiver, webhook(receiver.port) as channel:
        address = f"http://127.0.0.1:{receiver.port}/"
        await channel.send(message(address))
        with pytest.raises(UnknownOutcome, match="belongs to another"):
            await channel.send(message(address))
        await channel.send(message(address))
    assert [request.connection for request in receiver.requests][::2] == [1, 2]


async def test_connections_are_bounded() -> None:
    """However many are sent at once, no more connections are open than may be."""
    async with receiving() as receiver, webhook(receiver.port, bounds=Bounds(connections=3)) as channel:
        address = f"http://127.0.0.1:{receiver.port}/"
        await asyncio.gather(*(channel.send(message(address)) for _ in range(20)))
    assert len(receiver.requests) == 20
    assert receiver.connections <= 3


async def test_a_cancelled_send_frees_its_place() -> None:
    """A send that is cancelled closes its connection, and the next one has its place."""
    async with receiving(HANG) as receiver, webhook(receiver.port, bounds=Bounds(connections=1)) as channel:
        address = f"http://127.0.0.1:{receiver.port}/"
        sending = asyncio.ensure_future(channel.send(message(address)))
        await wait_for(lambda: receiver.requests, "it waits for an answer")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await channel.send(message(address))
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_cookies_are_not_kept() -> None:
    """What one tenant's receiver sets is not shown to it, or to another, again."""
    async with (
        receiving(reply(200, "Set-Cookie: a=b; Path=/")) as receiver,
        webhook(receiver.port) as channel,
    ):
        for _ in range(2):
            await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
    assert "cookie" not in receiver.requests[1].headers


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve names and connect for us, past every check."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with receiving() as receiver:
        await sent_by(receiver)
    assert receiver.requests[0].first == "POST /hook HTTP/1.1"


async def test_a_tenant_without_a_secret() -> None:
    """Nothing leaves unsigned: that is a fault of configuration, and of this tenant only."""
    (key,) = read_secrets(SECRET)
    async with receiving() as receiver:
        secrets = Secrets(of_tenants={"other": (key,)})
        async with webhook(receiver.port, secrets=secrets) as channel:
            address = f"http://127.0.0.1:{receiver.port}/"
            with pytest.raises(ConfigurationFailure, match="no secret"):
                await channel.send(message(address))
            await channel.send(message(address, tenant_id="other"))
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "x" * 1_048_576},
        {"data": {"x": float("nan")}},
        {"data": {"x": object()}},
        {"delivery_id": "a.b"},
        {"delivery_id": "a\r\nX: y"},
        {"delivery_id": ""},
        {"address": None},
        {"address": ""},
        {"address": "https://user:hunter2@example.org/"},
        {"address": "ada@example.org"},
    ],
)
async def test_what_cannot_be_posted(changes: dict[str, Any]) -> None:
    """Too large, no JSON, an id that could be two, no URL: refused before anybody is called."""
    async with webhook(1) as channel:
        with pytest.raises(PermanentFailure) as caught:
            await channel.send(message(**({"address": "http://127.0.0.1:1/"} | changes)))
    assert "hunter2" not in f"{caught.value} {caught.value.details}"


SAID = b"no such\r\n field \x00 at https://example.org/?t=1, Bearer abc whsec_MfKQ9r8 v1,abc= bo@example.org"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (reply(400, body=b"bad"), ": bad"),
        (reply(400, body=SAID), ": no such field \ufffd at *** *** *** *** ***"),
        (
            reply(422, "Content-Type: application/json; x", body=b'{"e": "ada: doc_789?"}'),
            ': {"e": "***: ***?"}',
        ),
        (reply(500, body=b"x" * 50_000), f": {'x' * 200}"),
        (reply(400, "Content-Type: text/html", body=b"<p>no</p>"), ""),
        (reply(400, "Content-Encoding: gzip", body=gzip.compress(b"no", mtime=0)), ""),
        (reply(400), ""),
    ],
)
async def test_the_beginning_of_a_refusal_is_kept(answer: bytes, kept: str) -> None:
    """It says why, in one short line: without what was sent, addresses and secrets."""
    async with receiving(answer) as receiver:
        with pytest.raises(SendFailure) as caught:
            await sent_by(receiver)
    assert caught.value.message.removeprefix("the endpoint answered ")[3:] == kept


async def test_where_it_was_sent_is_not_kept() -> None:
    """Many servers name the path that they do not know, and it may be a password."""
    said = b'{"path": "/hooks/t0psecret", "q": "k\xc3\xa9y"}'
    answer = reply(404, "Content-Type: application/json", body=said)
    async with receiving(answer) as receiver:
        with pytest.raises(Bounced) as caught:
            await sent_by(receiver, "/hooks/t0psecret?of=k%C3%A9y")
    assert caught.value.message.endswith('{"path": "/***/***", "q": "***"}')


async def test_an_echo_is_not_kept() -> None:
    """A receiver that repeats what it was sent says nothing with it."""
    async with receiving() as receiver:
        await sent_by(receiver)
        receiver.answers.append(reply(400, body=b"cannot read " + receiver.requests[0].body))
        with pytest.raises(PermanentFailure, match=r"answered 400$"):
            await sent_by(receiver)


async def test_each_endpoint_answers_for_itself() -> None:
    """Breaker and pauses are of the host and port; its path, which may be a password, is in no log."""
    async with webhook(443) as channel:
        assert channel.endpoint("https://Hooks.example.org/t0ken?a=b") == "hooks.example.org:443"
        assert single(channel, SystemClock()).providers[0].endpoint("no url") is None
