"""Looking at all of an index: always where that is cheap, a twentieth of the time where it is not."""

from datetime import UTC, datetime

import pytest

from chimeway.clock import ManualClock
from chimeway.engine.marks import Marks
from chimeway.store.sparing import LATE_S, Sparing

SHARDS = frozenset({1, 2})


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(datetime(2026, 1, 5, 9, tzinfo=UTC))


def look(sparing: Sparing, clock: ManualClock, seconds: float) -> None:
    """Look at all, for so long."""
    with sparing.looking():
        clock.advance(seconds)


def fail(sparing: Sparing, clock: ManualClock) -> None:
    """Begin to look at all, and lose the connection after a minute."""
    with sparing.looking():
        clock.advance(60.0)
        raise OSError("gone")


def test_what_is_cheap_is_done_always(clock: ManualClock) -> None:
    """Looks of a millisecond or two follow each other at once."""
    sparing = Sparing(clock)
    for _ in range(10):
        assert sparing.may()
        look(sparing, clock, 0.0019)


def test_what_is_costly_takes_a_twentieth_of_the_time(clock: ManualClock) -> None:
    """Three costly looks are believed; then nobody looks at all for twenty times the shortest of them."""
    sparing = Sparing(clock)
    for seconds in (0.2, 0.1, 0.3):
        assert sparing.may()
        look(sparing, clock, seconds)
    clock.advance(1.99)
    assert not sparing.may()
    clock.advance(0.02)
    assert sparing.may()


def test_where_the_machine_is_slow_all_is_looked_at(clock: ManualClock) -> None:
    """Looks behind a mark that take as long show that it is not what they leave out: they are seldom."""
    sparing = Sparing(clock)
    for _ in range(3):
        look(sparing, clock, 1.0)
    for seconds in (0.1, 0.4):
        assert not sparing.may()
        with sparing.looking(whole=False):
            clock.advance(seconds)
    for _ in range(10):
        assert sparing.may()
        look(sparing, clock, 1.0)
    assert not sparing.may(), "they are tried again"


def test_what_is_worth_it_stays(clock: ManualClock) -> None:
    """Looks behind a mark that take a third of the time go on."""
    sparing = Sparing(clock)
    for _ in range(3):
        look(sparing, clock, 1.0)
    for _ in range(10):
        assert not sparing.may()
        with sparing.looking(whole=False):
            clock.advance(0.2)


def test_one_look_that_was_kept_waiting_says_nothing(clock: ManualClock) -> None:
    """Neither a lock nor a busy machine keeps the next look from being one at all."""
    sparing = Sparing(clock)
    for seconds in (0.001, 5.0, 5.0):
        look(sparing, clock, seconds)
        assert sparing.may()


def test_it_is_done_again_soon_whatever_it_took(clock: ManualClock) -> None:
    """Of looks of a minute there is one every ten seconds; and once they are cheap again, always."""
    sparing = Sparing(clock)
    for _ in range(3):
        look(sparing, clock, 60.0)
    clock.advance(9.9)
    assert not sparing.may()
    clock.advance(0.2)
    look(sparing, clock, 0.001)
    assert sparing.may()


def test_a_look_that_failed_is_none(clock: ManualClock) -> None:
    """What broke with the connection took as long as that."""
    sparing = Sparing(clock)
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            fail(sparing, clock)
    assert sparing.may()


def costly(clock: ManualClock) -> Marks:
    """Return marks of somebody who has found that looking at all takes two seconds."""
    marks = Marks(clock)
    for _ in range(3):
        assert marks.begin(SHARDS) == 0
        with marks.looking(0):
            clock.advance(2.0)
    return marks


def test_a_mark_is_what_was_seen_some_seconds_ago(clock: ManualClock) -> None:
    """Signals are looked for behind what had been seen when those that come late must have been committed."""
    marks = costly(clock)
    marks.saw(10)
    clock.advance(LATE_S / 2)
    marks.saw(20)
    marks.saw(15)
    assert marks.begin(SHARDS) == 0, "nothing is old enough"
    clock.advance(LATE_S / 2)
    assert marks.begin(SHARDS) == 10
    clock.advance(LATE_S / 2)
    assert marks.begin(SHARDS) == 20
    clock.advance(60.0)
    assert marks.begin(SHARDS) == 0, "all is looked at again"


def test_new_shards_are_looked_through(clock: ManualClock) -> None:
    """What waits in shards of a node that died is behind no mark."""
    marks = costly(clock)
    marks.saw(10)
    clock.advance(LATE_S)
    assert marks.begin(SHARDS) == 10
    assert marks.begin(SHARDS - {1}) == 10
    assert marks.begin(SHARDS) == 0, "what was given away and has come back is another's leavings"
    assert marks.begin(SHARDS) == 10
    assert marks.begin(SHARDS | {3}) == 0
    assert marks.begin(SHARDS | {3}) == 10


def test_what_was_seen_is_forgotten_where_all_is_looked_at(clock: ManualClock) -> None:
    """Who needs no mark for weeks, since his looks are cheap, remembers the last seconds alone."""
    marks = Marks(clock)
    for arrival in range(1, 10_000):
        assert marks.begin(SHARDS) == 0
        with marks.looking(0):
            clock.advance(0.001)
        marks.saw(arrival)
        clock.advance(0.1)
    assert len(marks._seen) <= 1 + LATE_S / 0.1
