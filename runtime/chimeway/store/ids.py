"""Ids that a node gives: time first, the shard in the last byte, as chimeway.new_id does in SQL.

They are UUIDs of the driver's own kind, as those of rows are: equal to Python's, and made and written out
several times as quickly.
"""

import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg.pgproto import pgproto

SHARDS: Final = frozenset(range(256))
"""All there are."""

chance: Callable[[int], bytes] = secrets.token_bytes
"""Where the bytes of an id come from that are no time: a simulation draws them by its seed."""


def every_shard() -> frozenset[int]:
    """Return all shards: what who works alone looks through."""
    return SHARDS


def if_few(shards: Collection[int]) -> list[list[int]]:
    """Return what a statement about some shards is given besides; nothing where they are all.

    Who has all asks as programs do that know of no others: that is understood on schema version 3, too.
    """
    return [] if len(shards) == len(SHARDS) else [sorted(shards)]


def new_id(shard: int, at: datetime) -> UUID:
    """Return a UUIDv7-shaped id of `shard` whose time part is `at`."""
    milliseconds = int(at.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + chance(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    raw[15] = shard
    return pgproto.UUID(bytes(raw))


def random_id() -> UUID:
    """Return an id that says nothing, as `uuid4` gives them."""
    raw = bytearray(secrets.token_bytes(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return pgproto.UUID(bytes(raw))


def shard_of_id(value: UUID) -> int:
    """Return the shard that an id carries."""
    return value.bytes[15]


def shard_ranges(shards: Collection[int]) -> str:
    """Return shards as people read them: "0-84, 90"."""
    ranges: list[list[int]] = []
    for shard in sorted(shards):
        if ranges and ranges[-1][1] == shard - 1:
            ranges[-1][1] = shard
        else:
            ranges.append([shard, shard])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
