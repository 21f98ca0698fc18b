"""The fair queue: turns between owners, order within one, and who is pushed out when it is full."""

from collections import Counter
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimeway.fair import Company, FairQueue, Places


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


def test_the_least_burdened_owner_comes_first() -> None:
    """Whoever has least under way is next, in turn among equals; who may not be is passed over."""
    queue: FairQueue[str] = FairQueue(100)
    for item in ("a0", "a1", "b0", "c0", "c1"):
        queue.put(item[0], item)
    burdens: dict[Hashable, int | None] = {"a": 2, "b": None, "c": 1}
    assert queue.take_least(burdens.get) == ("c", "c0")
    burdens["c"] = 2
    assert queue.take_least(burdens.get) == ("a", "a0")
    assert queue.take_least(burdens.get) == ("c", "c1")
    assert queue.take_least(burdens.get) == ("a", "a1")
    assert queue.take_least(burdens.get) is None
    assert len(queue) == 1


def test_what_is_put_back_is_next_again() -> None:
    """An item that was taken in vain stands before its owner's others, also in a full queue."""
    queue: FairQueue[str] = FairQueue(3)
    for item in ("a0", "a1", "b0"):
        queue.put(item[0], item)
    assert queue.take() == "a0"
    queue.put("b", "b1")
    queue.put_back("a", "a0")
    assert len(queue) == 4
    assert _drained(queue) == ["a0", "b0", "a1", "b1"]


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


def _fill(places: Places, *owners: str) -> dict[str, int]:
    """Let owners take places in turn, as long as any may; return who holds how many."""
    held = dict.fromkeys(owners, 0)
    while may := [owner for owner in owners if places.free and places.burden(owner) is not None]:
        least = min(may, key=held.__getitem__)
        places.take(least)
        held[least] += 1
    return held


@pytest.mark.parametrize(("many", "alone"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (64, 48), (1_000, 750)])
def test_one_owner_alone_leaves_a_quarter(many: int, alone: int) -> None:
    """From four places on the next owner finds one free."""
    assert _fill(Places(many), "a") == {"a": alone}


def test_who_comes_later_takes_of_the_rest() -> None:
    """Each who fills what he may leaves something to the next."""
    places = Places(64)
    held = [_fill(places, owner)[owner] for owner in ("a", "b", "c", "d")]
    assert (held, places.free) == ([48, 12, 3, 1], 0)


@pytest.mark.parametrize(("many", "owners"), [(64, 2), (64, 10), (64, 21), (8, 2), (4, 1)])
def test_shares_become_even_and_one_place_stays_free(many: int, owners: int) -> None:
    """Owners who want ever more come to hold as much each, once what the first had is given back in turn."""
    places = Places(many)
    names = [f"owner-{number}" for number in range(owners)]
    held = {name: _fill(places, name)[name] for name in names}
    for _ in range(20 * many):
        most = max(names, key=held.__getitem__)
        places.leave(most)
        held[most] -= 1
        for name, more in _fill(places, *sorted(names, key=held.__getitem__)).items():
            held[name] += more
    assert max(held.values()) - min(held.values()) <= 3
    assert places.free


def test_places_left_are_given_anew() -> None:
    """An owner who leaves is forgotten, and all may be taken again."""
    places = Places(4)
    assert [_fill(places, "a"), _fill(places, "b")] == [{"a": 3}, {"b": 1}]
    assert (places.free, places.taken, places.burden("c")) == (0, 4, None)
    for owner in "aaab":
        places.leave(owner)
    assert (places.free, places.taken, places._held) == (4, 0, {})
    assert _fill(places, "c") == {"c": 3}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=200), st.integers(1, 40))
def test_nobody_holds_more_than_three_times_what_was_free(steps: list[tuple[str, bool]], many: int) -> None:
    """Whatever is taken and left, whoever takes a place held at most three times the free ones before."""
    places, held = Places(many), Counter[str]()
    for owner, takes in steps:
        if takes and places.free and places.burden(owner) is not None:
            assert held[owner] < 3 * places.free
            places.take(owner)
            held[owner] += 1
        elif not takes and held[owner]:
            places.leave(owner)
            held[owner] -= 1
        assert places.taken + places.free == many
        assert places.taken == held.total()


def test_company_lasts_for_a_while() -> None:
    """One owner is alone until another is met, and again when nobody else was met for so long."""
    company = Company(5.0)
    assert company.alone(0.0)
    company.meet("a", 0.0)
    company.meet("a", 1.0)
    assert company.alone(1.0)
    company.meet("b", 2.0)
    company.meet("a", 3.0)
    assert not company.alone(7.9)
    company.meet("a", 7.9)
    assert company.alone(8.0)
