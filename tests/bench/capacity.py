"""How many journeys a machine and a PostgreSQL carry: what `chimeway bench` measures, and says of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from . import whole_journeys as whole
from .frame import Bench, Figure, Result
from .frame.intervals import spread
from .frame.result import to_json
from .frame.words import number

_COMMITS: Final = "single-row commits"
_WHAT: Final = """Journeys through one daemon: shown in app, a wait, a signal, stopped. In phases: all are
triggered, then all are signalled. Mixed: signals of older journeys between the triggers of new ones. Beside
it, how many single-row transactions the server commits a second over 16 connections."""
_DAY_S: Final = 86_400


def capacity(journeys: int, seconds: float, rounds: int) -> Bench:
    """Return the bench of one machine: so many journeys a round, and the floor for so many seconds."""
    return Bench(
        "B2", "Whole journeys through one daemon", _WHAT,
        {
            "in phases": partial(whole.in_phases, many=journeys),
            "mixed": partial(whole.mixed, many=journeys),
            _COMMITS: partial(whole.commits, seconds=seconds),
        },
        (*whole.FIGURES, Figure("commits", "1/s", "higher")),
        pairs=rounds,
    )  # fmt: skip


def sentences(result: Result) -> Iterator[str]:
    """Yield what the figures mean for whoever asked."""
    rates = [spread(result.values(side, "journeys")) for side in ("in phases", "mixed")]
    low, high = sorted(rate.median for rate in rates)
    yield (
        f"One daemon plays about {number(low)} to {number(high)} journeys a second here: "
        f"{number(low * _DAY_S / 1e6)} million a day, if they come evenly."
    )
    if cpu := _cpu(result):
        yield f"A journey costs {' and '.join(f'{number(ms)} ms of CPU in {who}' for who, ms in cpu)}."
    commits = result.values(_COMMITS, "commits")
    yield (
        f"The server commits {number(spread(commits).median)} single rows a second over 16 connections; "
        "where that is low, the disk is what limits."
    )


def as_json(result: Result) -> Mapping[str, Any]:
    """Return a result for programs: each figure's median and interval, and every round."""
    told = json.loads(to_json(result))
    medians = {
        side: {
            each.name: asdict(spread(values))
            for each in result.figures
            if (values := result.values(side, each.name))
        }
        for side in result.rounds
    }
    return {name: told[name] for name in ("settings", "machine", "took_s")} | {
        "units": {each.name: each.unit for each in result.figures},
        "medians": medians,
        "rounds": told["rounds"],
    }


def _cpu(result: Result) -> list[tuple[str, float]]:
    """Return milliseconds a journey, of the daemon and of the server, as far as they were counted."""
    named = (("the daemon", "daemon CPU"), ("PostgreSQL", "PostgreSQL CPU"))
    return [(who, spread(values).median) for who, name in named if (values := result.values("mixed", name))]
