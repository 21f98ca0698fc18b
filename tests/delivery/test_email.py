"""The e-mail channel against real servers on loopback: aiosmtpd, and scripts that misbehave."""

import asyncio
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from chimeway.clock import ManualClock
from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    Message,
    PermanentFailure,
    RateLimited,
    Sent,
    TransientFailure,
    UnknownOutcome,
    classify,
)
from chimeway.delivery.channels import smtp_connections
from chimeway.delivery.channels.email import EmailChannel
from chimeway.delivery.channels.places import a_place
from chimeway.delivery.channels.smtp_server import SmtpServer, smtp_server
from chimeway.errors import InvalidSettings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SENDER = "Chimeway <no-reply@example.org>"


def message(**changes: Any) -> Message:
    """Make a message to Ada, with changes."""
    parts: dict[str, Any] = {
        "delivery_id": "0198b2c4-aaaa-7000-8000-000000000001",
        "run_id": "r1",
        "tenant_id": "org_456",
        "recipient_id": "user_123",
        "channel": "email",
        "address": "ada@example.org",
        "subject": "Ada, you were mentioned",
        "body": "<p>Gr\u00fc\u00dfe &amp; more</p>",
        "text": "Gr\u00fc\u00dfe & more",
    }
    return Message(**(parts | changes))


GREETED = [b"220 hi\r\n", b"250 sink\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go\r\n"]


