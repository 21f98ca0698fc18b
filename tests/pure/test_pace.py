"""How many may be at work: as many as end in the time that may be waited, between two numbers."""

from collections import deque

import pytest

from chimeway.engine.pace import Pace

WAIT_S, LEAST, MOST = 2.0, 200, 2_000
STEP_S = 0.05


class Shop:
    """Serves whoever is in, in order, so many a second; as many wait outside as like to come in."""

    def __init__(self) -> None:
        """Open."""
        self.now = 0.0
        self.waited_s = 0.0
        self.served = 0
        self._owed = 0.0
        self._pace = Pace(self.now, wait_s=WAIT_S, least=LEAST, most=MOST)
        self._inside: deque[float] = deque()

    def runs(self, seconds: float, per_second: float) -> "Shop":
        """Serve for a while; the longest wait since is in `waited_s`."""
        self.waited_s, self.served, until = 0.0, 0, self.now + seconds
        while self.now < until:
            while len(self._inside) < self._pace.places(self.now):
                self._inside.append(self.now)
            self.now += STEP_S
            self._owed += per_second * STEP_S
            while self._owed >= 1 and self._inside:
                self._owed -= 1
                self.waited_s = max(self.waited_s, self.now - self._inside.popleft())
                self._pace.note(self.now)
                self.served += 1
            self._owed = min(self._owed, 1.0)
        return self

    @property
    def inside(self) -> int:
        """How many are being served."""
        return len(self._inside)


@pytest.mark.parametrize("per_second", [5, 20, 100, 230, 900])
def test_nobody_waits_longer_than_is_wanted_or_than_the_least_need(per_second: int) -> None:
    """Whatever the speed; and it is used to the full."""
    shop = Shop()
    shop.runs(60, per_second)
    assert shop.waited_s <= max(WAIT_S, LEAST / per_second) * 1.3 + 2 * STEP_S
    assert shop.served >= 60 * per_second * 0.95


def test_who_is_fast_is_given_all_that_there_is() -> None:
    """From the least on it finds its height within seconds, and no higher than the most."""
    shop = Shop().runs(3, 5_000)
    assert shop.inside > 0.8 * MOST  # some have just left
    assert shop.runs(10, 5_000).served >= 45_000
    assert shop.inside <= MOST


def test_who_becomes_slow_lets_in_fewer_and_who_becomes_fast_again_more() -> None:
    """What was let in before must still be served; whoever comes later waits no longer than is wanted."""
    shop = Shop().runs(10, 900)
    shop.runs(60, 50)
    assert shop.runs(30, 50).waited_s <= LEAST / 50 * 1.3
    assert shop.runs(5, 900).runs(5, 900).served >= 0.95 * 4_500


def test_a_standstill_is_no_end() -> None:
    """While nothing ends the least number may be in, and afterwards it rises as from the beginning."""
    shop = Shop().runs(10, 900).runs(30, 0)
    assert shop.served == 0
    assert shop.runs(5, 900).runs(5, 900).served >= 0.95 * 4_500


def test_who_has_nothing_to_do_may_begin_with_the_least() -> None:
    """It has shown nothing yet, or nothing of late."""
    pace = Pace(100.0, wait_s=WAIT_S, least=LEAST, most=MOST)
    assert pace.places(100.0) == LEAST
    for _ in range(1_000):
        pace.note(101.0)
    assert pace.per_second(101.0) == 1_000
    assert pace.places(101.0) == 2_000
    assert pace.per_second(103.0) == 0
    assert pace.places(1_000.0) == LEAST
