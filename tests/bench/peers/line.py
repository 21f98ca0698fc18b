"""How an adapter speaks with the bench: JSON lines out, plain lines in. Of the standard library alone.

An adapter runs in the peers' environment. It says `{"ready": true, ...}` when all is set up, is told to go by
a line, and says its figures. Its worker says that it is ready, and works until its input ends.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

AT_ONCE = 1_000
"""How many journeys or jobs are begun or told in one transaction, on every side."""


def say(**said: Any) -> None:
    """Say a line."""
    print(json.dumps(said), flush=True)


def hear() -> str:
    """Wait for a line; empty when nobody will say one any more."""
    return sys.stdin.readline().strip()


def given() -> tuple[str, str, dict[str, str]]:
    """Return what is to be done, the database's URL, and the settings that were named (key=value)."""
    what, url, *settings = sys.argv[1:]
    return what, url, dict(each.split("=", 1) for each in settings)


def parts(people: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield people as many at once as a transaction takes."""
    for first in range(0, len(people), AT_ONCE):
        yield people[first : first + AT_ONCE]


def until(so: Callable[[], bool], every_s: float = 0.05) -> None:
    """Look until something is so."""
    while not so():
        time.sleep(every_s)
