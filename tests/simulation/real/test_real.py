"""Seeded scenarios of the real engine on a real PostgreSQL: none shows a problem, and each guard is missed.

A failing seed prints its history; `python -m tests.simulation.real --seed N` plays it again.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from chimeway.delivery.abandoned import Foundling
from chimeway.delivery.composing import Sending, message_of
from chimeway.delivery.route import Provider
from chimeway.delivery.sending import Sender
from chimeway.delivery.unsubscribing import NOWHERE
from kit.simulated import MUTATIONS, Simulation, simulation, told

FEW = 6
MANY = 1_500
AT_ONCE = ("a decision may have overlooked mail", "a decision may be of an older run")
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


@pytest.mark.parametrize(("seed", "theme"), [(148, None), (103, "feedback"), (20310, None)])
def test_seeds_that_once_failed_fail_no_more(playing: Simulation, seed: int, theme: str | None) -> None:
    """A node that ends without its database, a channel that its owner lacks, a call to beat that was lost."""
    played = playing.play(seed, theme)
    assert not played.problems, told(played)


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
        assert playing.first_found(range(1, 80), MUTATIONS[name].theme) is not None


def test_a_call_before_its_attempt_is_noticed(playing: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is called before the attempt is durable is called without an attempt row."""
    attempt = Sender._attempt

    async def hasty(self: Sender, sending: Sending, provider: Provider, *rest: Any) -> Any:
        address, begins = rest
        await provider.channel.send(message_of(sending, address, begins.message, NOWHERE))
        return await attempt(self, sending, provider, address, begins)

    monkeypatch.setattr(Sender, "_attempt", hasty)
    found = playing.first_found(range(1, 30))
    assert found is not None
    assert "without an attempt row" in found.problems[0]


@pytest.mark.big
def test_an_attempt_that_nobody_looks_for_is_noticed(
    playing: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody looks for what a dead node had begun, its messages never end."""

    async def nothing(*_: Any) -> None:
        """Look for nothing."""

    monkeypatch.setattr(Foundling, "sweep", nothing)
    found = playing.first_found(range(1, 300))
    assert found is not None
    assert "without an end" in found.problems[-1]


@pytest.mark.big
def test_a_message_that_goes_before_its_run_is_noticed(
    playing: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a sender does not look whether its run has something to decide, it begins what was called off."""
    monkeypatch.setattr(Sender, "_run_goes_first", lambda *_: False)
    found = playing.first_found(range(1, 500), "read")
    assert found is not None
    assert "call it off" in found.problems[0]


@pytest.mark.big
@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - set(AT_ONCE)))
def test_every_guard_that_is_missing_is_missed(playing: Simulation, name: str) -> None:
    """Without any one guard some hundreds of seeds show what it is for."""
    with playing.without(MUTATIONS[name]):
        assert playing.first_found(range(1, MANY), MUTATIONS[name].theme) is not None


@pytest.mark.big
@pytest.mark.parametrize("first", range(10_000, 14_000, 500))
def test_of_many_seeds_none_shows_a_problem(playing: Simulation, first: int) -> None:
    """The same as with few, for hours if need be."""
    found = playing.first_found(range(first, first + 500))
    assert found is None, told(found)
