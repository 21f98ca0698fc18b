"""One thing that was looked at: whether it is well, the figure, and what to do where it is not. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warn", "fail"]
WORST_FIRST: Final[tuple[Level, ...]] = ("fail", "warn", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, what was found, and what to do about it."""

    check: str
    level: Level
    told: str
    remedy: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


def well(check: str, told: str, **figures: Any) -> Finding:
    """It is as it should be."""
    return Finding(check, "ok", told, None, figures)


def judged(check: str, level: Level, told: str, remedy: str, **figures: Any) -> Finding:
    """It is not: what was found, and what to do."""
    assert level != "ok", "what is well needs no remedy"
    return Finding(check, level, told, remedy, figures)


def seconds(value: float | None) -> str:
    """Return a time as people say it."""
    if value is None:
        return "an unknown time"
    if value < 1:
        return f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7_200 else f"{value / 3_600:.1f} h"


def many(number: int, word: str, words: str | None = None) -> str:
    """Return a number with its word."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"
