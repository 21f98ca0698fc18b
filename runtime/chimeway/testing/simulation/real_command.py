"""`python -m chimeway.testing.simulation real`: seeds of the real engine, dealt out to processes.

Played is on the server that CHIMEWAY_TEST_DATABASE_URL names, in databases that are made and dropped there;
without it on a temporary one. Each process has a database of its own; what is printed, and the digest over
all seeds, does not depend on how many processes there are.
"""

import argparse
import hashlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from chimeway.testing.simulation.real import simulation, told

_USUAL: Final = 500


@dataclass(frozen=True, slots=True)
class _Order:
    """What a process is to play."""

    seeds: range
    theme: str | None
    twice: bool
    whole: bool
    """Whether the history is wanted, too."""


@dataclass(frozen=True, slots=True)
class _Seed:
    """How one seed went; `wrong` is empty where all was well."""

    digest: str
    steps: int
    wrong: str
    history: Sequence[str]


def real(words: Sequence[str]) -> int:
    """Play scenarios of the real simulation; return the exit code."""
    given = _parser().parse_args(words)
    count = given.count or (_USUAL if given.seed is None else 1)
    first = 1 if given.seed is None else given.seed
    order = _Order(range(first, first + count), given.theme, twice=given.twice, whole=count == 1)
    digest, steps, wrong, began = hashlib.sha256(), 0, 0, 0.0
    with ExitStack() as stack:
        for each in _played(stack, order, max(1, min(given.workers, count))):
            began = began or time.monotonic()  # by then all have opened their databases
            digest.update(each.digest.encode())
            steps, wrong = steps + each.steps, wrong + bool(each.wrong)
            _say(*each.history, *([each.wrong] if each.wrong else []))
    pace = f"; {60 * (count - 1) / (time.monotonic() - began):.0f} a minute" if count > 1 else ""
    _say(f"{count} scenarios, {steps} steps, {wrong} wrong{pace}; digest {digest.hexdigest()[:16]}")
    return int(wrong > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m chimeway.testing.simulation real", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; alone: this one, with its whole history")
    parser.add_argument("--count", type=int, help=f"how many, one a scenario; without --seed: {_USUAL}")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many processes")
    parser.add_argument("--theme", help="what is mostly done, and after a colon in which journey: read:twice")
    parser.add_argument("--twice", action="store_true", help="play each seed again, and compare the digests")
    return parser


def _played(stack: ExitStack, order: _Order, workers: int) -> Iterator[_Seed]:
    """Deal seeds out in turn, and yield how each went, in the order of the seeds."""
    if workers == 1:
        yield from _play(order)
        return
    spawning = multiprocessing.get_context("spawn")
    pipes = []
    for number in range(workers):
        mine, theirs = spawning.Pipe(duplex=False)
        dealt = _Order(order.seeds[number::workers], order.theme, twice=order.twice, whole=order.whole)
        process = spawning.Process(target=_work, args=(dealt, theirs))
        process.start()
        theirs.close()
        stack.callback(process.join)
        stack.callback(mine.close)  # first: who still writes then ends
        pipes.append(mine)
    for number in range(len(order.seeds)):
        yield pipes[number % workers].recv()


def _work(order: _Order, pipe: Connection) -> None:
    """Play in a process of its own."""
    for each in _play(order):
        pipe.send(each)


def _play(order: _Order) -> Iterator[_Seed]:
    with simulation() as playing, _without_log():
        for seed in order.seeds:
            played = playing.play(seed, order.theme)
            wrong = told(played) if played.problems else ""
            if order.twice and playing.play(seed, order.theme).digest != played.digest:
                wrong += f"seed {seed}: played again, it was another history"
            history = (*played.history, played.digest) if order.whole else ()
            yield _Seed(played.digest, len(played.history), wrong, history)


@contextmanager
def _without_log() -> Iterator[None]:
    """Log nothing: a scenario is full of faults, and its history tells of them."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
