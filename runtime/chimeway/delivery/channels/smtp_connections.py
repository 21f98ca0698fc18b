"""Connections to one SMTP server: a few, kept for the next message, and given up in time.

An idle connection is closed when it has lain too long (servers close it themselves, most after five
minutes, and a firewall between forgets it sooner), or has carried as many messages as the server
likes. What was closed from the other side shows itself at MAIL, before anything was given over, and
is replaced once by a fresh one.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiosmtplib
from aiosmtplib import SMTP

from chimeway.clock import Clock
from chimeway.delivery.channel import SendFailure, TransientFailure
from chimeway.delivery.channels.smtp_answers import Stage, failure
from chimeway.delivery.channels.smtp_server import SmtpServer

_FAREWELL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a connection serves: seconds of one step, idle seconds, messages."""

    timeout_s: float
    idle_s: float
    messages: int


@dataclass(slots=True)
class Line:
    """An open connection, how far its message is, what it has carried, and since when it lies idle."""

    smtp: SMTP
    stage: Stage = "mail"
    carried: int = 0
    since: float = 0.0


class Connections:
    """Opens connections as they are needed; how many at once is for who uses it to bound."""

    def __init__(
        self, server: SmtpServer, tls: ssl.SSLContext | None, keeping: Keeping, clock: Clock
    ) -> None:
        """Take where to connect, and how; connect when asked."""
        self._server = server
        self._tls = tls
        self._keeping = keeping
        self._clock = clock
        self._idle: list[Line] = []
        self._left = False
        self._local_hostname: str | None = None  # looked up once: it may cost a slow question

    async def begin(self, sender: str) -> Line:
        """Return a connection on which MAIL has been accepted: an idle one, else a fresh one."""
        self._give_up_old()
        while self._idle:
            line = self._idle.pop()
            try:
                await _announce(line.smtp, sender)
            except aiosmtplib.SMTPServerDisconnected:
                continue  # it had gone stale
            return line
        line = Line(await self._connected())
        try:
            await _announce(line.smtp, sender)
        except aiosmtplib.SMTPServerDisconnected as error:
            raise TransientFailure("the connection was lost at MAIL") from error
        return line

    async def give_back(self, line: Line) -> None:
        """Keep a connection whose message was taken or refused, unless it has carried enough."""
        line.carried += 1
        line.since = self._clock.monotonic()
        self._give_up_old()
        if line.carried < self._keeping.messages and not self._left:
            self._idle.append(line)
        else:
            await _leave(line.smtp)

    async def give_back_refused(self, line: Line, refusal: SendFailure) -> None:
        """Keep a connection after a refusal, when the server still listens on it."""
        sound = False
        try:
            if refusal.details.get("smtp_code", -1) > 0:  # else the dialogue is out of step
                with suppress(aiosmtplib.SMTPException, OSError):
                    await line.smtp.rset(timeout=_FAREWELL_S)
                    sound = True
        finally:
            if not sound:
                drop(line.smtp)
        if sound:
            await self.give_back(line)

    async def leave(self) -> None:
        """Say good-bye on all that are idle, briefly; keep none any more."""
        self._left = True
        while self._idle:
            await _leave(self._idle.pop().smtp)

    def _give_up_old(self) -> None:
        oldest = self._clock.monotonic() - self._keeping.idle_s
        for line in [one for one in self._idle if one.since < oldest]:
            self._idle.remove(line)
            drop(line.smtp)

    async def _connected(self) -> SMTP:
        """Open a connection, with TLS and log-in as the URL says."""
        server = self._server
        smtp = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "implicit",
            start_tls=False,
            tls_context=self._tls,
            local_hostname=self._local_hostname,
            timeout=self._keeping.timeout_s,
        )
        stage: Stage = "connect"
        try:
            await smtp.connect()
            if server.tls == "starttls":
                stage = "starttls"
                await smtp.starttls()
            if server.username is not None:
                stage = "auth"
                await smtp.login(server.username, server.password or "")
        except BaseException as error:
            drop(smtp)
            if isinstance(error, Exception):
                raise failure(stage, error) from error
            raise
        self._local_hostname = smtp.local_hostname
        return smtp


async def hand_over(line: Line, recipient: str, content: bytes) -> str:
    """Name the recipient and hand the content over; return the server's text."""
    line.stage = "rcpt"
    try:
        await line.smtp.rcpt(recipient)
        line.stage = "data"
        return (await line.smtp.data(content)).message
    except Exception as error:
        raise failure(line.stage, error) from error


async def _announce(smtp: SMTP, sender: str) -> None:
    """Begin a transaction. That the connection is gone is for the caller, who may have another."""
    try:
        await smtp.mail(sender)
    except BaseException as error:
        drop(smtp)
        if isinstance(error, Exception) and not isinstance(error, aiosmtplib.SMTPServerDisconnected):
            raise failure("mail", error) from error
        raise


def drop(smtp: SMTP) -> None:
    """Close at once.

    Who only closes has what is not written yet written still: to a server that does not read for as long as
    it likes, and to one that reads again a message that counts as not handed over.
    """
    if isinstance(smtp.transport, asyncio.WriteTransport):
        smtp.transport.abort()
    smtp.close()


async def _leave(smtp: SMTP) -> None:
    """Close politely, but not for long: the other side may have gone."""
    try:
        with suppress(aiosmtplib.SMTPException, OSError):
            await smtp.quit(timeout=_FAREWELL_S)
    finally:
        drop(smtp)
