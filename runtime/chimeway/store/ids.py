"""Ids that a node gives: time first, the shard in the last byte, as chimeway.new_id does in SQL."""

import secrets
from datetime import datetime
from uuid import UUID


def new_id(shard: int, at: datetime) -> UUID:
    """Return a UUIDv7-shaped id of `shard` whose time part is `at`."""
    milliseconds = int(at.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + secrets.token_bytes(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    raw[15] = shard
    return UUID(bytes=bytes(raw))


def shard_of_id(value: UUID) -> int:
    """Return the shard that an id carries."""
    return value.bytes[15]