class Sink:
    """A server's handler: keeps what arrives, answers as it is told."""

    def __init__(self, **answers: str) -> None:
        """Take answers by command; one that is not given is a yes."""
        self.answers = answers
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []

    async def handle_MAIL(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL."""
        self.sessions.append(session)
        envelope.mail_from = address
        return self.answers.get("mail", "250 OK")

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer RCPT."""
        envelope.rcpt_tos.append(address)
        return self.answers.get("rcpt", "250 OK")

    async def handle_DATA(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Answer DATA, and keep the mail."""
        answer = self.answers.get("data", "250 OK queued as 4711")
        if answer.startswith("250"):
            content = envelope.content
            assert isinstance(content, bytes)
            self.envelopes.append(envelope)
            parser = BytesParser(EmailMessage, policy=email.policy.default)
            self.mails.append(parser.parsebytes(content))
        return answer


@asynccontextmanager
async def listening(factory: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[int]:
    """Serve a protocol on a free port of loopback."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def sending(
    handler: Sink, *, query: str = "", user: str = "", timeout_s: float = 10, **smtp: Any
) -> AsyncIterator[EmailChannel]:
    """Open a channel to an aiosmtpd server with this handler."""
    connections: list[SMTP] = []

    def connected() -> SMTP:
        connections.append(SMTP(handler, enable_SMTPUTF8=False, hostname="sink", **smtp))
        return connections[-1]

    async with listening(connected) as port:
        url = f"smtp://{user}127.0.0.1:{port}{query}"
        async with EmailChannel(url, SENDER, timeout_s, clock=ManualClock(NOW)) as channel:
            yield channel
    for one in connections:
        if one.transport is not None:
            one.transport.abort()


@asynccontextmanager
async def scripted(*replies: bytes, then_hang: bool = False) -> AsyncIterator[int]:
    """Serve a dialogue: each reply answers one line; after the last the server hangs or closes."""
    ended = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for index, reply in enumerate(replies):
            if index:
                line = await reader.readline()
                while replies[index - 1].startswith(b"354") and line not in {b".\r\n", b""}:
                    line = await reader.readline()
            writer.write(reply)
        await writer.drain()
        if then_hang:
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()


async def send_by(port: int, *, timeout_s: float = 10) -> Sent:
    """Send one message to a port of loopback."""
    channel = EmailChannel(f"smtp://127.0.0.1:{port}", SENDER, timeout_s, clock=ManualClock(NOW))
    async with channel:
        return await channel.send(message())


async def test_accepted() -> None:
    """A mail arrives with both parts, its headers, and the delivery's id as its identity."""
    sink = Sink()
    async with sending(sink) as channel:
        sent = await channel.send(message())
    assert sent == Sent("OK queued as 4711")
    (mail,), (envelope,) = sink.mails, sink.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@example.org", ["ada@example.org"])
    assert mail["Subject"] == "Ada, you were mentioned"
    assert mail["From"] == SENDER
    assert mail["To"] == "ada@example.org"
    assert mail["Date"].datetime == NOW
    assert mail["Message-ID"] == f"<{message().delivery_id}@chimeway>"
    assert mail["X-Chimeway-Delivery"] == message().delivery_id
    assert mail["X-PM-Metadata-chimeway-delivery"] == message().delivery_id
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().strip() == message().text
    assert html.get_content().strip() == message().body


async def test_content_goes_over_unchanged() -> None:
    """Lines of dots, long lines and letters beyond ASCII arrive as they were written."""
    sink = Sink()
    text = ".\n..\nQUIT\n" + "\u00e4\u4f60" * 900 + "\n"
    async with sending(sink) as channel:
        await channel.send(message(text=text, subject="\u00dcber " * 40))
    (mail,) = sink.mails
    assert next(iter(mail.iter_parts())).get_content().replace("\r\n", "\n") == text
    assert mail["Subject"].split() == ["\u00dcber"] * 40


async def test_connection_is_reused() -> None:
    """One after the other goes over one connection."""
    sink = Sink()
    async with sending(sink) as channel:
        for _ in range(3):
            await channel.send(message())
    assert len(sink.mails) == 3
    assert len({id(session) for session in sink.sessions}) == 1


async def test_connections_are_bounded() -> None:
    """However many are sent at once, no more connections are open than may be."""
    sink = Sink()
    async with sending(sink) as channel:
        await asyncio.gather(*(channel.send(message()) for _ in range(20)))
    assert len(sink.mails) == 20
    assert len({id(session) for session in sink.sessions}) <= 4


async def test_stale_connection_is_replaced() -> None:
    """A connection that the server closed while idle costs nothing but a new one."""
    sink = Sink()
    servers: list[SMTP] = []

    def connected() -> SMTP:
        servers.append(SMTP(sink, enable_SMTPUTF8=False, hostname="sink"))
        return servers[-1]

    async with listening(connected) as port:
        url = f"smtp://127.0.0.1:{port}"
        async with EmailChannel(url, SENDER, 10, clock=ManualClock(NOW)) as channel:
            await channel.send(message())
            transport = servers[0].transport
            assert transport is not None
            transport.close()
            await channel.send(message())
    assert len(sink.mails) == 2
    assert len(servers) == 2


async def test_connections_have_a_life() -> None:
    """After so many messages, or so long idle, a connection is closed and the next message gets another."""
    sink, clock = Sink(), ManualClock(NOW)
    async with listening(lambda: SMTP(sink, enable_SMTPUTF8=False, hostname="sink")) as port:
        url = f"smtp://127.0.0.1:{port}"
        async with EmailChannel(
            url, SENDER, 10, messages_per_connection=2, idle_s=30, clock=clock
        ) as channel:
            for seconds in (0, 0, 0, 29, 31):
                clock.advance(seconds)
                await channel.send(message())
    sessions = [id(session) for session in sink.sessions]
    assert [sessions.index(session) for session in sessions] == [0, 0, 2, 2, 4]


async def test_refused_messages_count_too() -> None:
    """A connection's life has so many messages, whatever the server says to them."""
    sink = Sink(rcpt="550 5.1.1 no such user")
    async with listening(lambda: SMTP(sink, enable_SMTPUTF8=False, hostname="sink")) as port:
        channel = EmailChannel(f"smtp://127.0.0.1:{port}", SENDER, 10, messages_per_connection=2)
        for _ in range(5):
            with pytest.raises(Bounced):
                await channel.send(message())
        await channel.__aexit__(None, None, None)
    sessions = [id(session) for session in sink.sessions]
    assert [sessions.index(session) for session in sessions] == [0, 0, 2, 2, 4]


async def test_what_ends_after_the_channel_is_left_is_closed() -> None:
    """A send that is still under way then keeps no connection."""
    left, gone = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in GREETED:
            writer.write(reply)
            await reader.readline()
        await left.wait()
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 OK\r\n")
        assert await reader.readline() == b"QUIT\r\n"
        writer.write(b"221 bye\r\n")
        gone.set()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        port = server.sockets[0].getsockname()[1]
        async with EmailChannel(f"smtp://127.0.0.1:{port}", SENDER, 10) as channel:
            sending = asyncio.ensure_future(channel.send(message()))
            await asyncio.sleep(0)
        left.set()
        await sending
        await gone.wait()


def test_no_more_calls_than_connections_can_bear() -> None:
    """Who waits for a connection waits in the lane, where its run can call it back."""
    assert EmailChannel("smtp://mail", SENDER, connections=5).limits.concurrency == 20


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ({"rcpt": "550 5.1.1 no such user"}, Bounced),
        ({"rcpt": "551 not here"}, Bounced),
        ({"rcpt": "553 5.1.3 bad name"}, Bounced),
        ({"rcpt": "550 5.7.1 relaying denied"}, PermanentFailure),
        ({"rcpt": "550 relay not permitted"}, PermanentFailure),
        ({"rcpt": "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"}, PermanentFailure),
        ({"rcpt": "550 rejected because 192.0.2.1 is in a black list"}, PermanentFailure),
        ({"rcpt": "550 5.1.1 no such user, nor any relay to one"}, Bounced),
        ({"rcpt": "550 no such user"}, Bounced),
        ({"rcpt": "554 no"}, PermanentFailure),
        ({"rcpt": "450 4.2.0 greylisted"}, TransientFailure),
        ({"rcpt": "451 try later"}, TransientFailure),
        ({"rcpt": "452 full"}, TransientFailure),
        ({"mail": "421 closing"}, TransientFailure),
        ({"mail": "550 5.7.1 who are you"}, ConfigurationFailure),
        ({"mail": "552 5.3.4 too large"}, PermanentFailure),
        ({"data": "554 5.6.0 spam"}, PermanentFailure),
        ({"data": "550 5.1.1 no such user after all"}, Bounced),
        ({"data": "451 4.3.0 disk full"}, TransientFailure),
        ({"mail": "421 4.7.0 too many connections from you"}, RateLimited),
        ({"rcpt": "450 4.7.1 Error: too much mail from 192.0.2.1"}, RateLimited),
        ({"data": "421-4.7.28 unusual rate of mail\r\n421 4.7.28 from you"}, RateLimited),
        ({"data": "454 Throttling failure: Maximum sending rate exceeded."}, RateLimited),
        ({"rcpt": "450 4.7.1 greylisted, try again in five minutes"}, TransientFailure),
        ({"rcpt": "450 4.2.1 that mailbox is receiving mail too quickly"}, TransientFailure),
        ({"rcpt": "452 4.2.2 too many messages in the mailbox"}, TransientFailure),
        ({"rcpt": "550 5.7.1 too many messages, go away"}, PermanentFailure),
    ],
)
async def test_refusals(answers: dict[str, str], failure: type[Exception]) -> None:
    """Each refusal is what it means for the delivery; the next message goes out all the same."""
    sink = Sink(**answers)
    async with sending(sink) as channel:
        with pytest.raises(failure) as caught:
            await channel.send(message())
        sink.answers.clear()
        await channel.send(message())
    assert type(caught.value) is failure
    assert len(sink.mails) == 1


