"""What all paths of a journey together say: how many messages one person can get, and who gets none.

A message counts where it may arrive: not on a path that it leaves because it was suppressed, refused,
bounced or given up after the last retry. One that failed for now may have arrived all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from chimeway.workflow.definition import NotifyAction, Outcome, Step
from chimeway.workflow.paths import Leg, Path
from chimeway.workflow.telling import by_signal

_NEVER_ARRIVES: Final[frozenset[Outcome]] = frozenset(
    {"suppressed", "retries_exhausted", "permanent_failure", "bounced"}
)
MOST_PATHS: Final = 10_000
"""No more are looked at: a journey of a hundred steps may have more than anybody can count."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found on the paths that were looked at.

    `listed` are the first of them; `complete` says that there are no others than those `counted`.
    `most` are the messages of a path that brings the most, and `most_on` its number, from 1; `silent`
    are the numbers of paths that bring none. `repeats`: some path comes to a step again, so a run may
    send more than any path says.
    """

    listed: tuple[Path, ...]
    counted: int
    complete: bool
    most: tuple[Step, ...]
    most_on: int
    silent: tuple[int, ...]
    repeats: bool


def survey(found: Iterable[Path], *, limit: int) -> Survey:
    """Look at the paths (as many as `MOST_PATHS`) and keep the first `limit` of them."""
    listed: list[Path] = []
    most: tuple[Step, ...] = ()
    most_on, counted, repeats = 1, 0, False
    silent: list[int] = []
    walk = iter(found)
    for path in islice(walk, MOST_PATHS):
        counted += 1
        if len(listed) < limit:
            listed.append(path)
        arriving = messages(path)
        if len(arriving) > len(most):
            most, most_on = arriving, counted
        if not arriving:
            silent.append(counted)
        repeats = repeats or path.end == "repeats"
    complete = next(walk, None) is None
    return Survey(tuple(listed), counted, complete, most, most_on, tuple(silent), repeats)


def messages(path: Path) -> tuple[Step, ...]:
    """Return the steps of a path whose messages may arrive."""
    return tuple(leg.step for leg in path.legs if may_arrive(leg))


def may_arrive(leg: Leg) -> bool:
    """Tell whether a message of this step may arrive, as it is left here: in another round it may not."""
    if not isinstance(leg.step.action, NotifyAction):
        return False
    return by_signal(leg.step, leg.left_by) or leg.left_by.by not in _NEVER_ARRIVES
