"""A queue, and places, that are fair between owners by construction: who has much delays only himself.

Pure: nothing here keeps a task, reads a clock or knows what an item is.

**The queue.** Owners (tenants) stand in a ring;
each turn gives the next owner's oldest item, so an owner with one item waits for at most one item of
each other owner, however many those have. A bound is on the whole. When it is reached, room is made at
the end of the longest line: its newest item is pushed out and given back to whoever put something in.
What is pushed out must stand elsewhere (here: in the database), where it will be found again. So one
who floods the queue cannot keep the others out of it, either. Whose line is longest, and who bears least, is
known and not looked for: a thousand owners cost no more than two.

**The places.** An owner may hold no more of them than three times those left free. Alone he fills three
quarters, who comes next three quarters of the rest, and so on; as places come free the shares become even,
and one stays free for whoever comes new while at most a third as many owners as places hold on to theirs.
(Known from switches as dynamic thresholds.) Below four places one may hold all.
"""

import math
from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator
from operator import itemgetter
from typing import Final, Generic, TypeVar

from chimeway.limits import COMPANY_S

Item = TypeVar("Item")
_SHARE: Final = 3
"""What an owner may hold, to what is free."""
_NOBODY: Final = object()
_turn_of: Final = itemgetter(0)


def burden_of(held: int, free: int) -> int | None:
    """Return how many places an owner holds who holds so many; None: he may have no more for now."""
    return held if held < _SHARE * free else None


class _Ring(Generic[Item]):
    """Lines of owners, in a ring: first come, first served within one; turn by turn between them."""

    def __init__(self) -> None:
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

    def take(self) -> Item | None:
        """Give the next item in turn, or None when nothing waits."""
        return self._oldest_of(next(iter(self._lines))) if self._lines else None

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


class FairQueue(_Ring[Item]):
    """A queue without a bound: who puts something in is bounded himself."""

    def put(self, owner: Hashable, item: Item) -> None:
        """Put an item at the end of its owner's line."""
        self._add(owner, item)

    def many_owners(self) -> int:
        """Count those who have something waiting."""
        return len(self._lines)

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


class BoundedQueue(_Ring[Item]):
    """A queue with a bound."""

    def __init__(self, bound: int) -> None:
        """Take how many items may wait in all: at least one."""
        assert bound >= 1, "a queue without room"
        super().__init__()
        self.bound = bound
        """May be set anew; what waits beyond it stays."""
        self._turns: dict[Hashable, int] = {}  # of all in the ring: the least has stood there for longest
        self._first = self._last = 0
        self._lengths = _Ranks()

    def owners(self) -> list[Hashable]:
        """Return who has something waiting."""
        return list(self._lines)

    def longest(self) -> int:
        """Count the items of who has the most."""
        return self._lengths.greatest()[0] if self._lines else 0

    def would_take(self, owner: Hashable) -> bool:
        """Say whether an item of this owner would stay, should it be put in now."""
        return self._many < self.bound or self.waiting(owner) + 1 < self.longest()

    def put(self, owner: Hashable, item: Item) -> Item | None:
        """Put an item at the end of its owner's line.

        Returns:
            None when there was room; else what was pushed out: the newest of the longest line, which is
            this very item when its owner's line would be as long as any other then.
        """
        out = None
        if self._many >= self.bound:
            length, longest = self._lengths.greatest()
            if length <= self.waiting(owner) + 1:
                return item
            out = self._lines[longest].pop()
            self._many -= 1
            self._rank(longest)
        self._add(owner, item)
        return out

    def put_back(self, owner: Hashable, item: Item) -> None:
        """Put an item that was taken back to the front: it had its room, and nothing is pushed out for it."""
        self._lines.setdefault(owner, deque()).appendleft(item)
        self._lines.move_to_end(owner, last=False)
        self._many += 1
        self._first -= 1
        self._turns[owner] = self._first
        self._rank(owner)

    def clear(self) -> list[Item]:
        """Give back all that waits."""
        left, owners = list(self), self.owners()
        self._lines.clear()
        self._many = 0
        for owner in owners:
            self._rank(owner)
        return left

    def _add(self, owner: Hashable, item: Item) -> None:
        super()._add(owner, item)
        if owner not in self._turns:
            self._to_the_end(owner)
        self._rank(owner)

    def _oldest_of(self, owner: Hashable) -> Item:
        item = super()._oldest_of(owner)
        self._to_the_end(owner)
        self._rank(owner)
        return item

    def _to_the_end(self, owner: Hashable) -> None:
        self._last += 1
        self._turns[owner] = self._last

    def _rank(self, owner: Hashable) -> None:
        """Note an owner's line, as it is now, and his turn; or that he has none any more."""
        if many := self.waiting(owner):
            self._lengths.put(owner, many, self._turns[owner])
        else:
            self._lengths.drop(owner)
            self._turns.pop(owner, None)


