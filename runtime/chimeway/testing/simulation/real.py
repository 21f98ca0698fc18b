"""The simulation of the real engine: the product's nodes and its SQL, on a real PostgreSQL, in seeded orders.

    with simulation() as playing:
        played = playing.play(17)
        assert not played.problems, told(played)

One seed is one history, whichever database it is played on, and whatever was played there before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chimeway.store.simulating import Lines
from chimeway.testing.databases import lent
from chimeway.testing.simulation.real_history import Played
from chimeway.testing.simulation.real_scenario import Scenario
from chimeway.testing.simulation.real_stories import everybody, journeys


class Simulation:
    """Plays scenarios on one database."""

    def __init__(self, lines: Lines, url: str) -> None:
        """Take a database that is prepared."""
        self.lines = lines
        self._url = url

    def scenario(self, seed: int, theme: str | None = None) -> Scenario:
        """Return a scenario that has not been played."""
        return Scenario(self.lines, seed, self._url, theme)

    def play(self, seed: int, theme: str | None = None) -> Played:
        """Play one seed; `theme`: what is mostly done in it, where the seed does not say."""
        return self.scenario(seed, theme).play()


@contextmanager
def simulation() -> Iterator[Simulation]:
    """Open a simulation on a database of its own: on the server that tests run on, see `testing.server`."""
    with lent(test_clock=True) as url:
        lines = Lines(url)
        try:
            lines.prepare(journeys(), everybody())
            yield Simulation(lines, url)
        finally:
            lines.close()


def told(played: Played) -> str:
    """Tell a scenario that went wrong: its seed, what was wrong, and how it came to it."""
    return "\n".join([f"seed {played.seed}:", *played.problems, *played.history[-60:], played.digest])
