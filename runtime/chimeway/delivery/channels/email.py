"""The e-mail channel: SMTP, with a few connections kept open, and answers read with care.

One `send` is one message to one address: MAIL, RCPT, DATA, each step's refusal judged on its own:

| where                  | answer                               | raised                 |
|------------------------|--------------------------------------|------------------------|
| connecting, EHLO       | refused, lost, 4xx, 5xx              | `TransientFailure`     |
| certificate            | not trusted                          | `ConfigurationFailure` |
| STARTTLS, AUTH         | 5xx, not offered                     | `ConfigurationFailure` |
| anywhere               | 4xx                                  | `TransientFailure`     |
| anywhere before DATA   | connection lost, nonsense            | `TransientFailure`     |
| MAIL                   | 5xx, but not 552 (too large)         | `ConfigurationFailure` |
| RCPT                   | 550, 551, 553, but not for policy    | `Bounced`              |
| MAIL 552, RCPT, DATA   | any other 5xx                        | `PermanentFailure`     |
| DATA                   | 5xx that names the address (5.1.x)   | `Bounced`              |
| DATA                   | connection lost, nonsense            | `UnknownOutcome`       |
| anywhere               | none within `timeout_s`              | TimeoutError           |

A refusal for policy (enhanced status 5.7.x: relaying denied, sender blocked) says nothing about the
address, so it is no bounce. A connection that the server closed while it lay idle shows itself at
MAIL, before anything was given over, and is replaced once by a fresh one.

SMTP has no idempotency keys: the Message-ID is made of the delivery's id and is the same for every
attempt, so that mailboxes which drop doubles can, and a person who gets two sees that they are one.
"""

import asyncio
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTP

from chimeway.clock import Clock, SystemClock
from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    Message,
    PermanentFailure,
    SendFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.errors import InvalidSettings

Stage = Literal["connect", "starttls", "auth", "mail", "rcpt", "data"]

