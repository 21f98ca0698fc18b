"""Whether what was asked for was reached. Pure.

A median decides, and its interval says how surely: where the whole interval lies on the median's side of the
bound, chance did not decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .intervals import Spread, spread
from .plan import Target
from .result import Result
from .words import number, with_unit

Verdict = Literal[
    "reached", "reached, by the median", "missed, by the median", "missed", "not asked", "not measured"
]


@dataclass(frozen=True, slots=True)
class Judged:
    """Something that was asked for, what was found, and whether that is it. `target` is told in words."""

    what: str
    target: str
    found: Spread | None
    unit: str
    verdict: Verdict


def judged(result: Result) -> Iterator[Judged]:
    """Yield all ratios, and then all targets, in the order of the bench."""
    for ratio in result.ratios:
        values = result.ratios_of(ratio)
        low, high = _side_of(result.figure(ratio.figure).better, ratio.target)
        under = f" ({ratio.to_figure})" if ratio.to_figure else ""
        what = f"{ratio.figure}: {ratio.of} / {ratio.to}{under}"
        yield _judged(what, _bounds(low, high, "x"), values, "x", (low, high))
    for target in result.targets:
        yield _target(result, target)


def _target(result: Result, target: Target) -> Judged:
    unit = result.figure(target.figure).unit
    values, asked = result.values(target.side, target.figure), True
    told = _bounds(target.at_least, target.at_most, unit)
    if given := target.where:
        floor = result.values(given.side, given.figure)
        asked = bool(floor) and spread(floor).median <= given.at_most
        bound = with_unit(given.at_most, result.figure(given.figure).unit)
        told += f" where {given.figure} of {given.side} ≤ {bound}"
    found = _judged(f"{target.figure}: {target.side}", told, values, unit, (target.at_least, target.at_most))
    return found if asked else Judged(found.what, told, found.found, unit, "not asked")


def _judged(
    what: str, target: str, values: list[float], unit: str, bounds: tuple[float | None, float | None]
) -> Judged:
    if not values:
        return Judged(what, target, None, unit, "not measured")
    found = spread(values)
    if bounds == (None, None):
        return Judged(what, "", found, unit, "not asked")
    holds = [_within(value, bounds) for value in (found.low, found.median, found.high)]
    sure = len(set(holds)) == 1
    word: Verdict = "reached" if holds[1] else "missed"
    if not sure:
        word = "reached, by the median" if holds[1] else "missed, by the median"
    return Judged(what, target, found, unit, word)


def _within(value: float, bounds: tuple[float | None, float | None]) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value <= high)


def _side_of(better: str, bound: float | None) -> tuple[float | None, float | None]:
    return (None, bound) if better == "lower" else (bound, None)


def _bounds(low: float | None, high: float | None, unit: str) -> str:
    told = (
        f"{sign} {with_unit(bound, unit)}" for sign, bound in (("≥", low), ("≤", high)) if bound is not None
    )
    return " and ".join(told)


def in_short(spread_: Spread, unit: str) -> str:
    """Return a median with its interval, as a table has it."""
    return f"{with_unit(spread_.median, unit)} ({number(spread_.low)} to {number(spread_.high)})"
