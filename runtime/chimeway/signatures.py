"""The `v1` signature of Standard Webhooks, and base64 as strangers write it: to sign, and to check. Pure."""

import base64
import binascii
import hmac
from typing import Final

PREFIX: Final = "whsec_"
"""How a secret begins, before its base64."""


def digest(key: bytes, message_id: str, stamp: str, body: bytes) -> bytes:
    """Return what `v1` signs a message with: HMAC-SHA256 over `id.timestamp.body`."""
    return hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, "sha256")


def written(made: bytes) -> str:
    """Return a digest as it stands in `webhook-signature`, with its version."""
    return f"v1,{base64.b64encode(made).decode('ascii')}"


def from_base64(text: str) -> bytes | None:
    """Return the bytes that a text is the base64 of; None: of none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
