"""A channel that keeps the contract with nothing but sockets: one connection a message, JSON over HTTP."""

import asyncio
import json
from urllib.parse import urlsplit

from chimeway.delivery.channel import (
    Bounced,
    Message,
    PermanentFailure,
    RateLimited,
    Sent,
    TransientFailure,
    UnknownOutcome,
)


class PlainChannel:
    """Posts each message to one URL; tests break one method at a time."""

    name = "plain"

    def __init__(self, url: str, timeout_s: float = 0.5) -> None:
        """Take the provider's URL."""
        self._port = urlsplit(url).port
        self._timeout_s = timeout_s

    async def send(self, message: Message) -> Sent:
        """Post it."""
        if not message.address or "\r" in message.address:
            raise PermanentFailure("no address")
        async with asyncio.timeout(self._timeout_s):
            head = await self._answer(self._request(message))
        return self.read(head)

    def read(self, head: bytes) -> Sent:
        """Say what an answer means."""
        if not head.startswith(b"HTTP/1.1 ") or not head.endswith(b"}"):
            if head.startswith(b"HTTP/1.1 200") and not head.endswith(b" "):
                return Sent()  # a body of no sense, but all of it
            raise UnknownOutcome("no answer that makes sense")
        match int(head[9:12]):
            case 200:
                return Sent(provider_reference="taken")
            case 429:
                lines = head.decode().split("\r\n")
                after = next(line for line in lines if line.startswith("Retry-After: "))
                raise RateLimited(float(after.removeprefix("Retry-After: ")))
            case 410:
                raise Bounced("gone")
            case status if status >= 500:
                raise TransientFailure("it failed")
            case _:
                raise PermanentFailure("it said no")

    def key(self, message: Message) -> str:
        """Return the idempotency key."""
        return message.delivery_id

    def _request(self, message: Message) -> bytes:
        told = {"to": message.address, "subject": message.subject, "body": message.body, "text": message.text}
        body = json.dumps(told).encode()
        lines = [
            "POST / HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}",
            f"Idempotency-Key: {self.key(message)}", *self.headers(message),
        ]  # fmt: skip
        return "\r\n".join([*lines, "", ""]).encode() + body

    def headers(self, message: Message) -> list[str]:
        """Return more headers."""
        return []

    async def _answer(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            return head + await reader.readexactly(int(size.removeprefix(b"Content-Length: ")))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise UnknownOutcome("the connection was lost") from error
        finally:
            writer.close()
