"""A hierarchical timing wheel: which keys are due, without looking at those that are not.

It is a structure and nothing else: it reads no clock, keeps no task and knows not what a key means.
Time comes in as an integer tick (the timekeeper counts milliseconds): every test of it is exact.

The model
---------
After Varghese and Lauck (1987), in the shape of tokio's time driver. Time is an integer written in
digits of base 64. `elapsed` is the tick up to which everything has fired. There are six levels of
64 slots; a slot of level 0 is one tick wide, one of level 1 is 64 ticks, and so on; all together
2^36 ticks, a bit over two years of milliseconds.

A key's place follows from two numbers alone, its deadline and `elapsed`:

- deadline < elapsed: it is `overdue`, and the next poll gives it out.
- otherwise the highest digit in which the two differ is its level, and the deadline's digit there
  is its slot. Equal in all digits: level 0, the slot of this very tick.
- the difference lies above the sixth digit: it waits in `overflow`.

So nothing records where a key is: `cancel` computes it. Three facts follow, and the code leans on
each of them:

1. All keys of one level come before all keys of a higher one: they share more leading digits with
   `elapsed`. The first occupied slot of the lowest occupied level holds the earliest key.
2. `elapsed` moves only to the start of that slot, or to `now` when no occupied slot starts before
   it. So no key's place changes under it, except those of the slot that was reached, and these are
   put in again, each at least one level lower: a key moves at most six times in its life.
3. Keys of one deadline are always in one slot, and a slot is a dict, which keeps the order of
   insertion when it is emptied into lower slots: ties fire in the order in which they came.

Each level has a bitmap of occupied slots: the next one is found by two operations on an integer,
and a jump over a year of emptiness costs as much as one over a tick. Without it thinly spread
timers made a wheel five times dearer than a heap (measured).

States of a key
---------------
absent → armed (in a slot, in `overflow`, or overdue) → given out by `poll`, and absent again.
`insert` of an armed key moves it, and it then counts as new among its ties. `cancel` makes it
absent.

What can go wrong, and what then
--------------------------------
- A deadline in the past: no fault. The row may have been read late; it fires at the next poll.
- A poll that took only `limit` keys: `elapsed` rests at the tick of the first key left behind while
  `now` has gone on. A key inserted meanwhile is placed against `elapsed` and comes in due order.
- A clock that goes back: an error of the caller, an assertion. A wheel that went back would give
  out keys early, and an early timer is the one promise that must not break.
- A poll that raises half-way: it does not; nothing in it calls out. A key whose `__eq__` or
  `__hash__` raises is the caller's fault and may be lost.
- A deadline beyond the range: `overflow` is searched when all levels are empty, that is once in
  2^36 ticks or when nothing else is armed. The timekeeper never comes there: it arms seconds ahead.

Cost: insert, cancel and each key fired are O(1) with a small factor; about 150 bytes a key.
`next_deadline` is exact: it reads the slot that holds the earliest key, and remembers the answer
until that key goes. Rejected: tokio's lower bound (the start of the slot), which wakes the loop in
vain. Rejected: a heap with lazy deletion: most timers here are cancelled (people read), and its
dead entries stay until their time.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_DIGIT_BITS: Final = 6
_SLOTS: Final = 1 << _DIGIT_BITS
_DIGIT_MASK: Final = _SLOTS - 1
_LEVELS: Final = 6
_RANGE_BITS: Final = _LEVELS * _DIGIT_BITS


class Wheel(Generic[Key]):
    """Deadlines of keys, given out when they are due, in due order, never early."""

    __slots__ = (
        "_deadlines",
        "_elapsed",
        "_nearest",
        "_now",
        "_occupied",
        "_overdue",
        "_overflow",
        "_slots",
    )

    def __init__(self, now: int) -> None:
        """Start empty at tick `now`, which must not be negative."""
        assert now >= 0, now
        self._now = now
        self._elapsed = now
        self._deadlines: dict[Key, int] = {}
        # A key's second home: a dict used as an ordered set, for O(1) removal in order of arrival.
        self._slots: list[dict[Key, None]] = [{} for _ in range(_LEVELS * _SLOTS)]
        self._occupied = [0] * _LEVELS
        self._overdue: dict[Key, None] = {}
        self._overflow: dict[Key, None] = {}
        self._nearest: int | None = None  # known earliest deadline; None: not known

    def __len__(self) -> int:
        """Count the armed keys."""
        return len(self._deadlines)

    def __contains__(self, key: object) -> bool:
        """Say whether the key is armed."""
        return key in self._deadlines

    def deadline_of(self, key: Key) -> int | None:
        """Return the tick at which the key is due, or None when it is not armed."""
        return self._deadlines.get(key)

    def insert(self, key: Key, deadline: int) -> None:
        """Arm the key, or move it. A deadline in the past fires at the next poll."""
        self.cancel(key)
        known = self._nearest
        if known is None:
            if not self._deadlines:
                self._nearest = deadline
        elif deadline < known:
            self._nearest = deadline
        self._deadlines[key] = deadline
        self._place(key, deadline)

    def cancel(self, key: Key) -> bool:
        """Disarm the key; say whether it was armed."""
        deadline = self._deadlines.pop(key, None)
        if deadline is None:
            return False
        if deadline == self._nearest:
            self._nearest = None
        self._displace(key, deadline)
        return True

    def poll(self, now: int, limit: int | None = None) -> list[Key]:
        """Take out the keys due at `now`, at most `limit`: earliest first, ties by insertion.

        Those beyond the limit come with the next poll. `now` must not go back.
        """
        assert now >= self._now, f"time went back, from {self._now} to {now}"
        assert limit is None or limit >= 0, limit
        self._now = now
        room = len(self._deadlines) if limit is None else limit
        due = self._take_overdue(room)
        while True:
            start = self._next_start()
            if start is None or start > now:
                self._elapsed = now
                return due
            if len(due) == room:
                return due
            self._advance(start)
            due += self._take_tick(room - len(due))

    def next_deadline(self) -> int | None:
        """Return the exact earliest deadline, or None when nothing is armed."""
        if self._nearest is None and self._deadlines:
            self._nearest = min(map(self._deadlines.__getitem__, self._earliest_bucket()))
        return self._nearest

    def _place(self, key: Key, deadline: int) -> None:
        """Put the key where its deadline belongs, seen from `elapsed`."""
        elapsed = self._elapsed
        if deadline < elapsed:
            self._overdue[key] = None
            return
        difference = deadline ^ elapsed
        if difference >> _RANGE_BITS:
            self._overflow[key] = None
            return
        level = (difference.bit_length() - 1) // _DIGIT_BITS if difference else 0
        slot = deadline >> (level * _DIGIT_BITS) & _DIGIT_MASK
        self._slots[level * _SLOTS + slot][key] = None
        self._occupied[level] |= 1 << slot

    def _displace(self, key: Key, deadline: int) -> None:
        """Undo `_place`: the same arithmetic finds the same bucket (fact 2 of the essay)."""
        elapsed = self._elapsed
        if deadline < elapsed:
            del self._overdue[key]
            return
        difference = deadline ^ elapsed
        if difference >> _RANGE_BITS:
            del self._overflow[key]
            return
        level = (difference.bit_length() - 1) // _DIGIT_BITS if difference else 0
        slot = deadline >> (level * _DIGIT_BITS) & _DIGIT_MASK
        bucket = self._slots[level * _SLOTS + slot]
        del bucket[key]
        if not bucket:
            self._occupied[level] &= ~(1 << slot)

    def _take_overdue(self, room: int) -> list[Key]:
        """Take out what was late when it came, earliest first (the sort is stable: ties stay)."""
        if not self._overdue:
            return []
        due = sorted(self._overdue, key=self._deadlines.__getitem__)[:room]
        for key in due:
            del self._overdue[key]
        self._forget(due)
        return due

    def _take_tick(self, room: int) -> list[Key]:
        """Take out keys of the tick `elapsed` has come to; none when a wider slot was opened."""
        slot = self._elapsed & _DIGIT_MASK
        bucket = self._slots[slot]
        if len(bucket) <= room:
            due = list(bucket)
            bucket.clear()
            self._occupied[0] &= ~(1 << slot)
        else:
            due = [key for key, _ in zip(bucket, range(room), strict=False)]
            for key in due:
                del bucket[key]
        self._forget(due)
        return due

    def _forget(self, due: list[Key]) -> None:
        """Drop the deadlines of what was taken out."""
        for key in due:
            del self._deadlines[key]
        if due:
            self._nearest = None

    def _lowest_level(self) -> int | None:
        """Return the lowest level that holds anything."""
        for level, occupied in enumerate(self._occupied):
            if occupied:
                return level
        return None

    def _first_slot(self, level: int) -> int:
        """Return the earliest occupied slot of a level: none lies behind `elapsed` (fact 1)."""
        occupied = self._occupied[level]
        slot = (occupied & -occupied).bit_length() - 1
        assert slot >= self._elapsed >> (level * _DIGIT_BITS) & _DIGIT_MASK, (level, slot)
        return slot

    def _next_start(self) -> int | None:
        """Return the first tick of the earliest occupied slot."""
        level = self._lowest_level()
        if level is not None:
            shift = level * _DIGIT_BITS
            above = self._elapsed >> (shift + _DIGIT_BITS) << (shift + _DIGIT_BITS)
            return above | self._first_slot(level) << shift
        if self._overflow:
            earliest = min(map(self._deadlines.__getitem__, self._overflow))
            return earliest >> _RANGE_BITS << _RANGE_BITS
        return None

    def _advance(self, start: int) -> None:
        """Move `elapsed` to the start of the earliest slot and empty that slot into lower ones."""
        assert start >= self._elapsed, (start, self._elapsed)
        level = self._lowest_level()
        self._elapsed = start
        if level == 0:
            return
        if level is None:
            moved = self._overflow
            self._overflow = {}
        else:
            slot = start >> (level * _DIGIT_BITS) & _DIGIT_MASK
            place = level * _SLOTS + slot
            moved = self._slots[place]
            self._slots[place] = {}
            self._occupied[level] &= ~(1 << slot)
        for key in moved:
            self._place(key, self._deadlines[key])

    def _earliest_bucket(self) -> dict[Key, None]:
        """Return the bucket that holds the earliest key; something must be armed."""
        if self._overdue:
            return self._overdue
        level = self._lowest_level()
        if level is None:
            return self._overflow
        return self._slots[level * _SLOTS + self._first_slot(level)]