class WeighedQueue(BoundedQueue[Item]):
    """Such a queue for places: whoever holds the fewest is next, in turn among equals.

    That he holds more or fewer does not change his turn: whoever takes places by other ways, too, and gives
    them back, would else lose it each time, and what he has in line would wait for ever.
    """

    def __init__(self, bound: int) -> None:
        """As `BoundedQueue`."""
        super().__init__(bound)
        self._held: dict[Hashable, int] = {}  # of all who hold places
        self._burdens = _Ranks()  # of those who have something waiting

    def held(self, owner: Hashable) -> int:
        """Return how many places an owner holds, as it was noted."""
        return self._held.get(owner, 0)

    def weigh(self, owner: Hashable, held: int) -> None:
        """Note how many places an owner holds from here on."""
        if held:
            self._held[owner] = held
        else:
            self._held.pop(owner, None)
        if owner in self._lines:
            self._rank(owner)

    def take_least(self, free: int) -> tuple[Hashable, Item] | None:
        """Give an item of who holds the fewest places while so many are free; in turn where several do.

        None: nobody may have one, or nothing waits. Returns the owner, too.
        """
        if not self._lines:
            return None
        held, owner = self._burdens.least()
        return None if burden_of(held, free) is None else (owner, self._oldest_of(owner))

    def _rank(self, owner: Hashable) -> None:
        if owner in self._lines:
            self._burdens.put(owner, self.held(owner), self._turns[owner])
        else:
            self._burdens.drop(owner)
        super()._rank(owner)


class _Ranks:
    """Owners by a number each, and of equal numbers by their turns.

    Who has the least or most is found among the numbers, which are few: of a thousand items in lines, or
    places that are held, no more than 45 can differ.
    """

    def __init__(self) -> None:
        self._at: dict[Hashable, tuple[int, int]] = {}  # each one's number and turn
        self._ranks: dict[int, list[tuple[int, Hashable]]] = {}  # by number: turns, in order, and whose

    def put(self, owner: Hashable, number: int, turn: int) -> None:
        """Give an owner a number and a turn, which no other has."""
        if self._at.get(owner) != (number, turn):
            self.drop(owner)
            self._at[owner] = number, turn
            insort(self._ranks.setdefault(number, []), (turn, owner), key=_turn_of)

    def drop(self, owner: Hashable) -> None:
        """Take an owner's number away, if he has one."""
        if at := self._at.pop(owner, None):
            number, turn = at
            rank = self._ranks[number]
            del rank[bisect_left(rank, turn, key=_turn_of)]
            if not rank:
                del self._ranks[number]

    def least(self) -> tuple[int, Hashable]:
        """Return the least number, and whose turn comes first of those who have it."""
        number = min(self._ranks)
        return number, self._ranks[number][0][1]

    def greatest(self) -> tuple[int, Hashable]:
        """Return the greatest number, and whose turn comes first of those who have it."""
        number = max(self._ranks)
        return number, self._ranks[number][0][1]


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

    def held(self, owner: Hashable) -> int:
        """Count the places of an owner."""
        return self._held.get(owner, 0)

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
