"""The pure simulation: the decision core and a model of rows, in random orders. One seed, one history, one
digest.

    simulate(seeds=range(1000))                    # journeys of all kinds
    simulate(my_workflow, seeds=range(1000))       # one of yours

A scenario has two halves. In the first anything may happen: nodes die, answers are lost, providers fail,
people cancel. In the second, the calm, nobody does anything any more, and what goes on by itself must bring
all to its
end: what is still live then has been lost. After every single step the rows are compared with the reference
model, which knows nothing of the engine.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth
from chimeway.testing.simulation import audit, telling
from chimeway.testing.simulation.choices import Choice, at_rest, choices, next_instant
from chimeway.testing.simulation.deeds import DEEDS, take
from chimeway.testing.simulation.journeys import data_for, drawn, utterances
from chimeway.testing.simulation.tables import IN_FORCE, Guards
from chimeway.testing.simulation.world import START, Act, Decide, Plan, World
from chimeway.workflow.build import Workflow
from chimeway.workflow.coerce import coerce
from chimeway.workflow.definition import Definition

_WILD: Final = (40, 120)
"""Steps of the first half, at least and at most."""
_CALM: Final = 600
"""Steps of the second half: a journey that goes round without end is left then."""
_TEMPERS: Final = (0.1, 1.0, 1.0, 5.0)
"""How much likelier each kind of act is in one scenario than in another: all alike would find less."""
_BIRTHS: Final = (
    (Birth("pending"),),
    (Birth("pending"),),
    (Birth("pending"), Birth("suppressed", "no_address")),
    (Birth("pending"), Birth("cancelled", "permanent_failure", "configuration")),
    (Birth("deferred", "quiet_hours"), Birth("pending")),
)
_PEOPLE: Final = (
    (("default", "ada"),),
    (("default", "ada"), ("default", "ada")),
    (("default", "ada"), ("other", "ada")),
    (("default", "ada"), ("default", "bob")),
)


class SimulationFailed(AssertionError):  # noqa: N818  (what is so, not that it is wrong)
    """A scenario broke a promise. Its text is the history, and how to see it again."""

    def __init__(self, reason: str, acts: tuple[Act, ...], history: tuple[str, ...], again: str) -> None:
        """Take what was broken, by which acts, in words, and the command that does it again."""
        super().__init__("\n".join([reason, "", *history, "", f"broken: {reason}", again]))
        self.reason, self.acts, self.history, self.again = reason, acts, history, again


@dataclass(frozen=True, slots=True)
class Scenario:
    """One that went well: its seed, how many steps it had, whether it came to rest, and its digest."""

    seed: int
    steps: int
    rested: bool
    digest: str


def simulate(
    workflow: Definition | Workflow | Mapping[str, Any] | None = None,
    *,
    seeds: Iterable[int] = range(100),
    guards: Guards = IN_FORCE,
    decide: Decide = decide,
) -> list[Scenario]:
    """Play a scenario for each seed.

    Args:
        workflow: whose journeys, in any form; None: for each seed another is drawn.
        seeds: one a scenario.
        guards: which guards the rows have; for tests of the simulation itself.
        decide: the decision core; likewise.

    Returns:
        what was played, in the order of the seeds.

    Raises:
        SimulationFailed: a promise was broken; with the history, and how to see it again.
        InvalidDefinition: the workflow has faults.
    """
    definition = None if workflow is None else coerce(workflow)
    return [play(seed, definition, guards=guards, decide=decide) for seed in seeds]


def play(
    seed: int,
    workflow: Definition | None = None,
    *,
    guards: Guards = IN_FORCE,
    decide: Decide = decide,
) -> Scenario:
    """Play one scenario; see `simulate`."""
    random = Random(seed)  # noqa: S311  (no secret: the same seed must give the same)
    plan = planned(random, workflow)
    world, acts = World.of(plan, guards=guards, decide=decide), []
    try:
        for act in _drawn(random, world):
            acts.append(act)
            take(world, act)
        rested = at_rest(world)
        if rested:
            audit.ended(world)
    except Exception as fault:
        reason = f"{type(fault).__name__}: {fault}" if not isinstance(fault, AssertionError) else str(fault)
        again = f"again: python -m chimeway.testing.simulation pure --seed {seed}"
        again += "" if workflow is None else f" --workflow FILE, or simulate(workflow, seeds=[{seed}])"
        history = told(World.of(plan, guards=guards, decide=decide), acts)
        raise SimulationFailed(reason, tuple(acts), history, again) from fault
    words = repr((acts, world.rows.key))
    return Scenario(seed, len(acts), rested, hashlib.sha256(words.encode()).hexdigest()[:16])


def planned(random: Random, workflow: Definition | None = None) -> Plan:
    """Draw what a scenario is made of."""
    definition = drawn(random) if workflow is None else workflow
    return Plan(
        definition=definition,
        data=data_for(definition, random, START),
        utterances=utterances(definition),
        runs=random.choice(_PEOPLE),
        births=random.choice(_BIRTHS),
        skews=random.choice(((0,), (0, -30, 49), (0, 60, 600_000))),
        signals=random.choice((1, 2, 3, 5)),
        faults=random.choice((0, 2, 5)),
        orders=random.choice((0, 0, 1, 2)),
        feedback=random.choice((0, 1, 2)),
    )


def _drawn(random: Random, world: World) -> Iterator[Act]:
    """Draw act after act: first anything, then what goes on by itself, until nothing does."""
    temper = {name: random.choice(_TEMPERS) for name in DEEDS}
    for _ in range(random.randint(*_WILD)):
        found = [(weight * temper[act[0]], act) for weight, act in choices(world)]
        if not found:
            break
        yield _one_of(random, found)
    world.left = dict.fromkeys(world.left, 0)
    for _ in range(_CALM):
        found = _calm(world)
        if not found:
            return
        yield _one_of(random, found)


def _calm(world: World) -> list[Choice]:
    going_on = [choice for choice in choices(world) if choice[1][0] not in ("time", "trigger")]
    if going_on:
        return going_on
    at = next_instant(world)
    return [] if at is None else [(1.0, ("time", at))]


def _one_of(random: Random, found: list[Choice]) -> Act:
    weights = list(accumulate(weight for weight, _ in found))
    return random.choices([act for _, act in found], cum_weights=weights)[0]


def told(world: World, acts: Iterable[Act]) -> tuple[str, ...]:
    """Do these acts again in a world at its beginning, and tell of each in words; the last one breaks."""
    lines = []
    for act in acts:
        lines.append(telling.line_before(world, act))
        facts: list[str] = []
        world.rows.told = _Heard(facts)
        try:
            take(world, act)
        except Exception as fault:  # noqa: BLE001  (what broke is what is told)
            return (*lines, *facts, f"{'':14}and here it breaks: {fault}")
        lines += facts
    return tuple(lines)


class _Heard(list):  # type: ignore[type-arg]
    """Facts as rows leave them, each also in words."""

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self._words = words

    def append(self, told: object) -> None:
        super().append(told)
        self._words.append(telling.line_of(*told))  # type: ignore[misc]
