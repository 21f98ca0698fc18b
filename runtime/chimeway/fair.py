"""A queue, and places, that are fair between owners by construction: who has much delays only himself.

Pure: nothing here keeps a task, reads a clock or knows what an item is.

**The queue.** Owners (tenants) stand in a ring;
each turn gives the next owner's oldest item, so an owner with one item waits for at most one item of
each other owner, however many those have. The bound is on the whole. When it is reached, room is made at
the end of the longest line: its newest item is pushed out and given back to whoever put something in.
What is pushed out must stand elsewhere (here: in the database), where it will be found again. So one
who floods the queue cannot keep the others out of it, either.

**The places.** An owner may hold no more of them than three times those left free. Alone he fills three
quarters, who comes next three quarters of the rest, and so on; as places come free the shares become even,
and one stays free for whoever comes new while at most a third as many owners as places hold on to theirs.
(Known from switches as dynamic thresholds.) Below four places one may hold all.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, TypeVar

from chimeway.limits import COMPANY_S

Item = TypeVar("Item")
_SHARE: Final = 3
"""What an owner may hold, to what is free."""
_NOBODY: Final = object()


def burden_of(held: int, free: int) -> int | None:
    """Return how many places an owner holds who holds so many; None: he may have no more for now."""
    return held if held < _SHARE * free else None


class FairQueue(Generic[Item]):
    """First come, first served within one owner; turn by turn between owners."""

    def __init__(self, bound: int) -> None:
        """Take how many items may wait in all: at least one."""
        assert bound >= 1, "a queue without room"
        self.bound = bound
        """May be set anew; what waits beyond it stays."""
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

    def owners(self) -> list[Hashable]:
        """Return who has something waiting."""
        return list(self._lines)

    def many_owners(self) -> int:
        """Count those who have something waiting."""
        return len(self._lines)

    def longest(self) -> int:
        """Count the items of who has the most."""
        return self._longest()[1] if self._lines else 0

    def would_take(self, owner: Hashable) -> bool:
        """Say whether an item of this owner would stay, should it be put in now."""
        return self._many < self.bound or self.waiting(owner) + 1 < self._longest()[1]

    def put(self, owner: Hashable, item: Item) -> Item | None:
        """Put an item at the end of its owner's line.

        Returns:
            None when there was room; else what was pushed out: the newest of the longest line, which is
            this very item when its owner's line would be as long as any other then.
        """
        if self._many >= self.bound:
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
        return self._oldest_of(next(iter(self._lines))) if self._lines else None

    def take_many(self, most: int) -> list[Item]:
        """Give the next items in turn, at most so many; at once where there is but one owner."""
        if len(self._lines) == 1 and most > 0:
            ((owner, line),) = self._lines.items()
            taken = [line.popleft() for _ in range(min(most, len(line)))]
            self._many -= len(taken)
            if not line:
                del self._lines[owner]
            return taken
        taken = []
        while len(taken) < most and self._lines:
            taken.append(self._oldest_of(next(iter(self._lines))))
        return taken

    def take_least(self, burden: Callable[[Hashable], int | None]) -> tuple[Hashable, Item] | None:
        """Give an item of the owner with the least burden; in turn where several have as little.

        An owner whose burden is None is passed over; nobody's is below zero. Returns the owner too.
        """
        least: tuple[int, Hashable] | None = None
        for owner in self._lines:
            weight = burden(owner)
            if weight is not None and (least is None or weight < least[0]):
                least = (weight, owner)
                if weight == 0:
                    break
        if least is None:
            return None
        return least[1], self._oldest_of(least[1])

    def put_back(self, owner: Hashable, item: Item) -> None:
        """Put an item that was taken back to the front: it had its room, and nothing is pushed out for it."""
        self._lines.setdefault(owner, deque()).appendleft(item)
        self._lines.move_to_end(owner, last=False)
        self._many += 1

    def clear(self) -> list[Item]:
        """Give back all that waits."""
        left = list(self)
        self._lines.clear()
        self._many = 0
        return left

    def _add(self, owner: Hashable, item: Item) -> None:
        self._lines.setdefault(owner, deque()).append(item)
        self._many += 1

    def _oldest_of(self, owner: Hashable) -> Item:
        """Take an owner's oldest item; the owner goes to the end of the ring."""
        line = self._lines.pop(owner)
        item = line.popleft()
        self._many -= 1
        if line:
            self._lines[owner] = line
        return item

    def _longest(self) -> tuple[Hashable, int]:
        """Only a full queue asks, of as many owners as it holds."""
        owner = max(self._lines, key=lambda each: len(self._lines[each]))
        return owner, len(self._lines[owner])


class Company:
    """Whether there has been more than one owner of late: who is alone need not be considerate."""

    def __init__(self, lasts_s: float = COMPANY_S) -> None:
        """Take for how long after he was last met a second owner counts as being there."""
        self._lasts_s = lasts_s
        self._last: Hashable = _NOBODY
        self._until = -math.inf

    def meet(self, owner: Hashable, now: float) -> None:
        """Somebody is here at this time."""
        if owner != self._last:
            if self._last is not _NOBODY:
                self._until = now + self._lasts_s
            self._last = owner

    def alone(self, now: float) -> bool:
        """Say whether whoever was met last has been the only one for a while."""
        return now >= self._until


class Places:
    """So many places, and who holds how many of them."""

    def __init__(self, many: int) -> None:
        """Take how many there are: at least one."""
        assert many >= 1, "no place at all"
        self._free = many
        self._held: Counter[Hashable] = Counter()
        self.taken = 0

    def burden(self, owner: Hashable) -> int | None:
        """Return how many places an owner holds; None: he may have no more for now."""
        return burden_of(self._held.get(owner, 0), self._free)

    @property
    def free(self) -> int:
        """How many nobody holds."""
        return self._free

    def take(self, owner: Hashable) -> None:
        """Give an owner a place: one is free."""
        assert self._free > 0, "all places are taken"
        self._free -= 1
        self.taken += 1
        self._held[owner] += 1

    def leave(self, owner: Hashable) -> None:
        """An owner leaves a place."""
        self._free += 1
        self.taken -= 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
