"""A provider that speaks HTTP/1.1, and fails as it is told."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import ClassVar, Final

from chimeway.testing.fault_server import GONE, FaultServer, hang, write_slowly
from chimeway.testing.faults import Fault, FaultKind, Received

KEY_HEADERS: Final = ("idempotency-key", "webhook-id", "x-chimeway-delivery")
"""Where an idempotency key is looked for, the first of them that is there."""
_STATUS: Final[Mapping[FaultKind, int]] = {
    "rate_limit": 429,
    "error_500": 500,
    "permanent": 422,
    "bounce": 410,
}
_KNOWN: Final = frozenset(status.value for status in HTTPStatus)
_NO_HTTP: Final = b"\x00\xff what is this? \r\n\r\n" * 3
_NO_SENSE: Final = b"\x00\xff{<not json" * 1_000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the server says to a message that it takes."""

    body: bytes = b'{"id": "taken"}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def key_in_headers(received: Received) -> str | None:
    """Return the idempotency key of the usual headers."""
    return next((received.headers[name] for name in KEY_HEADERS if name in received.headers), None)


def _always(_received: Received) -> bool:
    return True


class FaultyHttp(FaultServer):
    """A real HTTP server on loopback: `server.url`, and what it was told to do; see `Program`."""

    faults: ClassVar[frozenset[FaultKind]] = frozenset(
        {
            "ok", "refuse", "hang", "slow", "rate_limit", "error_500", "close_before_reply",
            "close_mid_reply", "rubbish", "rubbish_body", "permanent", "bounce",
        }
    )  # fmt: skip

    def __init__(
        self,
        *,
        answer: Callable[[Received], HttpAnswer] | None = None,
        key: Callable[[Received], str | None] = key_in_headers,
        is_message: Callable[[Received], bool] = _always,
    ) -> None:
        """Say how this provider differs from the usual.

        Args:
            answer: what is said to a request that goes well; 200 and a little JSON if left out.
            key: where the idempotency key stands.
            is_message: which requests are messages; all others (a log-in) go well, and are not kept.
        """
        super().__init__()
        self._answer = answer or (lambda _received: HttpAnswer())
        self._key = key
        self._is_message = is_message

    @property
    def url(self) -> str:
        """Where it listens, such as http://127.0.0.1:4711."""
        return f"http://127.0.0.1:{self.port}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            received = await self._request(reader, writer)
            if received is None:
                return
            if self._is_message(received):
                received = replace(received, fault=self.meets(received))
                self._met(received)
            if not await self._reply(reader, writer, received):
                return

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received | None:
        """Read one request; None: the client has left between two."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except GONE:
            return None
        first, *lines = head.split("\r\n")
        method, path, _version = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, headers)
        text = body.decode("utf-8", "replace")
        received = Received(None, text, headers, method=method, path=path, body=body)
        return replace(received, key=self._key(received))

    async def _reply(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received
    ) -> bool:
        """Answer as the fault wants; say whether the connection goes on."""
        fault, answer = received.fault, self._answer(received)
        match fault.kind:
            case "ok":
                writer.write(_wire(answer))
            case "slow":
                await write_slowly(writer, _wire(answer), fault)
            case "hang":
                await hang(reader)
                return False
            case "close_before_reply":
                return False
            case "close_mid_reply":
                whole = _wire(replace(answer, body=answer.body + b" " * 100))
                writer.write(whole[:-60])
                await writer.drain()
                return False
            case "rubbish":
                writer.write(_NO_HTTP)
                await writer.drain()
                return False
            case "rubbish_body":
                writer.write(_wire(replace(answer, body=_NO_SENSE)))
            case _:
                writer.write(_wire(_refusal(fault)))
        await writer.drain()
        return True


def _refusal(fault: Fault) -> HttpAnswer:
    headers = {"Content-Type": "application/json"}
    if fault.retry_after is not None:
        after = fault.retry_after
        headers["Retry-After"] = after if isinstance(after, str) else f"{after:g}"
    body = json.dumps({"error": fault.kind}).encode()
    return HttpAnswer(body, fault.status or _STATUS[fault.kind], headers)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    chunks = []
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():  # trailers
        pass
    return b"".join(chunks)


def _wire(answer: HttpAnswer) -> bytes:
    """Return the answer as it goes over the wire."""
    reason = HTTPStatus(answer.status).phrase if answer.status in _KNOWN else "Something"
    lines = [f"HTTP/1.1 {answer.status} {reason}", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body
