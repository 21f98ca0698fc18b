"""A queue that is fair between owners by construction: whoever has much waiting delays only himself.

Pure: it keeps no task, reads no clock and knows not what an item is. Owners (tenants) stand in a ring;
each turn gives the next owner's oldest item, so an owner with one item waits for at most one item of
each other owner, however many those have. The bound is on the whole. When it is reached, room is made at
the end of the longest line: its newest item is pushed out and given back to whoever put something in.
What is pushed out must stand elsewhere (here: in the database), where it will be found again. So one
who floods the queue cannot keep the others out of it, either.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First come, first served within one owner; turn by turn between owners."""

    def __init__(self, bound: int) -> None:
        """Take how many items may wait in all: at least one."""
        assert bound >= 1, "a queue without room"
        self._bound = bound
        self._lines: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._many = 0

    def __len__(self) -> int:
        """Count the items."""
        return self._many

    def __iter__(self) -> Iterator[Item]:
        """Go over all items, in no order that means anything."""
        for line in self._lines.values():
            yield from line

    def waiting(self, owner: Hashable) -> int:
        """Count the items of one owner."""
        return len(self._lines.get(owner, ()))

    def would_take(self, owner: Hashable) -> bool:
        """Say whether an item of this owner would stay, should it be put in now."""
        return self._many < self._bound or self.waiting(owner) + 1 < self._longest()[1]

    def put(self, owner: Hashable, item: Item) -> Item | None:
        """Put an item at the end of its owner's line.

        Returns:
            None when there was room; else what was pushed out: the newest of the longest line, which is
            this very item when its owner's line would be as long as any other then.
        """
        if self._many >= self._bound:
            longest, length = self._longest()
            if length <= self.waiting(owner) + 1:
                return item
            out = self._lines[longest].pop()
            self._add(owner, item)
            self._many -= 1
            return out
        self._add(owner, item)
        return None

    def take(self) -> Item | None:
        """Give the next item in turn, or None when nothing waits."""
        if not self._lines:
            return None
        owner, line = self._lines.popitem(last=False)
        item = line.popleft()
        self._many -= 1
        if line:
            self._lines[owner] = line  # to the end of the ring
        return item

    def clear(self) -> list[Item]:
        """Give back all that waits."""
        left = list(self)
        self._lines.clear()
        self._many = 0
        return left

    def _add(self, owner: Hashable, item: Item) -> None:
        self._lines.setdefault(owner, deque()).append(item)
        self._many += 1

    def _longest(self) -> tuple[Hashable, int]:
        """Only a full queue asks, of as many owners as it holds."""
        owner = max(self._lines, key=lambda each: len(self._lines[each]))
        return owner, len(self._lines[owner])