_ENHANCED: Final = re.compile(r"\s*[245]\.(\d{1,3})\.\d{1,3}\b")
_POLICY: Final = SMTP_POLICY.clone(cte_type="7bit")  # not every server takes 8 bits
_FORM: Final = "smtp://user:password@host:port?starttls=true or smtps://user:password@host:port"
_FAREWELL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in, and as whom."""

    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"]
    username: str | None
    password: str | None = field(repr=False)


def smtp_server(url: str) -> SmtpServer:
    """Read an SMTP URL; what is not understood is refused by name, never by value."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    starttls = options.pop("starttls", "false")
    problem = None
    try:
        port = parts.port
    except ValueError:
        port, problem = None, "its port is no port"
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        problem = "it is no SMTP URL"
    elif starttls not in {"true", "false"} or (starttls == "true" and parts.scheme == "smtps"):
        problem = "starttls is true or false, and for smtp:// only"
    elif options or parts.path not in {"", "/"} or parts.fragment:
        problem = f"it has more than is known: {', '.join(options) or 'a path'}"
    if problem or parts.hostname is None:
        raise InvalidSettings(
            f"CHIMEWAY_SMTP_URL: {problem}; right would be {_FORM}", variable="CHIMEWAY_SMTP_URL"
        )
    implicit = parts.scheme == "smtps"
    tls: Literal["none", "starttls", "implicit"] = (
        "implicit" if implicit else "starttls" if starttls == "true" else "none"
    )
    usual = {"none": 25, "starttls": 587, "implicit": 465}[tls]
    return SmtpServer(
        host=parts.hostname,
        port=port or usual,
        tls=tls,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


class EmailChannel:
    """Sends by one SMTP server. Use as an async context manager, so that connections are closed.

    `timeout_s` bounds one send from the moment when fewer than `connections` others are under way;
    waiting for that does not count: nothing has begun then.
    """

    needs_address: ClassVar[bool] = True

    def __init__(
        self,
        url: str,
        from_address: str,
        timeout_s: float = 30,
        *,
        connections: int = 4,
        clock: Clock | None = None,
    ) -> None:
        """Take the server's URL and the sender; connect when there is something to send."""
        self.name = "email"
        self._server = smtp_server(url)
        self._from_address = from_address
        self._timeout_s = timeout_s
        self._clock: Clock = clock or SystemClock()
        self._places = asyncio.Semaphore(connections)
        self._idle: list[SMTP] = []
        self._local_hostname: str | None = None  # looked up once: it may cost a slow question

    async def __aenter__(self) -> Self:
        """Nothing to open yet: a server that is down must not keep the daemon from starting."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say good-bye to the server, briefly."""
        while self._idle:
            await _leave(self._idle.pop())

    async def send(self, message: Message) -> Sent:
        """Hand the message in; the answer is the server's text for it."""
        sender, recipient, content = composed(message, self._from_address, self._clock.now())
        async with self._places, asyncio.timeout(self._timeout_s):
            connection = await self._begin(sender)
            try:
                reply = await _give(connection, recipient, content)
            except SendFailure as failure:
                await self._keep_if_sound(connection, failure)
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        return Sent(provider_reference=reply[:200])

    async def _begin(self, sender: str) -> SMTP:
        """Return a connection on which MAIL has been accepted: an idle one, else a fresh one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await _announce(connection, sender)
            except aiosmtplib.SMTPServerDisconnected:
                continue  # it had gone stale
            return connection
        connection = await self._connected()
        try:
            await _announce(connection, sender)
        except aiosmtplib.SMTPServerDisconnected as error:
            raise TransientFailure("the connection was lost at MAIL") from error
        return connection

    async def _connected(self) -> SMTP:
        """Open a connection, with TLS and log-in as the URL says."""
        server = self._server
        connection = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "implicit",
            start_tls=False,
            local_hostname=self._local_hostname,
            timeout=self._timeout_s,
        )
        stage: Stage = "connect"
        try:
            await connection.connect()
            if server.tls == "starttls":
                stage = "starttls"
                await connection.starttls()
            if server.username is not None:
                stage = "auth"
                await connection.login(server.username, server.password or "")
        except (aiosmtplib.SMTPException, OSError) as error:
            connection.close()
            raise _failure(stage, error) from error
        except BaseException:
            connection.close()
            raise
        self._local_hostname = connection.local_hostname
        return connection

    async def _keep_if_sound(self, connection: SMTP, failure: SendFailure) -> None:
        """Take a connection back after a refusal, when the server still listens on it."""
        sound = False
        try:
            if failure.details.get("smtp_code", -1) > 0:  # else the dialogue is out of step
                with suppress(aiosmtplib.SMTPException, OSError):
                    await connection.rset(timeout=_FAREWELL_S)
                    sound = True
        finally:
            if sound:
                self._idle.append(connection)
            else:
                connection.close()


def composed(message: Message, from_address: str, now: datetime) -> tuple[str, str, bytes]:
    """Return envelope sender, envelope recipient and the message as it goes over the wire.

    No value can become a header of its own: the policy refuses line ends, and addresses are parsed.
    """
    mail = EmailMessage(policy=_POLICY)
    sender = _put_sender(mail, from_address)
    try:
        recipient = _ascii(Address(addr_spec=message.address or ""))
        mail["To"] = recipient
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{message.delivery_id}@chimeway>"
        mail["X-Chimeway-Delivery"] = message.delivery_id
        mail.set_content(message.text or "")
        mail.add_alternative(message.body, subtype="html")
        return sender.addr_spec, recipient.addr_spec, mail.as_bytes()
    except (ValueError, MessageError, IndexError) as error:
        # Not chained: these errors quote the address. (IndexError: the parser's own, for "".)
        raise PermanentFailure(f"address or headers are not valid ({type(error).__name__})") from None


def _put_sender(mail: EmailMessage, from_address: str) -> Address:
    """Write the From header; return the address in it, which must be one."""
    try:
        mail["From"] = from_address
        (sender,) = mail["From"].addresses
        return _ascii(sender)
    except (ValueError, MessageError, IndexError) as error:
        raise ConfigurationFailure("the sender is not one e-mail address") from error


def _ascii(address: Address) -> Address:
    """Return the address as every server understands it; a local part beyond ASCII has no such."""
    if not address.username or not address.domain:
        raise ValueError("an address has two sides")
    address.username.encode("ascii")
    domain = address.domain if address.domain.isascii() else address.domain.encode("idna").decode()
    return Address(address.display_name, address.username, domain)


async def _announce(connection: SMTP, sender: str) -> None:
    """Begin a transaction. That the connection is gone is for the caller, who may have another."""
    try:
        await connection.mail(sender)
    except aiosmtplib.SMTPServerDisconnected:
        connection.close()
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        connection.close()
        raise _failure("mail", error) from error
    except BaseException:
        connection.close()
        raise


async def _give(connection: SMTP, recipient: str, content: bytes) -> str:
    """Name the recipient and hand the content over; return the server's text."""
    stage: Stage = "rcpt"
    try:
        await connection.rcpt(recipient)
        stage = "data"
        return (await connection.data(content)).message
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _failure(stage, error) from error


def _failure(stage: Stage, error: Exception) -> SendFailure | TimeoutError:
    """Return what the table of this module says."""
    match error:
        case TimeoutError():
            return TimeoutError(f"no answer at {stage}")
        case aiosmtplib.SMTPResponseException():
            return _refusal(stage, error.code, error.message)
        case _ if isinstance(error.__cause__ or error, ssl.SSLCertVerificationError):
            return ConfigurationFailure("the server's certificate is not trusted")
        case OSError() if stage == "data":
            return UnknownOutcome("the connection was lost while the content was handed over")
        case OSError():
            return TransientFailure(f"the connection was lost at {stage}")
        case _ if stage in {"starttls", "auth"}:
            return ConfigurationFailure(f"the server does not offer {stage}")
        case _:
            return TransientFailure(f"{type(error).__name__} at {stage}")


def _refusal(stage: Stage, code: int, text: str) -> SendFailure:
    """Turn the server's answer into ours."""
    found = _ENHANCED.match(text)
    subject = found[1] if found else None
    told: dict[str, Any] = {"stage": stage, "smtp_code": code, "smtp_text": text[:200]}
    said = f"the server answered {code} at {stage}"
    if code < 0:
        return (UnknownOutcome if stage == "data" else TransientFailure)(said, **told)
    if code < 500 or stage == "connect":
        return TransientFailure(said, **told)
    match stage:
        case "starttls" | "auth":
            return ConfigurationFailure(said, **told)
        case "mail":
            return (PermanentFailure if code == 552 else ConfigurationFailure)(said, **told)
        case "rcpt" if code in {550, 551, 553} and subject != "7":
            return Bounced(said, **told)
        case "data" if subject == "1":
            return Bounced(said, **told)
        case _:
            return PermanentFailure(said, **told)


async def _leave(connection: SMTP) -> None:
    """Close politely, but not for long: the other side may have gone."""
    try:
        with suppress(aiosmtplib.SMTPException, OSError):
            await connection.quit(timeout=_FAREWELL_S)
    finally:
        connection.close()
