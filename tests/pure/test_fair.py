"""The fair queue: turns between owners, order within one, and who is pushed out when it is full."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimeway.fair import FairQueue


def _drained(queue: FairQueue[str]) -> list[str]:
    out = []
    while (item := queue.take()) is not None:
        out.append(item)
    return out


def test_owners_take_turns() -> None:
    """One who has much waiting delays one who has little by one item, not by all of them."""
    queue: FairQueue[str] = FairQueue(100)
    for n in range(5):
        assert queue.put("a", f"a{n}") is None
    assert queue.put("b", "b0") is None
    assert _drained(queue) == ["a0", "b0", "a1", "a2", "a3", "a4"]


def test_a_full_queue_pushes_out_the_longest_lines_newest() -> None:
    """A flood makes room for others; who has the longest line himself is turned away."""
    queue: FairQueue[str] = FairQueue(3)
    for n in range(3):
        queue.put("a", f"a{n}")
    assert queue.put("a", "a3") == "a3"
    assert not queue.would_take("a")
    assert queue.would_take("b")
    assert queue.put("b", "b0") == "a2"
    assert queue.put("b", "b1") == "b1", "both lines would be as long"
    assert _drained(queue) == ["a0", "b0", "a1"]
    assert queue.take() is None


def test_clearing_gives_everything_back() -> None:
    """Nothing is lost, and the queue can be used again."""
    queue: FairQueue[str] = FairQueue(3)
    queue.put("a", "a0")
    queue.put("b", "b0")
    assert sorted(queue.clear()) == ["a0", "b0"]
    assert (len(queue), queue.take()) == (0, None)
    queue.put("a", "a1")
    assert _drained(queue) == ["a1"]


def test_a_queue_has_room() -> None:
    """A bound below one is a mistake of ours."""
    with pytest.raises(AssertionError):
        FairQueue(0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans())), st.integers(1, 8))
def test_it_is_fair_whatever_happens(steps: list[tuple[str, bool]], bound: int) -> None:
    """Never above its bound; order kept within an owner; no owner is served twice while another waits."""
    queue: FairQueue[tuple[str, int]] = FairQueue(bound)
    inside: list[tuple[str, int]] = []
    served_since: Counter[tuple[str, str]] = Counter()
    for number, (owner, put) in enumerate(steps):
        if put:
            predicted = queue.would_take(owner)
            out = queue.put(owner, (owner, number))
            assert predicted == (out != (owner, number))
            inside.append((owner, number))
            if out is not None:
                inside.remove(out)
                lengths = Counter(name for name, _ in inside)
                assert lengths[out[0]] + 1 >= max(lengths.values()), "the longest line gives way"
        elif (item := queue.take()) is not None:
            first = next(each for each in inside if each[0] == item[0])
            assert item == first, "first come, first served"
            inside.remove(item)
            for waiting in {name for name, _ in inside} - {item[0]}:
                served_since[waiting, item[0]] += 1
                assert served_since[waiting, item[0]] <= 2
            for key in list(served_since):
                if key[0] == item[0]:
                    del served_since[key]
        assert sorted(queue) == sorted(inside)
        assert len(queue) == len(inside) <= bound
