"""`make mutants`: take out what keeps each promise, and see whether a test misses it.

    python -m mutants [--jobs N] [--list] [PART OF A NAME ...]

First the tests that the mutants name are run on a copy of the tree as it is: one that fails anyway proves
nothing. Then each mutant is applied to a copy, and its test is run there. Said is of each: `caught`, the test
failed by what it asserts; `survived`, it passed, so nobody would miss what was taken out; `does not apply`;
`broken`, the copy could not be tested; or `fails anyway`. All but `caught` make the exit code 1.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from mutants.catalogue import Mutant, mutants
from mutants.copies import Copy, Finding, copied
from mutants.page import keep


def main() -> int:
    """Judge the mutants whose names have one of the parts given, or all."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("which", nargs="*", help="parts of names; none: all")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="show them, and run nothing")
    given = parser.parse_args()
    chosen = [m for m in mutants() if not given.which or any(part in m.name for part in given.which)]
    if given.list or not chosen:
        print(*(f"{mutant.name:44} {mutant.test}" for mutant in chosen), sep="\n")
        return 0 if chosen else 2
    answers = judge(chosen, given.jobs)
    keep(answers)
    wrong = sum(answer != "caught" for answer in answers.values())
    print(f"{len(answers)} mutants: {len(answers) - wrong} caught, {wrong} not")
    return 1 if wrong else 0


def judge(chosen: Sequence[Mutant], jobs: int) -> dict[Mutant, str]:
    """Say what becomes of each, so many at a time, each in a copy of its own; tell it as it is known."""
    with tempfile.TemporaryDirectory(prefix="chimeway-mutants-") as folder, ExitStack() as stack:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(jobs):
            copies.put(stack.enter_context(copied(Path(folder) / str(number))))
        failing = _failing_anyway(copies.get(), chosen, jobs, copies)

        def one(mutant: Mutant) -> Finding:
            copy = copies.get()
            try:
                return copy.judge(mutant)
            finally:
                copies.put(copy)

        answers = {mutant: "fails anyway" for mutant in chosen if mutant.test in failing}
        left = [mutant for mutant in chosen if mutant not in answers]
        for mutant in answers:
            _tell(mutant, "fails anyway", failing[mutant.test])
        with ThreadPoolExecutor(jobs) as threads:
            for mutant, finding in zip(left, threads.map(one, left), strict=True):
                answers[mutant] = finding.answer
                _tell(mutant, finding.answer, finding.said)
    return answers


def _failing_anyway(
    copy: Copy, chosen: Sequence[Mutant], jobs: int, copies: "SimpleQueue[Copy]"
) -> dict[str, str]:
    """Return the tests that fail, or are not there, without any mutant; and what was said."""
    try:
        tests = sorted({mutant.test for mutant in chosen})
        spread = ("-n", str(jobs), "--dist", "worksteal") if len(tests) > 1 else ()
        told = copy.run(*tests, options=spread)
    finally:
        copies.put(copy)
    passed = {test["id"] for test in told["tests"] if test["when"] == "call" and test["outcome"] == "passed"}
    failed = {test["id"]: test["said"] for test in told["tests"] if test["outcome"] != "passed"}
    found = {}
    for test in tests:
        ours = [node for node in passed | failed.keys() if node == test or node.startswith(f"{test}[")]
        bad = [failed[node] for node in ours if node in failed]
        if bad or not ours:
            found[test] = bad[0] if bad else told["output"][-2_000:]
    return found


def _tell(mutant: Mutant, answer: str, said: str) -> None:
    print(f"{answer:15} {mutant.name:44} {said if answer != 'broken' else ''}", flush=True)
    if answer == "broken":
        print(said)


if __name__ == "__main__":
    sys.exit(main())
