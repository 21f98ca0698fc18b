"""A real SMTP server on loopback, which takes everything and keeps it."""

import asyncio
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.parser import BytesHeaderParser
from uuid import UUID

from chimeway.demo.report import Mail
from chimeway.extras import imported

with imported():
    from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """What it took, in order of arrival."""

    def __init__(self, told: Callable[[Mail], None]) -> None:
        """Begin empty; `told` hears of each message."""
        self.url = ""
        self.mails: list[Mail] = []
        self._told = told

    async def handle_DATA(  # noqa: N802  (aiosmtpd's name)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take a message."""
        content = envelope.content
        assert isinstance(content, bytes), "aiosmtpd gives bytes unless it is asked for text"
        headers = BytesHeaderParser(policy=email.policy.default).parsebytes(content)
        delivery = UUID(str(headers["X-Chimeway-Delivery"]))
        mail = Mail(", ".join(envelope.rcpt_tos), str(headers["Subject"]), delivery)
        self.mails.append(mail)
        self._told(mail)
        return "250 2.0.0 queued"


@asynccontextmanager
async def smtp_sink(told: Callable[[Mail], None]) -> AsyncIterator[Sink]:
    """Serve while the block lasts, on a free port.

    Raises:
        MissingExtra: aiosmtpd is not installed.
    """
    sink, loop = Sink(told), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(sink, hostname="localhost", loop=loop, enable_SMTPUTF8=False), "127.0.0.1", 0
    )
    sink.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sink
    finally:
        server.close()
