"""The timing wheel by hand-made cases: order, limits, jumps, and the edges of its digits."""

import pytest

from chimeway.wheel import Wheel

RANGE = 64**6


def test_nothing_fires_early() -> None:
    """A key is given out at its tick and not one tick before."""
    wheel: Wheel[str] = Wheel(0)
    wheel.insert("a", 5_000)
    assert wheel.poll(4_999) == []
    assert wheel.poll(5_000) == ["a"]
    assert wheel.poll(5_001) == []


def test_due_order_with_ties_by_insertion() -> None:
    """Keys come earliest first, and keys of one tick in the order in which they were inserted."""
    wheel: Wheel[str] = Wheel(7)
    for key, deadline in [("late", 900), ("x", 300), ("y", 300), ("early", 8), ("z", 300)]:
        wheel.insert(key, deadline)
    assert wheel.poll(1_000) == ["early", "x", "y", "z", "late"]


def test_past_deadline_fires_at_the_next_poll() -> None:
    """What is late when it comes is due at once, before what is due now."""
    wheel: Wheel[str] = Wheel(100)
    wheel.insert("now", 100)
    wheel.insert("later_past", 90)
    wheel.insert("long_past", -4)
    assert wheel.next_deadline() == -4
    assert wheel.poll(100) == ["long_past", "later_past", "now"]


def test_same_tick_after_a_poll() -> None:
    """A key inserted for the tick that was just polled fires at the next poll of that tick."""
    wheel: Wheel[str] = Wheel(0)
    assert wheel.poll(640) == []
    wheel.insert("a", 640)
    assert wheel.poll(640) == ["a"]


def test_reinserting_moves() -> None:
    """Inserting an armed key again moves it, and it counts as new among its ties."""
    wheel: Wheel[str] = Wheel(0)
    wheel.insert("a", 10)
    wheel.insert("b", 50_000)
    wheel.insert("a", 50_000)
    assert len(wheel) == 2
    assert wheel.deadline_of("a") == 50_000
    assert wheel.poll(10) == []
    assert wheel.poll(50_000) == ["b", "a"]


def test_cancel_says_whether_it_was_armed() -> None:
    """Cancelling disarms a key wherever it is, and only once."""
    wheel: Wheel[int] = Wheel(1_000)
    deadlines = [1, 1_000, 1_063, 70_000, 1_000 + RANGE, 5 * RANGE]
    for key, deadline in enumerate(deadlines):
        wheel.insert(key, deadline)
    assert all(wheel.cancel(key) for key in range(len(deadlines)))
    assert not any(wheel.cancel(key) for key in range(len(deadlines)))
    assert len(wheel) == 0
    assert wheel.next_deadline() is None
    assert wheel.poll(10 * RANGE) == []


def test_limit_leaves_the_rest_in_order() -> None:
    """A limited poll takes the earliest; the others, and newcomers, follow in due order."""
    wheel: Wheel[str] = Wheel(0)
    for key, deadline in [("a", 5), ("b", 5), ("c", 5), ("d", 200), ("e", 9_000)]:
        wheel.insert(key, deadline)
    assert wheel.poll(10_000, limit=2) == ["a", "b"]
    assert wheel.next_deadline() == 5
    wheel.insert("between", 100)
    wheel.insert("before", 3)
    assert wheel.poll(10_000, limit=0) == []
    assert wheel.poll(10_000, limit=3) == ["before", "c", "between"]
    assert wheel.cancel("d")
    assert wheel.poll(10_000, limit=3) == ["e"]


@pytest.mark.parametrize("level", range(8))
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_edges_of_every_level(level: int, offset: int) -> None:
    """Deadlines at the borders between levels, and beyond the last, fire on their tick."""
    start = 64**3 + 17
    wheel: Wheel[str] = Wheel(start)
    deadline = start + 64**level + offset
    wheel.insert("k", deadline)
    assert wheel.next_deadline() == deadline
    assert wheel.poll(max(deadline - 1, start)) == ([] if deadline > start else ["k"])
    if deadline <= start:
        return
    assert wheel.poll(deadline) == ["k"]


def test_overflow_comes_back_in_order() -> None:
    """Keys of several ranges ahead fire in due order, step by step or in one jump."""
    wheel: Wheel[int] = Wheel(3)
    deadlines = [9 * RANGE + 1, RANGE + 2, 9 * RANGE, RANGE + 1, 40]
    for deadline in deadlines:
        wheel.insert(deadline, deadline)
    assert wheel.poll(RANGE + 1) == [40, RANGE + 1]
    assert wheel.next_deadline() == RANGE + 2
    assert wheel.poll(100 * RANGE) == [RANGE + 2, 9 * RANGE, 9 * RANGE + 1]


def test_time_never_goes_back() -> None:
    """Polling an earlier tick is our mistake, and an assertion; nothing is changed by it."""
    wheel: Wheel[str] = Wheel(10)
    wheel.insert("a", 20)
    wheel.poll(15)
    with pytest.raises(AssertionError, match="time went back"):
        wheel.poll(14)
    assert wheel.poll(20) == ["a"]


def test_membership() -> None:
    """A key is in the wheel from its insertion until it is given out."""
    wheel: Wheel[tuple[str, int]] = Wheel(0)
    wheel.insert(("run", 1), 4)
    assert ("run", 1) in wheel
    assert ("run", 2) not in wheel
    wheel.poll(4)
    assert ("run", 1) not in wheel
    assert wheel.deadline_of(("run", 1)) is None