async def test_authentication() -> None:
    """User and password of the URL log in; wrong ones are a fault of configuration."""

    def authenticate(*args: Any) -> AuthResult:
        given = args[-1]
        assert isinstance(given, LoginPassword)
        return AuthResult(success=given.password == b"p@ss word", handled=False)

    options: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": False}
    sink = Sink()
    async with sending(sink, user="ada:p%40ss%20word@", **options) as channel:
        await channel.send(message())
    assert len(sink.mails) == 1
    async with sending(sink, user="ada:wrong@", **options) as channel:
        with pytest.raises(ConfigurationFailure) as caught:
            await channel.send(message())
    assert "wrong" not in str(caught.value.details)


async def test_what_the_server_does_not_offer() -> None:
    """STARTTLS or a log-in that the server has not are faults of configuration: nothing is sent."""
    sink = Sink()
    async with sending(sink, query="?starttls=true") as channel:
        with pytest.raises(ConfigurationFailure, match="does not offer starttls"):
            await channel.send(message())
    async with sending(sink, user="a:b@") as channel:
        with pytest.raises(ConfigurationFailure, match="does not offer auth"):
            await channel.send(message())
    assert sink.mails == []


async def test_nobody_listens() -> None:
    """A refused connection is transient, and says where nobody was: a port in a setting may be wrong."""
    async with listening(asyncio.Protocol) as port:
        pass
    with pytest.raises(TransientFailure, match=rf"cannot be reached: .*127\.0\.0\.1.* {port}"):
        await send_by(port)


