"""A connection to a stranger: what it may say is bounded, and nothing that happens leaves it open.

The HTTP client reads answers for as long as they come: interim ones (1xx) without end would keep the loop
busy until the time is over, and everybody else in this process waiting. It closes a connection whose TLS
fails, not one whose TLS is given up; and some faults of TLS it lets through as they are.
"""

import ssl
from typing import Any, Final

import httpcore2

from chimeway.limits import WEBHOOK_HEARD_BYTES

_PIECE: Final = 16_384
"""Read at once: what is read is parsed before anybody else has a turn."""


class OutwardStream(httpcore2.AsyncNetworkStream):
    """A connection as the HTTP client sees it."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        """Take what is connected."""
        self._stream = stream
        self.heard = 0
        """Bytes since we last said something."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read a piece; more than may come in answer to one request ends the connection."""
        try:
            data = await self._stream.read(min(max_bytes, _PIECE), timeout)
        except ssl.SSLError as error:
            raise httpcore2.ReadError(type(error).__name__) from error
        self.heard += len(data)
        if self.heard > WEBHOOK_HEARD_BYTES:
            raise httpcore2.ReadError("an endless answer")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Say something."""
        self.heard = 0
        try:
            await self._stream.write(buffer, timeout)
        except ssl.SSLError as error:
            raise httpcore2.WriteError(type(error).__name__) from error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> "OutwardStream":
        """Return the connection with TLS; without, it is closed."""
        try:
            return OutwardStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            await self._stream.aclose()
            raise

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Return what is known of it."""
        return self._stream.get_extra_info(info)
