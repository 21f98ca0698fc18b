"""Ids that a node gives: time first, the shard in the last byte, as chimeway.new_id does in SQL.

They are UUIDs of the driver's own kind, as those of rows are: equal to Python's, and made and written out
several times as quickly.
"""

import os
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg.pgproto import pgproto

SHARDS: Final = frozenset(range(256))
"""All there are."""

_AT_ONCE: Final = 256
"""Ids whose chance is asked of the system together: a question costs more than an id."""
_drawn: Final[list[bytes]] = []
os.register_at_fork(after_in_child=_drawn.clear)  # parent and child must not draw the same


def _draw(size: int) -> bytes:
    """Return at most 16 bytes of chance that nobody else gets."""
    while True:
        try:
            return _drawn.pop()[:size]  # `pop` is one step, also between threads
        except IndexError:
            many = os.urandom(16 * _AT_ONCE)
            _drawn.extend(many[place : place + 16] for place in range(0, len(many), 16))


chance: Callable[[int], bytes] = _draw
"""Where the bytes of an id come from that are no time: a simulation draws them by its seed."""


def least_id(at: datetime) -> UUID:
    """Return the least id that can have been given at a moment."""
    return UUID(int=max(int(at.timestamp() * 1_000), 0) << 80)


def every_shard() -> frozenset[int]:
    """Return all shards: what who works alone looks through."""
    return SHARDS


def if_few(shards: Collection[int]) -> list[list[int]]:
    """Return what a statement about some shards is given besides; nothing where they are all.

    Who has all asks as programs do that know of no others.
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
    raw = bytearray(_draw(16))
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
