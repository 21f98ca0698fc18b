"""Signatures as Standard Webhooks has them: `v1`, HMAC-SHA256 over id, timestamp and body. Pure.

A secret is written `whsec_` and the base64 of 24 to 64 random bytes. Where there are several, separated by
blanks, each signs, and a receiver takes the request if one of them fits: so a secret is replaced without a
moment in which messages are refused.

Each tenant has a secret of its own, written down for it or made from one master key. What one tenant's
receiver knows does not let it sign for another's. Made from a master key it is
HMAC-SHA256(master key, "chimeway webhook secret 1" NUL tenant), so that nothing must be stored.

`v1a` (ed25519) is not there: it would want a package for it in every node, and what it gives, receivers who
cannot sign, is worth little where each has a secret of its own.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from chimeway.errors import InvalidInput
from chimeway.signatures import PREFIX, digest, from_base64, written

_RIGHT: Final = "whsec_ and the base64 of 24 to 64 random bytes"
_PURPOSE: Final = b"chimeway webhook secret 1\0"


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys of one secret, or of several separated by blanks, the one to stay first.

    Raises:
        ValueError: one is none; the text goes on after "right would be", and shows nothing.
    """
    keys = tuple(_key(one) for one in text.split())
    if not keys:
        raise ValueError(_RIGHT)
    return keys


def _key(text: str) -> bytes:
    key = from_base64(text.removeprefix(PREFIX))
    if key is None or not text.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(_RIGHT)
    return key


def signature(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature, with its version."""
    return written(digest(key, webhook_id, str(timestamp), body))


def webhook_secret(master_key: str, tenant: str) -> str:
    """Return the secret that a node with this master key signs by for a tenant, to give to its receiver.

    Args:
        master_key: as in the settings; of several the first counts.
        tenant: the tenant's id.

    Raises:
        InvalidInput: the master key is none.
    """
    try:
        master, *_ = read_secrets(master_key)
    except ValueError as fault:
        raise InvalidInput(f"master_key: right would be {fault}", field="master_key") from None
    return PREFIX + base64.b64encode(_derived(master, tenant)).decode("ascii")


def _derived(master: bytes, tenant: str) -> bytes:
    return hmac.digest(master, _PURPOSE + tenant.encode("utf-8"), "sha256")


@dataclass(frozen=True, slots=True)
class Secrets:
    """By what keys is signed: a tenant's own, else made from the master key, else those of all."""

    of_all: tuple[bytes, ...] = field(default=(), repr=False)
    of_tenants: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    masters: tuple[bytes, ...] = field(default=(), repr=False)

    def of(self, tenant: str) -> tuple[bytes, ...]:
        """Return the keys for a tenant; none when it has none."""
        if own := self.of_tenants.get(tenant):
            return own
        if self.masters:
            return tuple(_derived(master, tenant) for master in self.masters)
        return self.of_all

    def signatures(self, tenant: str, webhook_id: str, timestamp: int, body: bytes) -> str:
        """Return the header: a signature by each key, separated by blanks."""
        return " ".join(signature(key, webhook_id, timestamp, body) for key in self.of(tenant))
