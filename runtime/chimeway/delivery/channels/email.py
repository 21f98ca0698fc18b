"""The e-mail channel: SMTP, with a few connections kept open, and answers read with care.

One `send` is one message to one address: MAIL, RCPT, DATA, each step's refusal judged on its own:

| where                  | answer                               | raised                 |
|------------------------|--------------------------------------|------------------------|
| connecting, EHLO       | refused, lost, 4xx, 5xx              | `TransientFailure`     |
| certificate            | not trusted                          | `ConfigurationFailure` |
| STARTTLS, AUTH         | 5xx, not offered                     | `ConfigurationFailure` |
| anywhere               | 4xx that asks for fewer messages     | `RateLimited`          |
| anywhere               | any other 4xx                        | `TransientFailure`     |
| anywhere before DATA   | lost, nonsense, none in `timeout_s`  | `TransientFailure`     |
| MAIL                   | 5xx, but not 552 (too large)         | `ConfigurationFailure` |
| RCPT                   | 550, 551, 553, but not for policy    | `Bounced`              |
| MAIL 552, RCPT, DATA   | any other 5xx                        | `PermanentFailure`     |
| DATA                   | 5xx that names the address (5.1.x)   | `Bounced`              |
| DATA                   | lost, nonsense, no 250, 4xx or 5xx   | `UnknownOutcome`       |
| DATA                   | none within `timeout_s`              | TimeoutError           |

A refusal for policy (enhanced status 5.7.x, or none and a text that says so: relaying denied, sender
blocked) says nothing about the address, so it is no bounce. SMTP has no code for "fewer, please", so a
4xx asks for that when its text says so and its enhanced status does not speak of the recipient's mailbox
(4.1.x, 4.2.x).

SMTP has no idempotency keys: the Message-ID is made of the delivery's id and is the same for every
attempt, so that mailboxes which drop doubles can, and a person who gets two sees that they are one.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field

from chimeway.clock import Clock, SystemClock
from chimeway.delivery.channel import Message, SendFailure, Sent
from chimeway.delivery.channels.mail import composed
from chimeway.delivery.channels.places import a_place
from chimeway.delivery.channels.smtp_answers import failure
from chimeway.delivery.channels.smtp_connections import Connections, Keeping, drop, hand_over
from chimeway.delivery.channels.smtp_server import smtp_server
from chimeway.delivery.channels.trust import trusting
from chimeway.delivery.pacing import ChannelLimits
from chimeway.limits import CHANNEL_CALLS_MOST
from chimeway.setting_kinds import Duration, Sender, SmtpUrl
from chimeway.setting_tables import Options as TableOptions
from chimeway.setting_tables import ShownUrl

_CALLS: Final = 4
"""Messages under way for each connection: enough that none waits for the next message, and so few that
none waits for a connection for long, where its run can no longer call it back."""


class Options(TableOptions):
    """`kind = "smtp"`; see `EmailChannel`."""

    url: Annotated[SmtpUrl, ShownUrl()]
    sender: Sender = Field(alias="from")
    reply_to: Sender | None = None
    ca_file: str | None = None
    connections: int = Field(default=4, ge=1, le=100)
    idle: Duration = timedelta(seconds=60)
    messages_per_connection: int = Field(default=100, ge=1)


class EmailChannel:
    """Sends by one SMTP server. Use as an async context manager, so that connections are closed.

    `timeout_s` bounds one send from the moment when fewer than `connections` others are under way, and the
    wait for that: then nothing has begun, and it is `TransientFailure`.
    """

    needs_address: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913  (each is a setting, with a default of its own)
        self,
        url: str,
        from_address: str,
        timeout_s: float = 30,
        *,
        name: str = "email",
        reply_to: str | None = None,
        ca_file: Path | None = None,
        connections: int = 4,
        idle_s: float = 60,
        messages_per_connection: int = 100,
        clock: Clock | None = None,
    ) -> None:
        """Take the server's URL and the sender; connect when there is something to send.

        Args:
            url: `smtp://` or `smtps://`, with user and password when the server wants them.
            from_address: the sender, one address, with or without a name before it.
            timeout_s: of one send.
            name: the channel's name in definitions.
            reply_to: where answers go; if left out, to the sender.
            ca_file: a PEM file of authorities to trust besides the system's.
            connections: how many are open at most.
            idle_s: after so long without a message a connection is closed.
            messages_per_connection: after so many it is closed: some servers like it so.
            clock: for the Date of messages and the age of connections.

        Raises:
            InvalidSettings: the URL or the file is not what it must be.
        """
        self.name = name
        self._from_address = from_address
        self._reply_to = reply_to
        self._timeout_s = timeout_s
        self._clock: Clock = clock or SystemClock()
        self.limits = ChannelLimits(concurrency=min(_CALLS * connections, CHANNEL_CALLS_MOST))
        self._places = asyncio.Semaphore(connections)
        server = smtp_server(url)
        self._connections = Connections(
            server,
            None if server.tls == "none" else trusting(ca_file),
            Keeping(timeout_s, idle_s, messages_per_connection),
            self._clock,
        )

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
        await self._connections.leave()

    async def send(self, message: Message) -> Sent:
        """Hand the message in; the answer is the server's text for it."""
        mail = composed(message, self._from_address, self._clock.now(), reply_to=self._reply_to)
        async with a_place(self._places, self._timeout_s):
            line = None
            try:
                async with asyncio.timeout(self._timeout_s):
                    line = await self._connections.begin(mail.sender)
                    reply = await hand_over(line, mail.recipient, mail.content)
            # Out of the deadline: what the server said holds, whatever becomes of the connection.
            except SendFailure as refusal:
                if line:
                    await self._connections.give_back_refused(line, refusal)
                raise
            except BaseException as error:
                if line:
                    drop(line.smtp)
                if isinstance(error, TimeoutError):
                    raise failure(line.stage if line else "connect", error) from None
                raise
            await self._connections.give_back(line)
        return Sent(provider_reference=reply[:200])


def build(options: Options, name: str, clock: Clock) -> EmailChannel:
    """Make the channel."""
    return EmailChannel(
        options.url.get_secret_value(),
        options.sender,
        name=name,
        reply_to=options.reply_to,
        ca_file=None if options.ca_file is None else Path(options.ca_file),
        connections=options.connections,
        idle_s=options.idle.total_seconds(),
        messages_per_connection=options.messages_per_connection,
        clock=clock,
    )
