"""What a webhook's receiver answered, and what that means, as the table of `webhook.py` says. Pure.

Whose fault a refusal of the whole endpoint is depends on whose URL it is: one of the settings is set up
wrong; a recipient's is a wrong address, and the next recipient's may be right.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    PermanentFailure,
    RateLimited,
    SendFailure,
    Sent,
    TransientFailure,
    UnknownOutcome,
)

_PERHAPS: Final = frozenset({502, 504, 520, 524})
"""A gateway asked whom it stands for, and heard nothing, or nonsense: that one may have the message."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REFERENCE_CHARS: Final = 200
_NOTE_CHARS: Final = 200
_ECHO_CHARS: Final = 16
_TELLING_CHARS: Final = 3
_KEPT_KINDS: Final = frozenset({"text/plain", "application/json", "application/problem+json"})
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_SECRET: Final = re.compile(
    r"whsec_[\w+/=-]*|v1a?,[\w+/=-]*|[a-z][a-z0-9+.-]*://\S*"
    r"|[^\s@<>]+@[^\s@<>]+"
    r"|\b(?:bearer|basic|token|key|secret|password)\b\W{0,4}\S+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A receiver's answer, read as far as it counts."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    """Its beginning, as it came."""
    whole: bool = True
    """Whether the connection held until the answer's end, or for as long as was listened."""

    def header(self, name: str) -> str | None:
        """Return the first header of a name, printable and without blanks around it."""
        wanted = name.lower().encode("ascii", "replace")
        for key, value in self.headers:
            if key.lower() == wanted:
                text = value.decode("latin-1").strip()
                return text if text.isprintable() else None
        return None


def at_fault(*, ours: bool) -> type[ConfigurationFailure | PermanentFailure]:
    """Return what is raised when the endpoint itself is wrong: it is ours, or a recipient's."""
    return ConfigurationFailure if ours else PermanentFailure


def nobody_there(*, ours: bool) -> type[ConfigurationFailure | Bounced]:
    """Return what is raised when there is no such endpoint (any more)."""
    return ConfigurationFailure if ours else Bounced


def judged(
    reply: Reply, *, ours: bool, now: datetime, sent: bytes, reference: str, path: str = ""
) -> Sent | SendFailure:
    """Return what an answer means.

    Args:
        reply: the answer.
        ours: whether the URL is from the settings.
        now: for a Retry-After that is a date.
        sent: the request's body, so that nothing of it is kept when a receiver echoes it.
        reference: the header with the receiver's own name for the message.
        path: where it was sent, which may be a password, and stands in what many servers say of 404.
    """
    status = reply.status
    if 200 <= status < 300:
        if not reply.whole:
            return UnknownOutcome(f"the connection was lost in the answer, which began with {status}")
        return Sent(provider_reference=(reply.header(reference) or "")[:_REFERENCE_CHARS] or None)
    note = note_of(reply, sent, path)
    said = f"the endpoint answered {status}" + (f": {note}" if note else "")
    told = {"status": status}
    match status:
        case 404 | 410:
            return nobody_there(ours=ours)(said, **told)
        case 401 | 403 | 407:
            return at_fault(ours=ours)(said, **told)
        case 429:
            return RateLimited(retry_after(reply, now), said, **told)
        case 408 | 425:
            return TransientFailure(said, retry_after=retry_after(reply, now), **told)
        case _ if status in _PERHAPS:
            return UnknownOutcome(said, **told)
        case _ if 500 <= status < 600:
            return TransientFailure(said, retry_after=retry_after(reply, now), **told)
        case _ if 400 <= status < 500:
            return PermanentFailure(said, **told)
        case _ if 300 <= status < 400:
            return at_fault(ours=ours)(f"redirects are not followed: {said}", **told)
        case _:
            return UnknownOutcome(said, **told)


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Return the seconds that a receiver asks for, as a number or as a date; None: it asks for none."""
    text = reply.header("retry-after")
    if text is None:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())


def note_of(reply: Reply, sent: bytes, path: str = "") -> str | None:
    """Return the beginning of what the receiver said, for people; None: nothing that may be kept.

    Of an answer that is no plain text or JSON, is packed, or repeats what was sent, nothing is kept; values
    of the message, parts of the path, and what looks like a secret or an address, are masked.
    """
    kind = (reply.header("content-type") or "text/plain").partition(";")[0].strip().lower()
    if kind not in _KEPT_KINDS or reply.header("content-encoding") not in {None, "identity"}:
        return None
    text = " ".join(reply.body[: 4 * _NOTE_CHARS].decode("utf-8", "replace").split())
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)[:_NOTE_CHARS]
    if not text or _echoes(text, sent.decode("utf-8", "replace")):
        return None
    told = {" ".join(value.split()) for value in _values([json.loads(sent), _parts(path)])}
    for value in sorted(told, key=len, reverse=True):
        text = text.replace(value, "***")
    return _SECRET.sub("***", text)


def _parts(path: str) -> list[str]:
    """Return the path, and what it is made of, as it is written and as it is meant."""
    parts = [path, *re.split(r"[/?&=;]", path)]
    return [form for part in parts for form in (part, unquote(part))]


def _echoes(text: str, sent: str) -> bool:
    pieces = range(0, max(len(text) - _ECHO_CHARS, 0) + 1, _ECHO_CHARS)
    return any(text[at : at + _ECHO_CHARS] in sent for at in pieces)


def _values(found: object) -> Iterator[str]:
    """Go through the texts and numbers of a message that are long enough to say something."""
    match found:
        case dict():
            yield from (value for inner in found.values() for value in _values(inner))
        case list():
            yield from (value for inner in found for value in _values(inner))
        case str() | int() | float() if len(str(found)) >= _TELLING_CHARS:
            yield str(found)
        case _:
            return
