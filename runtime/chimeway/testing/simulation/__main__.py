"""`python -m chimeway.testing.simulation pure|real`: scenarios by the thousand, or the one that failed."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

from chimeway.testing.simulation.exhaustive import MOST, explore
from chimeway.testing.simulation.journeys import data_for, drawn, utterances
from chimeway.testing.simulation.pure import SimulationFailed, play
from chimeway.testing.simulation.real_command import real
from chimeway.testing.simulation.world import START, Plan
from chimeway.workflow.definition import Definition
from chimeway.workflow.text import TextFormat, read_definitions


def pure(words: Sequence[str]) -> int:
    """Play scenarios of the pure simulation; return the exit code."""
    parser = argparse.ArgumentParser("python -m chimeway.testing.simulation pure", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many, one a scenario")
    parser.add_argument("--workflow", type=Path, help="a file with one definition; else each seed draws one")
    parser.add_argument("--exhaustive", action="store_true", help="all orders of small journeys")
    parser.add_argument("--states", type=int, default=MOST, help="with --exhaustive: states, at most")
    given = parser.parse_args(words)
    workflow = None if given.workflow is None else _read(given.workflow)
    history, seed = hashlib.sha256(), given.seed
    try:
        for seed in range(given.seed, given.seed + given.count):
            if given.exhaustive:
                told = f"{seed} {explore(small(seed, workflow), most=given.states)}"
            else:
                scenario = play(seed, workflow)
                told = f"{seed} {scenario.digest} steps={scenario.steps} rested={scenario.rested}"
            history.update(told.encode())
            if given.count <= 20 or given.exhaustive:
                _say(told)
    except SimulationFailed as failed:
        _say(f"seed {seed}: {failed}")
        return 1
    _say(f"{given.count} scenarios, digest {history.hexdigest()[:16]}")
    return 0


def small(seed: int, workflow: Definition | None = None) -> Plan:
    """Return what an exhaustive search is made of: two nodes, one signal, few answers."""
    random = Random(seed)  # noqa: S311  (no secret: the same seed must give the same)
    definition = drawn(random, small=True) if workflow is None else workflow
    data, said = data_for(definition, random, START), utterances(definition)[:1]
    return Plan(
        definition=definition, data=data, utterances=said,
        answers=("delivered", "temporary"), signals=1, faults=0, orders=0, feedback=0, spurious=0, brief=True,
    )  # fmt: skip


def _read(path: Path) -> Definition:
    words = path.read_text("utf-8")
    form: TextFormat = "json" if path.suffix == ".json" else "yaml"
    (definition,) = read_definitions(words, format=form, source=str(path))
    return definition


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


WAYS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = MappingProxyType({"pure": pure, "real": real})


def main() -> int:
    """Take the first word as the kind of simulation."""
    word, *rest = sys.argv[1:] or ["pure", "--help"]
    if word not in WAYS:
        _say(f"given {word!r}; wanted one of: {', '.join(WAYS)}")
        return 2
    return WAYS[word](rest)


if __name__ == "__main__":
    raise SystemExit(main())