@pytest.mark.parametrize(
    ("replies", "failure"),
    [
        ([], TransientFailure),
        ([b"554 go away\r\n"], TransientFailure),
        ([b"rubbish\r\n"], TransientFailure),
        ([b"220 hi\r\n", b"250 sink\r\n"], TransientFailure),
        ([b"220 hi\r\n", b"250 sink\r\n", b"250 OK\r\n", b"25"], TransientFailure),
        ([b"220 hi\r\n", b"250 sink\r\n", b"250 OK\r\n", b"rubbish\r\n"], TransientFailure),
        (
            [b"220 hi\r\n", b"250 sink\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go\r\n", b"250-O"],
            UnknownOutcome,
        ),
        (
            [b"220 hi\r\n", b"250 sink\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 go\r\n", b"?\r\n"],
            UnknownOutcome,
        ),
    ],
)
async def test_broken_dialogues(replies: list[bytes], failure: type[Exception]) -> None:
    """A server that closes in mid-reply or talks rubbish: unknown once it may have the mail."""
    async with scripted(*replies) as port:
        with pytest.raises(failure) as caught:
            await send_by(port)
    assert type(caught.value) is failure


@pytest.mark.parametrize("said", [0, 1, 2, 3, 5])
async def test_hanging_server(said: int) -> None:
    """Wherever the server falls silent, the send ends in time: a timeout only once it may have the mail."""
    async with scripted(*GREETED[:said], then_hang=True) as port:
        with pytest.raises((TransientFailure, TimeoutError)) as caught:
            await send_by(port, timeout_s=1.0 if said == 5 else 0.2)  # it must come so far in time
    assert classify(caught.value) == ("timeout" if said == 5 else "transient")


@pytest.mark.parametrize("answer", ["200 ok", "252 perhaps", "354 go on", "100 x", "600 x", "999 x", "000 x"])
async def test_neither_yes_nor_no(answer: str) -> None:
    """Once the mail is handed over, what is neither 250 nor a refusal does not say that it was refused."""
    async with scripted(*GREETED, answer.encode() + b"\r\n") as port:
        with pytest.raises(UnknownOutcome):
            await send_by(port)
    async with scripted(*GREETED[:3], answer.encode() + b"\r\n") as port:
        with pytest.raises(TransientFailure):
            await send_by(port)


async def test_a_server_that_refuses_to_be_greeted() -> None:
    """It is not one that takes no mail of our sender."""
    no = b"550 5.7.1 go away\r\n"
    async with scripted(b"220 hi\r\n", no, no) as port:
        with pytest.raises(TransientFailure):
            await send_by(port)


