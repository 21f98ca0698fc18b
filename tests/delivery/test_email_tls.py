"""The e-mail channel and TLS, against real servers with certificates made here."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from chimeway.delivery.channel import ConfigurationFailure, Message
from chimeway.delivery.channels.email import EmailChannel
from chimeway.errors import InvalidSettings
from kit.certificates import ca_file, serving
from kit.smtp import Sink

MESSAGE = Message(
    "0198b2c4-aaaa-7000-8000-000000000001",
    "r1",
    "org_456",
    "ada",
    "email",
    "ada@example.org",
    "Hi",
    "<p>Hi</p>",
)


def authenticate(*args: Any) -> AuthResult:
    """Know one user."""
    given = args[-1]
    assert isinstance(given, LoginPassword)
    return AuthResult(success=(given.login, given.password) == (b"ada", b"secret"), handled=False)


@asynccontextmanager
async def serving_tls(sink: Sink, context: ssl.SSLContext, *, implicit: bool) -> AsyncIterator[int]:
    """Serve with TLS from the first byte, or after STARTTLS, which it then insists on; yield the port."""
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        connections.append(
            SMTP(
                sink, enable_SMTPUTF8=False, hostname="sink", loop=loop, authenticator=authenticate,
                tls_context=None if implicit else context, require_starttls=not implicit,
                auth_require_tls=not implicit,
            )
        )  # fmt: skip
        return connections[-1]

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=context if implicit else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in connections:
            if one.transport is not None:
                one.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
async def test_tls_with_an_authority_of_ones_own(*, implicit: bool) -> None:
    """With the authority in `ca_file` mail and log-in go over TLS, several mails over one connection."""
    sink = Sink()
    async with serving_tls(sink, serving("localhost"), implicit=implicit) as port:
        url = (
            "smtps://ada:secret@localhost:{}" if implicit else "smtp://ada:secret@localhost:{}?starttls=true"
        )
        async with EmailChannel(url.format(port), "a@example.org", 10, ca_file=ca_file()) as channel:
            await channel.send(MESSAGE)
            await channel.send(MESSAGE)
    assert len(sink.mails) == 2


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
@pytest.mark.parametrize("trusted", [False, True], ids=["stranger", "other name"])
async def test_a_wrong_certificate_is_refused(*, implicit: bool, trusted: bool) -> None:
    """Of an authority that nobody trusts, or for another name: nothing is said to such a server."""
    sink = Sink()
    name = "mail.example.org" if trusted else "localhost"
    async with serving_tls(sink, serving(name), implicit=implicit) as port:
        url = (
            "smtps://ada:secret@localhost:{}" if implicit else "smtp://ada:secret@localhost:{}?starttls=true"
        )
        authorities = ca_file() if trusted else None
        async with EmailChannel(url.format(port), "a@example.org", 10, ca_file=authorities) as channel:
            with pytest.raises(ConfigurationFailure, match="certificate is not trusted"):
                await channel.send(MESSAGE)
    assert sink.mails == []


async def test_without_tls_a_server_that_wants_it_takes_nothing() -> None:
    """A server that insists on STARTTLS says so; that we were told to go without is a fault of ours."""
    sink = Sink()
    async with serving_tls(sink, serving("localhost"), implicit=False) as port:
        channel = EmailChannel(f"smtp://localhost:{port}", "a@example.org", 10)
        with pytest.raises(ConfigurationFailure):
            await channel.send(MESSAGE)
    assert sink.mails == []


def test_a_file_of_authorities_must_be_one(tmp_path: Path) -> None:
    """A file that is missing, or holds no certificate, is a fault that is told at once."""
    (tmp_path / "empty.pem").write_text("nothing here")
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        with pytest.raises(InvalidSettings, match="ca_file"):
            EmailChannel("smtps://localhost", "a@example.org", ca_file=path)
