"""What of all work is a node's: some shards; and, for now, single things of others that only it can do."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chimeway.store.ids import every_shard


@dataclass(frozen=True, slots=True)
class Share:
    """Asked again and again, for shards come and go."""

    shards: Callable[[], Collection[int]]
    """Names those that are looked through."""

    borrow: Callable[[UUID], None]
    """Makes a run or delivery this node's for now, though its shard is another's, who lacks what it needs."""


EVERYTHING: Final = Share(every_shard, lambda _: None)
"""The share of who works alone."""
