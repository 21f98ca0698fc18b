"""All orders of what may happen to a small journey, and not only some: every act in every state, once.

Worlds with the same key have the same future, so each is gone into once. What a bound cuts off is said
(`complete`), and is the far end of the search: short histories come first.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from chimeway.progression.decide import decide
from chimeway.testing.simulation import audit
from chimeway.testing.simulation.choices import at_rest, choices
from chimeway.testing.simulation.deeds import take
from chimeway.testing.simulation.pure import SimulationFailed, told
from chimeway.testing.simulation.tables import IN_FORCE, Guards
from chimeway.testing.simulation.world import Act, Decide, Plan, World

MOST: Final = 20_000
_Path: TypeAlias = "tuple[_Path, Act] | None"


@dataclass(frozen=True, slots=True)
class Explored:
    """How far a search went: states, acts tried in them, and whether that was all there is."""

    states: int
    acts: int
    complete: bool


def explore(plan: Plan, *, most: int = MOST, guards: Guards = IN_FORCE, decide: Decide = decide) -> Explored:
    """Try all orders.

    Args:
        plan: of what; how much may happen in it decides how many orders there are.
        most: states, at most.
        guards: which guards the rows have; for tests of the simulation itself.
        decide: the decision core; likewise.

    Raises:
        SimulationFailed: a promise was broken in one of them; it is among the shortest that break it.
    """
    first = World.of(plan, guards=guards, decide=decide)
    seen, waiting, tried = {hash(first.key)}, deque[tuple[World, _Path]]([(first, None)]), 0
    while waiting:
        world, path = waiting.popleft()
        try:
            if at_rest(world):
                audit.ended(world)
        except AssertionError as fault:
            raise _failed(plan, path, fault, guards, decide) from fault
        for _, act in choices(world):
            after = world.copy()
            tried += 1
            try:
                take(after, act)
            except AssertionError as fault:
                raise _failed(plan, (path, act), fault, guards, decide) from fault
            key = hash(after.key)
            if key not in seen:
                if len(seen) >= most:
                    return Explored(len(seen), tried, complete=False)
                seen.add(key)
                waiting.append((after, (path, act)))
    return Explored(len(seen), tried, complete=True)


def _failed(
    plan: Plan, path: _Path, fault: AssertionError, guards: Guards, decide: Decide
) -> SimulationFailed:
    acts: list[Act] = []
    while path is not None:
        path, act = path
        acts.append(act)
    acts.reverse()
    history = told(World.of(plan, guards=guards, decide=decide), acts)
    return SimulationFailed(str(fault), tuple(acts), history, "again: the same search finds it again")
