"""The timing wheel against a model that is a sorted list, over any order of operations."""

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chimeway.wheel import Wheel

KEYS = st.integers(0, 30)
DISTANCES = st.one_of(
    st.integers(-5, 130),
    st.integers(-70, 64**3),
    st.integers(0, 6).flatmap(lambda level: st.integers(64**level - 2, 64**level + 2)),
    st.integers(0, 3 * 64**6),
)
JUMPS = st.one_of(st.integers(0, 3), st.integers(0, 5_000), DISTANCES.map(abs))


class Model(RuleBasedStateMachine):
    """What a wheel must do, the slow and plain way: sort all that is armed at every question."""

    def __init__(self) -> None:
        """Start both at the same odd tick."""
        super().__init__()
        self.now = 64**2 - 3
        self.wheel: Wheel[int] = Wheel(self.now)
        self.armed: dict[int, tuple[int, int]] = {}
        self.order = count()

    def in_due_order(self) -> list[int]:
        """List the armed keys by deadline, then by insertion."""
        return sorted(self.armed, key=self.armed.__getitem__)

    @rule(key=KEYS, distance=DISTANCES)
    def insert(self, key: int, distance: int) -> None:
        """Arm or move a key."""
        self.wheel.insert(key, self.now + distance)
        self.armed[key] = (self.now + distance, next(self.order))

    @rule(key=KEYS)
    def cancel(self, key: int) -> None:
        """Disarm a key that may be armed."""
        assert self.wheel.cancel(key) == (self.armed.pop(key, None) is not None)

    @rule(jump=JUMPS, limit=st.none() | st.integers(0, 4))
    def poll(self, jump: int, limit: int | None) -> None:
        """Let time pass and compare what is given out."""
        self.now += jump
        due = [key for key in self.in_due_order() if self.armed[key][0] <= self.now][:limit]
        assert self.wheel.poll(self.now, limit) == due
        for key in due:
            del self.armed[key]

    @rule()
    def poll_at_the_next_deadline(self) -> None:
        """Go exactly there: something must come."""
        deadline = self.wheel.next_deadline()
        if deadline is not None:
            self.poll(max(0, deadline - self.now), None)

    @rule()
    def ask_next_deadline(self) -> None:
        """Compare the earliest deadline. (A rule, not an invariant: asking fills a cache.)"""
        deadlines = [deadline for deadline, _ in self.armed.values()]
        assert self.wheel.next_deadline() == min(deadlines, default=None)

    @invariant()
    def same_keys(self) -> None:
        """Both hold the same keys with the same deadlines."""
        assert len(self.wheel) == len(self.armed)
        assert all(self.wheel.deadline_of(key) == armed[0] for key, armed in self.armed.items())


class TestWheelIsItsModel(Model.TestCase):  # type: ignore[name-defined,misc]  # hypothesis makes it
    """Whatever the order of operations, the wheel answers as the sorted list does."""

    settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
