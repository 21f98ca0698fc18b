"""`make faults`: many journeys on real nodes, and everything done to them that we can do.

    python -m tests.faults [--seed N] [--minutes M] [--nodes N] [--kinds kill,cut,...] [--mutant FILE]

Ends with 1 when a journey was lost, doubled or wrong; what it says then stands in the folder that it names.
"""

import argparse
import asyncio
import dataclasses
import random
import shlex
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own packages, as pytest finds them

from faults import report, running, schedule
from faults.nodes import can_lie_about_time
from faults.world import Size


def _arguments() -> argparse.Namespace:
    usual = Size()
    kinds = ", ".join(schedule.KINDS)
    parser = argparse.ArgumentParser(
        prog="make faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--seed", type=int, help="draws journeys and faults; one is drawn where none is given"
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults are made (30)")
    parser.add_argument(
        "--every", type=float, default=4.2, help="seconds between the beginnings of two (4.2)"
    )
    parser.add_argument("--kinds", default=",".join(schedule.KINDS), help=f"of {kinds} (all)")
    parser.add_argument("--nodes", type=int, default=usual.nodes, help="daemons (3)")
    parser.add_argument("--producers", type=int, default=usual.producers, help="producing processes (3)")
    parser.add_argument(
        "--live", type=int, default=usual.live, help="journeys whose waits run at a time (700)"
    )
    parser.add_argument(
        "--least", type=int, help="a fault waits for so many that are open (525 of --live 700)"
    )
    parser.add_argument("--waits", default=",".join(map(str, usual.waits)), help="seconds that journeys wait")
    parser.add_argument("--people", type=int, default=usual.people, help="recipients of each producer (200)")
    parser.add_argument("--rate", type=float, default=usual.rate, help="most journeys begun in a second (60)")
    parser.add_argument(
        "--deadline", type=float, default=120.0, help="seconds until what is late is lost (120)"
    )
    parser.add_argument(
        "--quiet", type=float, default=6.0, help="seconds without a call before the last word (6)"
    )
    parser.add_argument("--lease", type=float, default=usual.lease_s, help="seconds of a node's lease (3)")
    parser.add_argument("--level", default=usual.level, help="how much nodes log (info)")
    parser.add_argument(
        "--mutant", type=Path, help="a patch to the package that nodes run: one guard taken out"
    )
    parser.add_argument("--folder", type=Path, help="where logs and report go (a new one)")
    return parser.parse_args()


def main() -> int:
    """Run, print the report, and return the exit code."""
    given = _arguments()
    seed = given.seed if given.seed is not None else random.randrange(10**6)
    kinds = tuple(kind for kind in given.kinds.split(",") if kind)
    if unknown := set(kinds) - set(schedule.KINDS):
        sys.exit(
            f"no such kind of fault: {', '.join(sorted(unknown))}; there are {', '.join(schedule.KINDS)}"
        )
    if "clock" in kinds and not can_lie_about_time():
        running.say("libfaketime is not installed (Debian: faketime): no wrong clocks")
        kinds = tuple(kind for kind in kinds if kind != "clock")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="chimeway-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    size = dataclasses.replace(
        Size(), nodes=given.nodes, producers=given.producers, live=given.live, people=given.people,
        waits=tuple(int(each) for each in given.waits.split(",")), rate=given.rate, level=given.level,
        lease_s=given.lease,
        standby="failover" in kinds,
    )  # fmt: skip
    wanted = running.Wanted(
        seed=seed, seconds=given.minutes * 60, every_s=given.every, kinds=kinds, size=size,
        least=given.least if given.least is not None else given.live * 3 // 4,
        deadline_s=given.deadline, quiet_s=given.quiet,
        folder=folder, mutant=given.mutant,
        command=f'make faults ARGS="{shlex.join(sys.argv[1:])}"' if sys.argv[1:] else "make faults",
    )  # fmt: skip
    running.say(f"seed {seed}; logs and report in {folder}")
    found = asyncio.run(running.run(wanted, running.say))
    print(report.text(found))
    return 0 if found.right else 1


if __name__ == "__main__":
    sys.exit(main())
