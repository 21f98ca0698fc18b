"""The signed word in a link by which a recipient says that they want no more of these. Pure.

    base64url( version · delivery id · tenant · recipient · workflow · channel · HMAC-SHA-256 )

Whoever holds the word may unsubscribe this recipient from this workflow on this channel, and undo it:
nothing else, and without a log-in, as RFC 8058 wants. It is signed, not encrypted: whoever sees it can read
the ids in it. All that is needed stands in it, for the delivery's row may be gone long before its mail is.

It never expires. Mail is kept for years, and who unsubscribes by an old one must be heard: a link that says
"too late" is answered with the button for spam. To end the links of a key, take the key away.

Several keys may hold at once: the first signs, all are believed. To change keys put the new one first, and
take the old one away when its links may end; one that leaked, at once.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chimeway.limits import MAX_IDENTIFIER_CHARS, MAX_UNSUBSCRIBE_TOKEN_CHARS

PATH: Final = "/v1/unsubscribe/"
"""Of links at the node's web door, before the token."""
_VERSION: Final = b"\x01"
_SIGNED_FOR: Final = b"chimeway unsubscribe 1\0"
"""Before what is signed: a key that also signs something else signs nothing that passes for this."""
_MAC_BYTES: Final = 32
_WORD: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_UNSUBSCRIBE_TOKEN_CHARS}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What somebody unsubscribes from: the messages of a workflow on a channel; and by which message."""

    tenant_id: str
    recipient_id: str
    workflow: str
    channel: str
    delivery_id: UUID


def signed(what: Subscription, keys: Sequence[bytes]) -> str | None:
    """Return the token for a link, signed by the first of the keys.

    Args:
        what: from what it unsubscribes.
        keys: at least one.

    Returns:
        the token; None: it would be longer than a link may be, for ids that are far longer than usual.
    """
    content = _VERSION + what.delivery_id.bytes + b"".join(_measured(text) for text in _texts(what))
    token = _written(content + _mac(keys[0], content))
    return token if len(token) <= MAX_UNSUBSCRIBE_TOKEN_CHARS else None


def read(token: str, keys: Sequence[bytes]) -> Subscription | None:
    """Return what a token unsubscribes from; None: none of these keys signed it.

    Why it is none is not said: who may unsubscribe has nothing to repair.
    """
    whole = _bytes_of(token)
    if whole is None or len(whole) <= len(_VERSION) + _MAC_BYTES:
        return None
    content, mac = whole[:-_MAC_BYTES], whole[-_MAC_BYTES:]
    believed = [hmac.compare_digest(_mac(key, content), mac) for key in keys]  # all, whichever fits
    if not any(believed) or not content.startswith(_VERSION):
        return None
    return _read(content[len(_VERSION) :])


def _texts(what: Subscription) -> tuple[str, str, str, str]:
    return what.tenant_id, what.recipient_id, what.workflow, what.channel


def _measured(text: str) -> bytes:
    """Return a text behind its length: no two lists of texts are written alike."""
    written = text.encode("utf-8")
    return len(written).to_bytes(2, "big") + written


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, _SIGNED_FOR + content, "sha256")


def _written(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode("ascii")


def _bytes_of(token: str) -> bytes | None:
    """Return what was written; the one way to write it: a token with other last bits is another."""
    if not _WORD.fullmatch(token):
        return None
    try:
        whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    return whole if _written(whole) == token else None


def _read(content: bytes) -> Subscription | None:
    """Read what we signed; what another version of ours signed under the same number is none."""
    texts: list[str] = []
    place = 16
    try:
        delivery = UUID(bytes=content[:place])
        while place < len(content):
            length = int.from_bytes(content[place : place + 2], "big")
            written = content[place + 2 : place + 2 + length]
            if len(written) < length:
                return None
            texts.append(written.decode("utf-8"))
            place += 2 + length
        tenant, recipient, workflow, channel = texts
    except ValueError:
        return None
    if not all(0 < len(text) <= MAX_IDENTIFIER_CHARS for text in texts):
        return None
    return Subscription(tenant, recipient, workflow, channel, delivery)
