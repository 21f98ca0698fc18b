"""The fair queue: turns between owners, order within one, and who is pushed out when it is full."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimeway.fair import BoundedQueue, Company, FairQueue, Places, WeighedQueue, burden_of


def _drained(queue: BoundedQueue[str] | FairQueue[str]) -> list[str]:
    out = []
    while (item := queue.take()) is not None:
        out.append(item)
    return out


def test_owners_take_turns() -> None:
    """One who has much waiting delays one who has little by one item, not by all of them."""
    queue: BoundedQueue[str] = BoundedQueue(100)
    for n in range(5):
        assert queue.put("a", f"a{n}") is None
    assert queue.put("b", "b0") is None
    assert _drained(queue) == ["a0", "b0", "a1", "a2", "a3", "a4"]


def test_a_full_queue_pushes_out_the_longest_lines_newest() -> None:
    """A flood makes room for others; who has the longest line himself is turned away."""
    queue: BoundedQueue[str] = BoundedQueue(3)
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
    queue: WeighedQueue[str] = WeighedQueue(100)
    for item in ("a0", "a1", "b0", "c0", "c1"):
        queue.put(item[0], item)
    for owner, held in (("a", 2), ("b", 6), ("c", 1)):
        queue.weigh(owner, held)
    assert queue.take_least(2) == ("c", "c0")
    queue.weigh("c", 2)
    assert queue.take_least(2) == ("a", "a0")
    assert queue.take_least(2) == ("c", "c1")
    assert queue.take_least(2) == ("a", "a1")
    assert queue.take_least(2) is None, "b may have no more"
    assert len(queue) == 1


def test_what_is_put_back_is_next_again() -> None:
    """An item that was taken in vain stands before its owner's others, also in a full queue."""
    queue: BoundedQueue[str] = BoundedQueue(3)
    for item in ("a0", "a1", "b0"):
        queue.put(item[0], item)
    assert queue.take() == "a0"
    queue.put("b", "b1")
    queue.put_back("a", "a0")
    assert len(queue) == 4
    assert _drained(queue) == ["a0", "b0", "a1", "b1"]


def test_clearing_gives_everything_back() -> None:
    """Nothing is lost, and the queue can be used again."""
    queue: BoundedQueue[str] = BoundedQueue(3)
    queue.put("a", "a0")
    queue.put("b", "b0")
    assert sorted(queue.clear()) == ["a0", "b0"]
    assert (len(queue), queue.take()) == (0, None)
    queue.put("a", "a1")
    assert _drained(queue) == ["a1"]


def test_a_queue_has_room() -> None:
    """A bound below one is a mistake of ours."""
    with pytest.raises(AssertionError):
        BoundedQueue(0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans())), st.integers(1, 8))
def test_it_is_fair_whatever_happens(steps: list[tuple[str, bool]], bound: int) -> None:
    """Never above its bound; order kept within an owner; no owner is served twice while another waits."""
    queue: BoundedQueue[tuple[str, int]] = BoundedQueue(bound)
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


class _Asked:
    """The same queue, written down plainly: all owners are asked each time, in the order of their turns."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.ring: dict[str, list[int]] = {}
        self.held: Counter[str] = Counter()

    def put(self, owner: str, item: int) -> int | None:
        out = None
        if sum(map(len, self.ring.values())) >= self.bound:
            longest = max(self.ring, key=lambda each: len(self.ring[each]))
            if len(self.ring[longest]) <= len(self.ring.get(owner, [])) + 1:
                return item
            out = self.ring[longest].pop()
        self.ring.setdefault(owner, []).append(item)
        return out

    def put_back(self, owner: str, item: int) -> None:
        self.ring = {owner: [item, *self.ring.pop(owner, [])]} | self.ring

    def take(self) -> int | None:
        return self._oldest_of(next(iter(self.ring))) if self.ring else None

    def take_least(self, free: int) -> tuple[str, int] | None:
        may = [owner for owner in self.ring if burden_of(self.held[owner], free) is not None]
        if not may:
            return None
        least = min(may, key=lambda owner: self.held[owner])
        return least, self._oldest_of(least)

    def _oldest_of(self, owner: str) -> int:
        item, *others = self.ring.pop(owner)
        if others:
            self.ring[owner] = others
        return item


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "take", "least", "least", "back", "weigh", "clear"]),
        st.sampled_from("abcd"),
        st.integers(0, 4),
    )
)


@given(_STEPS, st.integers(1, 8))
def test_who_bears_least_and_who_has_most_are_known(steps: list[tuple[str, str, int]], bound: int) -> None:
    """Whatever was put in, taken, put back and weighed: the very same as if all were asked each time."""
    queue: WeighedQueue[int] = WeighedQueue(bound)
    asked = _Asked(bound)
    for item, (what, owner, number) in enumerate(steps):
        if what == "put":
            assert queue.put(owner, item) == asked.put(owner, item)
        elif what == "take":
            assert queue.take() == asked.take()
        elif what == "back":
            queue.put_back(owner, item)
            asked.put_back(owner, item)
        elif what == "weigh":
            asked.held[owner] = number
            queue.weigh(owner, number)
        elif what == "clear":
            assert queue.clear() == [each for line in asked.ring.values() for each in line]
            asked.ring.clear()
        else:
            assert queue.take_least(number) == asked.take_least(number)
        assert queue.owners() == list(asked.ring)
        assert queue.longest() == max(map(len, asked.ring.values()), default=0)
        assert all(queue.held(each) == asked.held[each] for each in "abcd")


def test_who_takes_places_by_other_ways_keeps_his_turn() -> None:
    """Each place that he took and gave back would else put him behind all others: he would never be next."""
    queue: WeighedQueue[str] = WeighedQueue(100)
    for owner in ("a", "b", "c"):
        queue.put(owner, f"{owner}0")
    queue.weigh("a", 1)
    queue.weigh("a", 0)
    assert queue.take_least(1) == ("a", "a0")


class _Owner:
    """Counts how often any of its kind was looked for."""

    looks = 0

    def __hash__(self) -> int:
        _Owner.looks += 1
        return id(self)


def _looks(many: int) -> int:
    """Return how often owners are looked for in a full queue of so many, each of whom holds a place."""
    owners = [_Owner() for _ in range(many)]
    queue: WeighedQueue[int] = WeighedQueue(2 * many)
    for owner in owners:
        queue.weigh(owner, 1)
        assert [queue.put(owner, 0), queue.put(owner, 1)] == [None, None]
    _Owner.looks = 0
    for owner in owners[:2]:
        assert not queue.would_take(owner)
        assert queue.put(owner, 2) == 2
        assert queue.take_least(1) == (owner, 0)
        queue.weigh(owner, 2)
        assert queue.put(owner, 3) is None
    return _Owner.looks


def test_a_thousand_owners_cost_no_more_than_two() -> None:
    """While many tenants have a backlog each place that comes free must not be offered to all of them."""
    assert 0 < _looks(1_000) == _looks(2)


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
