"""A provider: a real SMTP server on loopback that keeps what it took, and fails as it is told."""

import asyncio
import email.policy
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser

from aiosmtpd.smtp import SMTP, Envelope, Session

from kit.waiting import Gate


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to which the server said yes."""

    delivery_id: str
    message_id: str
    to: str
    subject: str
    at: datetime
    content: EmailMessage
    """Headers and parts, as the standard library reads them."""


class Sink:
    """The server's handler, and what the test sees of it."""

    def __init__(self) -> None:
        """Begin with a server that takes everything."""
        self.url = ""
        self.mails: list[Mail] = []
        self.calls = 0
        self._answers: deque[str] = deque()
        self._always: str | None = None
        self._gates: deque[Gate] = deque()
        self._held: list[Gate] = []

    def refuse(self, *answers: str) -> None:
        """Answer the next messages with these instead of a yes, such as `451 4.3.0 later`."""
        self._answers.extend(answers)

    def refuse_all(self, answer: str | None) -> None:
        """Answer every message with this; None: take them again."""
        self._always = answer

    def hold(self) -> Gate:
        """Hold the answer to the next message until the test releases it; never is allowed."""
        gate = Gate()
        self._gates.append(gate)
        self._held.append(gate)
        return gate

    def to(self, recipient: str) -> list[Mail]:
        """Return what was taken for a recipient (the local part of the address)."""
        return [mail for mail in self.mails if mail.to.partition("@")[0] == recipient]

    def deliveries(self) -> set[str]:
        """Return the deliveries that arrived: what a mailbox that drops doubles shows."""
        assert all(mail.message_id == f"<{mail.delivery_id}@chimeway>" for mail in self.mails)
        return {mail.delivery_id for mail in self.mails}

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take every recipient."""
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Answer a message, and keep it when the answer is yes."""
        self.calls += 1
        if self._gates and not await self._gates.popleft().passes():
            return "421 4.3.0 gone"
        refusal = self._always or (self._answers.popleft() if self._answers else None)
        if refusal is not None:
            return refusal
        self.mails.append(_mail(envelope))
        return "250 2.0.0 queued"

    def discard_held(self) -> None:
        """Answer nothing any more to what is held."""
        for gate in self._held:
            gate.discard()


def _mail(envelope: Envelope) -> Mail:
    assert isinstance(envelope.content, bytes)
    parser = BytesParser(EmailMessage, policy=email.policy.default)
    content = parser.parsebytes(envelope.content)
    return Mail(
        delivery_id=str(content["X-Chimeway-Delivery"]),
        message_id=str(content["Message-ID"]),
        to=str(content["To"]),
        subject=str(content["Subject"]),
        at=datetime.now(UTC),
        content=content,
    )


@asynccontextmanager
async def smtp_sink() -> AsyncIterator[Sink]:
    """Serve while the block lasts."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    connections: list[SMTP] = []

    def connected() -> SMTP:
        connections.append(SMTP(sink, enable_SMTPUTF8=False, hostname="sink", loop=loop))
        return connections[-1]

    server = await loop.create_server(connected, "127.0.0.1", 0)
    sink.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sink
    finally:
        server.close()
        sink.discard_held()
        for one in connections:
            if one.transport is not None:
                one.transport.abort()
