"""`make bench`: what Chimeway costs, as ratios within one run. Nothing here passes or fails.

    python -m tests.bench [hints] [inboxes] [journeys] [isolation] [fairness] [harness] [overload]
        [--seconds S]

Each bench starts a PostgreSQL of its own and states the settings that its figures depend on.
"""

import argparse
import asyncio

from tests.bench import fairness, harness, hints, inboxes, isolation, journeys, overload

_BENCHES = {
    "hints": hints.bench,
    "inboxes": inboxes.bench,
    "journeys": journeys.bench,
    "isolation": isolation.bench,
    "fairness": fairness.bench,
    "harness": harness.bench,
    "overload": overload.bench,
}


def main() -> None:
    """Run the benches that were named, or all."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("which", nargs="*", choices=[*_BENCHES, []], default=[])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    given = parser.parse_args()
    for name in given.which or _BENCHES:
        asyncio.run(_BENCHES[name](given.seconds))


main()