async def test_a_refusal_holds_whatever_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses and then falls silent has refused."""
    monkeypatch.setattr(smtp_connections, "_FAREWELL_S", 0.9)
    async with scripted(*GREETED[:3], b"550 5.1.1 no such user\r\n", then_hang=True) as port:
        with pytest.raises(Bounced):
            await send_by(port, timeout_s=0.6)


async def test_a_mail_given_up_is_not_handed_over_after_all() -> None:
    """A server that stops reading, and goes on after all, does not find what had counted as not sent."""
    given_up, read = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in GREETED:
            writer.write(reply)
            if reply != GREETED[-1]:
                await reader.readline()
        await given_up.wait()
        rest = b""
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                rest = (rest + piece)[-100:]
        read.set_result(rest)
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with EmailChannel(url, SENDER, 1.5, clock=ManualClock(NOW)) as channel:
            with pytest.raises(TimeoutError):
                await channel.send(message(text=f"{'y' * 70}\n" * 150_000))
            given_up.set()
            assert not (await read).endswith(b"\r\n.\r\n")


async def test_who_waits_for_a_connection_has_sent_nothing() -> None:
    """Behind sends that hang nobody waits for long; then another provider may be asked."""
    places = asyncio.Semaphore(1)
    async with a_place(places, 0.01):
        with pytest.raises(TransientFailure):
            async with a_place(places, 0.01):
                pass
    async with a_place(places, 0.01):
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "ada@example.org\r\nBcc: all@example.org"},
        {"address": "ada@example.org> RCPT TO:<all@example.org"},
        {"address": "ada@example.org, all@example.org"},
        {"address": "no address"},
        {"address": "ada@"},
        {"address": "\u00e4da@example.org"},
        {"address": ""},
        {"address": None},
        {"subject": "hello\r\nBcc: all@example.org"},
        {"subject": "hello\n\nbody"},
        {"delivery_id": "x>\r\nBcc: all@example.org"},
    ],
)
async def test_no_header_from_a_value(changes: dict[str, Any]) -> None:
    """What could become a header or a second recipient is refused before a word is sent."""
    sink = Sink()
    async with sending(sink) as channel:
        with pytest.raises(PermanentFailure) as caught:
            await channel.send(message(**changes))
    assert "example.org" not in str(caught.value)
    assert sink.sessions == []


@pytest.mark.parametrize(
    ("domain", "on_the_wire"),
    [
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("fa\u00df.example", "xn--fa-hia.example"),
    ],
)
async def test_international_domain(domain: str, on_the_wire: str) -> None:
    """A domain beyond ASCII goes over in its ASCII form, its own, not the one of an older standard."""
    sink = Sink()
    async with sending(sink) as channel:
        await channel.send(message(address=f"ada@{domain}"))
    assert sink.envelopes[0].rcpt_tos == [f"ada@{on_the_wire}"]


@pytest.mark.parametrize("sender", ["", "Chimeway", "a@x, b@x", "a@x\r\nBcc: c@x", "a@"])
async def test_bad_sender_is_configuration(sender: str) -> None:
    """A sender that is not one address is our own fault, not the message's."""
    with pytest.raises(ConfigurationFailure):
        await EmailChannel("smtp://127.0.0.1:1", sender).send(message())


async def test_cancelled_send_leaves_no_half_open_dialogue() -> None:
    """A send that is cancelled gives its connection up, and its place to the next."""
    async with scripted(b"220 hi\r\n", then_hang=True) as port:
        url = f"smtp://127.0.0.1:{port}"
        channel = EmailChannel(url, SENDER, 10, connections=1, clock=ManualClock(NOW))
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(channel.send(message()), 0.1)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", SmtpServer("mail", 25, "none", None, None)),
        ("smtp://mail:2525/", SmtpServer("mail", 2525, "none", None, None)),
        ("smtp://u:p@mail?starttls=true", SmtpServer("mail", 587, "starttls", "u", "p")),
        ("smtps://u%40x:p%2F@[::1]", SmtpServer("::1", 465, "implicit", "u@x", "p/")),
    ],
)
def test_urls(url: str, server: SmtpServer) -> None:
    """Scheme, port and query say how to connect; names are percent-decoded."""
    assert smtp_server(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "http://mail",
        "smtp://",
        "smtp://u:hunter2@mail:port",
        "smtp://mail?starttls=maybe",
        "smtps://mail?starttls=true",
        "smtp://u:hunter2@mail?tls=yes",
        "smtp://mail/path",
    ],
)
def test_urls_refused(url: str) -> None:
    """What is not understood is refused by name, and no password is shown."""
    with pytest.raises(InvalidSettings, match="CHIMEWAY_SMTP_URL") as caught:
        smtp_server(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(SmtpServer("mail", 25, "none", "u", "hunter2"))
