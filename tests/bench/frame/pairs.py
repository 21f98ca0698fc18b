"""Playing a bench: its sides in turns, in alternating order, so that the machine's moods meet all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from .machine import described
from .plan import Asked, Bench
from .result import Result, result_of
from .stage import own_server
from .steadiness import probe, steadiness
from .words import number

Say = Callable[[str], None]


async def play(bench: Bench, asked: Asked, say: Say) -> Result:
    """Play all pairs of a bench, and return what was measured."""
    pairs, began = bench.pairs_asked(asked), time.monotonic()
    say(f"{bench.code}  {bench.title}: {pairs} pairs of {', '.join(bench.sides)}")
    rounds: dict[str, list[Mapping[str, float]]] = {side: [] for side in bench.sides}
    alone: list[float] = []
    async with (bench.stage or own_server())(asked) as bare:
        stage = replace(bare, say=lambda text: say(f"      {text}"))
        say(
            "      PostgreSQL "
            + " ".join(f"{name}={value}" for name, value in stage.settings.items() if value)
        )
        for pair in range(pairs):
            for side in order(list(bench.sides), pair):
                alone += probe()
                since = time.monotonic()
                figures = await bench.sides[side](stage)
                rounds[side].append(figures)
                took = f"{time.monotonic() - since:.0f} s"
                say(f"  {pair + 1}/{pairs} {side}: {_told(bench, figures)} ({took})")
        settings = dict(stage.settings)
    return result_of(
        bench, rounds, settings=settings, machine=described(), took_s=round(time.monotonic() - began),
        steadiness=steadiness(alone),
    )  # fmt: skip


def order(sides: list[str], pair: int) -> list[str]:
    """Return the order of a pair: forwards, then backwards, so that nobody always comes first."""
    return sides if pair % 2 == 0 else sides[::-1]


def _told(bench: Bench, figures: Mapping[str, float]) -> str:
    known = [each for each in bench.figures if each.name in figures]
    return ", ".join(f"{each.name} {number(figures[each.name])} {each.unit}".rstrip() for each in known)
