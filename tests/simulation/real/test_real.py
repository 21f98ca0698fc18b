"""Seeded scenarios of the real engine on a real PostgreSQL: none shows a problem, and each guard is missed.

A failing seed prints its history; `python -m tests.simulation.real --seed N` plays it again.
"""

import logging
from collections.abc import Iterator

import pytest

from kit.simulated import MUTATIONS, Simulation, simulation, told

FEW = 6
MANY = 1_500
AT_ONCE = ("the guard stands before the routing", "a decision routes nothing", "a result wakes nobody")
"""Mutations that are found within a few seeds."""


@pytest.fixture(scope="module")
def playing() -> Iterator[Simulation]:
    """A simulation, whose many lines of log nobody reads."""
    logging.disable(logging.CRITICAL)
    try:
        with simulation() as opened:
            yield opened
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(1, 5 * FEW, FEW))
def test_no_seed_shows_a_problem(playing: Simulation, first: int) -> None:
    """Whatever the order of steps, deaths, lost answers and deeds: the rows are what the model says."""
    found = playing.first_found(range(first, first + FEW))
    assert found is None, told(found)


@pytest.mark.parametrize("seed", [2, 31])
def test_one_seed_is_one_history(playing: Simulation, seed: int) -> None:
    """Played again, a seed gives the same steps in the same order, and the same rows after each."""
    once, again = playing.play(seed), playing.play(seed)
    assert once.history == again.history
    assert once.digest == again.digest
    assert playing.play(seed + 1).digest != once.digest


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_guard_that_is_missing_is_missed(playing: Simulation, name: str) -> None:
    """Without one of these guards a few seeds are enough to show what it is for."""
    with playing.without(MUTATIONS[name]):
        assert playing.first_found(range(1, 80)) is not None


@pytest.mark.big
@pytest.mark.parametrize("name", MUTATIONS.keys() - set(AT_ONCE))
def test_every_guard_that_is_missing_is_missed(playing: Simulation, name: str) -> None:
    """Without any one guard some hundreds of seeds show what it is for."""
    with playing.without(MUTATIONS[name]):
        assert playing.first_found(range(1, MANY)) is not None


@pytest.mark.big
@pytest.mark.parametrize("first", range(10_000, 14_000, 500))
def test_of_many_seeds_none_shows_a_problem(playing: Simulation, first: int) -> None:
    """The same as with few, for hours if need be."""
    found = playing.first_found(range(first, first + 500))
    assert found is None, told(found)
