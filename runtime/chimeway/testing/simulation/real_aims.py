"""At what the faults of a scenario aim: few statements matter most, and by chance each is rarely met."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from chimeway.testing.simulation.scheduler import Draw, Gate

DYING: Final = 30.0
"""How likely a node dies where the seed aims at, beside the ten of a statement that is executed."""
LOSING: Final = 0.3
"""How often the answer is lost that the seed aims at."""


@dataclass(frozen=True, slots=True)
class Aim:
    """At what a fault aims: a gate's label, or its kind."""

    at: str = ""
    deadly: bool = False
    """Whether its node dies there; else the answer is lost."""

    def of(self, waiting: Iterable[Gate], under_way: Collection[Gate]) -> list[Gate]:
        """Return the gates of nodes that it aims at; a statement that waits for a lock goes on by itself."""
        return [
            gate for gate in waiting
            if gate.owner.startswith("node") and self.at in (gate.label, gate.kind) and gate not in under_way
        ]  # fmt: skip


_DEADLY: Final = (*2 * ("commit_decisions", "begin_attempts", "record_results", "answer"), "beat", "lease")
_APART: Final = 2**32
_LOST: Final = ("commit_decisions", "begin_attempts", "record_results")


def aimed(seed: int) -> Aim:
    """Return at what the faults of a seed aim: two seeds in five aim at the few statements that matter most.

    Drawn apart from the story, so that the histories of the others are those that they were without aims.
    """
    if seed % 5 not in (1, 2):
        return Aim()
    draw = Draw(seed + _APART)
    if draw.happens(0.7):
        return Aim(draw.one(_DEADLY), deadly=True)
    return Aim(draw.one(_LOST))
