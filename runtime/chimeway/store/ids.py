"""Ids that a node gives: time first, the shard in the last byte, as chimeway.new_id does in SQL."""

import secrets
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

chance: Callable[[int], bytes] = secrets.token_bytes
"""Where the bytes of an id come from that are no time: a simulation draws them by its seed."""


def new_id(shard: int, at: datetime) -> UUID:
    """Return a UUIDv7-shaped id of `shard` whose time part is `at`."""
    milliseconds = int(at.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + chance(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    raw[15] = shard
    return UUID(bytes=bytes(raw))


def shard_of_id(value: UUID) -> int:
    """Return the shard that an id carries."""
    return value.bytes[15]
