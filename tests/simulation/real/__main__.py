"""`python -m tests.simulation.real 200`: without each guard of the ledger, which of 200 seeds tells of it?"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from kit.simulated import MUTATIONS, guarded


def main() -> int:
    """Play without each guard until a seed tells; return how many guards nothing told of."""
    parser = argparse.ArgumentParser("python -m tests.simulation.real", description=__doc__)
    parser.add_argument("most", type=int, help="seeds to play, at most, without each guard")
    parser.add_argument("--only", default="", help="of the guards those in whose name this stands")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    missed = 0
    with guarded() as playing:
        for name, mutation in MUTATIONS.items():
            if given.only not in name:
                continue
            with playing.without(mutation):
                found = playing.first_found(range(1, given.most + 1), mutation.theme)
            missed += found is None
            how = "not found" if found is None else f"seed {found.seed}: {found.problems[0][:120]}"
            print(f"{name}: {how}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
