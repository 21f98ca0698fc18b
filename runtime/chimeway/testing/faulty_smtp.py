"""A provider that speaks SMTP, and fails as it is told once it has a whole message."""

import asyncio
import email.policy
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from types import MappingProxyType
from typing import ClassVar, Final

from chimeway.testing.contract_answers import Answer
from chimeway.testing.fault_server import FaultServer, hang, write_slowly
from chimeway.testing.faults import Fault, FaultKind, Received

_REFUSAL: Final[Mapping[FaultKind, tuple[int, str]]] = {
    "rate_limit": (450, "4.7.1 too many messages, slow down"),
    "error_500": (451, "4.3.0 something broke here"),
    "permanent": (554, "5.6.0 this message is not wanted"),
    "bounce": (550, "5.1.1 no such user"),
}
_TAKEN: Final = b"250 2.0.0 queued as 4711\r\n"


@dataclass(slots=True)
class _Envelope:
    """What the client has said of the message to come."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)


class FaultySmtp(FaultServer):
    """A real SMTP server on loopback: `server.url`, and what it was told to do; see `Program`.

    Each fault is met after the whole message, where it is worst: nobody can know whether it was taken.
    """

    faults: ClassVar[frozenset[FaultKind]] = frozenset(
        {
            "ok", "refuse", "hang", "slow", "rate_limit", "error_500", "close_before_reply",
            "close_mid_reply", "rubbish", "permanent", "bounce",
        }
    )  # fmt: skip

    answers: ClassVar[Mapping[FaultKind, frozenset[Answer]]] = MappingProxyType(
        {"rate_limit": frozenset({"transient", "rate_limited"})}  # 450 says no more than "later"
    )

    tells_pause: ClassVar[bool] = False

    @property
    def url(self) -> str:
        """Where it listens, such as smtp://127.0.0.1:4711."""
        return f"smtp://127.0.0.1:{self.port}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        envelope = _Envelope()
        writer.write(b"220 faulty ESMTP\r\n")
        while line := (await reader.readline()).decode("utf-8", "replace").strip():
            verb = line.split(" ")[0].upper()
            match verb:
                case "QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    await writer.drain()
                    return
                case "DATA":
                    writer.write(b"354 go on\r\n")
                    received = self._mail(envelope, await _content(reader))
                    self._met(received)
                    if not await _reply(reader, writer, received.fault):
                        return
                    envelope = _Envelope()
                case "RSET":
                    envelope = _Envelope()
                    writer.write(b"250 2.0.0 ok\r\n")
                case "AUTH":
                    await _let_in(reader, writer, line)
                case _:
                    writer.write(_answer(envelope, verb, line))
            await writer.drain()

    def _mail(self, envelope: _Envelope, content: bytes) -> Received:
        parser = BytesParser(EmailMessage, policy=email.policy.default)
        mail = parser.parsebytes(content)
        headers = {name.lower(): str(value) for name, value in mail.items()}
        parts = [str(part.get_content()) for part in mail.walk() if part.get_content_maintype() == "text"]
        key = headers.get("message-id", "").strip("<>").partition("@")[0] or None
        text = "\n".join([headers.get("subject", ""), *parts])
        found = Received(key, text, headers, body=content, recipients=tuple(envelope.recipients))
        return Received(
            key, text, headers, self.meets(found), body=content, recipients=tuple(envelope.recipients)
        )


def _answer(envelope: _Envelope, verb: str, line: str) -> bytes:
    """Answer what needs no more than a line."""
    match verb:
        case "EHLO":
            return b"250-faulty\r\n250-SIZE 33554432\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n"
        case "MAIL":
            envelope.sender = _address(line)
        case "RCPT":
            envelope.recipients.append(_address(line))
        case "HELO" | "NOOP":
            pass
        case _:
            return b"500 5.5.1 no such command\r\n"
    return b"250 2.1.0 ok\r\n"


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


async def _let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> None:
    """Let in whoever says any name and password."""
    words = line.split(" ")
    steps = {"PLAIN": 1, "LOGIN": 2}.get(words[1].upper() if len(words) > 1 else "", 0)
    for _ in range(steps - (len(words) - 2)):
        writer.write(b"334 \r\n")
        await reader.readline()
    writer.write(b"235 2.7.0 welcome\r\n")


async def _content(reader: asyncio.StreamReader) -> bytes:
    """Read a message up to its lone dot, without the dots that were put in."""
    lines = []
    while (line := await reader.readuntil(b"\n")) != b".\r\n":
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> bool:
    """Answer a message as the fault wants; say whether the connection goes on."""
    match fault.kind:
        case "ok":
            writer.write(_TAKEN)
        case "slow":
            await write_slowly(writer, _TAKEN, fault)
        case "hang":
            await hang(reader)
            return False
        case "close_before_reply":
            return False
        case "close_mid_reply":
            writer.write(_TAKEN[:6])
            await writer.drain()
            return False
        case "rubbish":
            writer.write(b"\x00\xff what is this?\r\n")
            await writer.drain()
            await hang(reader)
            return False
        case _:
            code, text = _REFUSAL[fault.kind]
            writer.write(f"{fault.status or code} {text}\r\n".encode())
    return True
