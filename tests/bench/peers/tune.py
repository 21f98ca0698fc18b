"""Finds a peer's best settings: plays its work with each of some settings, in turns, and prints medians.

python -m tests.bench.peers.tune PEER WORK MANY ROUNDS [setting=value,setting=value ...] ...

So that nobody need believe that a peer was treated well: what docs/benchmarks/peers.md says was tried,
this tries.
Settings are those of the adapters; `processes` is how many workers there are.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.frame import Asked, Stage, own_server
from tests.bench.peers.driven import alone, driven

_JOBS = "jobs"


def main() -> None:
    """Try what was named."""
    peer, work, many, rounds, *named = sys.argv[1:]
    tried = [dict(each.split("=", 1) for each in one.split(",") if each) for one in named]
    asyncio.run(_try(peer, work, int(many), int(rounds), tried))


async def _try(peer: str, work: str, many: int, rounds: int, tried: list[dict[str, str]]) -> None:
    found: list[list[Mapping[str, float]]] = [[] for _ in tried]
    async with own_server()(Asked()) as stage:
        for number in range(rounds):
            both = list(zip(tried, found, strict=True))
            for settings, rows in both if number % 2 == 0 else reversed(both):
                rows.append(await _played(stage, peer, work, many, settings))
                print(f"{number + 1}/{rounds}", _told(settings, rows[-1:]), flush=True)
    print("medians")
    for settings, rows in zip(tried, found, strict=True):
        print("   ", _told(settings, rows))


def _told(settings: Mapping[str, str], rows: Sequence[Mapping[str, float]]) -> str:
    figures = [f"{name} {median(row[name] for row in rows):.3g}" for name in rows[0]]
    return f"{' '.join(f'{k}={v}' for k, v in settings.items()) or 'defaults'} | {', '.join(figures)}"


async def _played(
    stage: Stage, peer: str, work: str, many: int, settings: dict[str, str]
) -> Mapping[str, float]:
    rest = {name: value for name, value in settings.items() if name != "processes"}
    if work == _JOBS:
        said, cost = await alone(stage, peer, many=many, settings=rest)
    else:
        workers = int(settings.get("processes", "1"))
        said, cost = await driven(stage, peer, work, workers=workers, many=many, settings=rest)
    return {"per second": many / said["seconds"]} | cost


main()
