"""The provider, as a process of its own: takes webhooks and mails, misbehaves, and logs every call.

    python -m faults.provider '{"folder": "...", "http": 8001, "smtp": {"node1": 8002}}'

A call is in the log before anything is answered, and its answer before it is given. What is done to a call
stands in the message itself, for the first calls of each message in turn (`plan.MISBEHAVIOUR`):

    refuse   503 or 451: not taken              later    429 or 450: not taken, come again
    perhaps  502, or the end of the connection before any answer: it has the message, and does not say so
    reset    a reset in place of an answer      close    the end in the middle of the answer
    hang     an answer after more than any node waits for       late     a yes, after a while

Which node called is told by the path (webhooks), or by the port (mails). A next life goes on where the log
ends.
"""

import asyncio
import email.policy
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from faults.journal import Journal, read
from kit.network import reset

HANG_S: Final = 8.0
"""Longer than `REPLY_TIMEOUT_S`."""
REPLY_TIMEOUT_S: Final = 6.0
"""How long nodes wait for an answer: long, so that a slow machine is no provider that hangs."""
_LATE_S: Final = 0.7
Answer: TypeAlias = Literal["ok", "refuse", "later", "perhaps", "reset", "close"]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens, and where its log is."""

    folder: str
    http: int
    smtp: dict[str, int]

    @property
    def log(self) -> Path:
        """Its log."""
        return Path(self.folder) / "provider.jsonl"

    def to_json(self) -> str:
        """Return it as a process is given it."""
        return json.dumps(asdict(self))


class Provider:
    """One life of the provider."""

    def __init__(self, ports: Ports) -> None:
        """Read how often each message has come so far."""
        self._calls: Counter[str] = Counter()
        last = 0
        for entry in read(ports.log):
            if entry.get("w") == "call":
                self._calls[f"{entry['j']}/{entry['step']}"] += 1
                last = max(last, entry["c"])
        self._number = count(last + 1)
        self._ports = ports
        self._journal = Journal(ports.log)

    async def serve(self) -> None:
        """Serve until killed."""
        servers = [await asyncio.start_server(self._http, "127.0.0.1", self._ports.http)]
        for node, port in self._ports.smtp.items():
            servers.append(await asyncio.start_server(partial(self._smtp, node), "127.0.0.1", port))
        self._journal.write({"w": "listening"})
        await asyncio.gather(*(server.serve_forever() for server in servers))

    @asynccontextmanager
    async def _called(self, about: dict[str, Any], misbehaviour: str) -> AsyncIterator[Answer]:
        """Log a call and, once what is done to it is done, its answer, which is given inside."""
        message = f"{about['j']}/{about['step']}"
        place, words = self._calls[message], [word for word in misbehaviour.split(",") if word]
        self._calls[message] += 1
        word = words[place] if place < len(words) else "ok"
        number = next(self._number)
        self._journal.write({"w": "call", "c": number, **about, "plan": word})
        if word in {"hang", "late"}:
            await asyncio.sleep(HANG_S if word == "hang" else _LATE_S)
        answer: Any = "ok" if word in {"hang", "late"} else word
        self._journal.write({"w": "answer", "c": number, "answer": answer})
        yield answer

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))["data"]
                about = {
                    "via": "http", "node": first.split(" ")[1].strip("/"), "key": headers["webhook-id"],
                    "j": body["data"]["mention"], "step": body["step"], "run": body["run_id"],
                    "to": body["recipient_id"], "tenant": body["tenant_id"],
                    "says": body["text"] or body["body"],
                }  # fmt: skip
                async with self._called(about, body["data"]["misbehaviour"]) as answer:
                    if not _answer_http(writer, answer):
                        break
                    await writer.drain()
        _end(writer)

    async def _smtp(self, node: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(b"220 provider\r\n")
            to = ""
            while line := (await reader.readline()).decode("latin-1").strip():
                match line.partition(" ")[0].upper():
                    case "EHLO" | "HELO":
                        writer.write(b"250-provider\r\n250-8BITMIME\r\n250 SIZE 1048576\r\n")
                    case "RCPT":
                        to = line.partition("<")[2].partition(">")[0]
                        writer.write(b"250 OK\r\n")
                    case "DATA":
                        writer.write(b"354 go on\r\n")
                        await writer.drain()
                        mail = _mail(await reader.readuntil(b"\r\n.\r\n"))
                        step, mention, misbehaviour = f"{mail['Subject']}  ".split(" ")[:3]
                        about = {
                            "via": "smtp", "node": node, "key": str(mail["X-Chimeway-Delivery"]),
                            "j": mention, "step": step, "to": to, "says": _text(mail),
                        }  # fmt: skip
                        async with self._called(about, misbehaviour) as answer:
                            if not _answer_smtp(writer, answer):
                                break
                    case "QUIT":
                        writer.write(b"221 bye\r\n")
                        break
                    case _:
                        writer.write(b"250 OK\r\n")
                await writer.drain()
        _end(writer)


def _answer_http(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Answer; say whether the connection goes on."""
    status = {"ok": "200 OK", "refuse": "503 No", "later": "429 Later\r\nRetry-After: 1", "perhaps": "502 Hm"}
    match answer:
        case "reset":
            reset(writer)
            return False
        case "close":
            writer.write(b"HTTP/1.1 200 O")
            return False
        case _:
            writer.write(f"HTTP/1.1 {status[answer]}\r\nContent-Length: 2\r\n\r\nok".encode())
            return True


def _answer_smtp(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Answer; say whether the connection goes on."""
    match answer:
        case "reset":
            reset(writer)
            return False
        case "perhaps" | "close":
            return False
        case _:
            said = {"ok": "250 queued", "refuse": "451 4.3.0 no", "later": "450 4.3.0 throttling"}[answer]
            writer.write(f"{said}\r\n".encode())
            return True


def _mail(content: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=email.policy.default).parsebytes(content)


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain", "html"))
    return "" if part is None else str(part.get_content()).strip()


def _end(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.close()


def main() -> None:
    """Serve."""
    asyncio.run(Provider(Ports(**json.loads(sys.argv[1]))).serve())


if __name__ == "__main__":
    main()
