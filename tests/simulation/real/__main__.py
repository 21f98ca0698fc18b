"""Plays many seeds: `python -m tests.simulation.real --first 1 --count 1000 --workers 2`.

Prints what went wrong, by seed, and how many scenarios a minute were played. With one seed (`--seed 17`) its
whole history and its digest. `--guards 200` takes the guards out one by one, and looks for each in 200 seeds.
"""

import argparse
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from kit.simulated import MUTATIONS, simulation, told


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--guards", type=int, help="plays so many seeds without each guard, until one tells")
    parser.add_argument("--only", default="", help="of the guards those in whose name this stands")
    return parser.parse_args()


def _play(first: int, count: int) -> tuple[float, float, list[str]]:
    """Play a stretch of seeds; return the seconds, the steps of all, and what went wrong."""
    logging.disable(logging.CRITICAL)
    with simulation() as playing:
        began, steps, wrong = time.monotonic(), 0, []
        for seed in range(first, first + count):
            played = playing.play(seed)
            steps += len(played.history)
            if played.problems:
                wrong.append(told(played))
        return time.monotonic() - began, steps, wrong


def _guards(most: int, only: str) -> None:
    with simulation() as playing:
        for name, mutation in MUTATIONS.items():
            if only not in name:
                continue
            with playing.without(mutation):
                found = playing.first_found(range(1, most + 1), mutation.theme)
            how = "not found" if found is None else f"seed {found.seed}: {found.problems[0][:120]}"
            print(f"{name}: {how}", flush=True)


def main() -> int:
    """Play."""
    given = _arguments()
    logging.disable(logging.CRITICAL)
    if given.guards:
        _guards(given.guards, given.only)
        return 0
    if given.seed is not None:
        with simulation() as playing:
            played = playing.play(given.seed)
        print(*played.history, *played.problems, played.digest, sep="\n")
        return bool(played.problems)
    share = given.count // given.workers
    with ProcessPoolExecutor(given.workers) as pool:
        starts = [given.first + share * number for number in range(given.workers)]
        results = list(pool.map(_play, starts, [share] * given.workers))
    seconds = max(took for took, _, _ in results)
    steps = sum(each for _, each, _ in results)
    wrong = [each for _, _, some in results for each in some]
    print(*wrong, sep="\n\n")
    played = share * given.workers
    print(f"{played} scenarios, {steps} steps, {len(wrong)} wrong; {60 * played / seconds:.0f} a minute")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
