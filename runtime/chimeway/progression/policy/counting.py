"""How full a cap is, and when it will have a place."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chimeway.progression.policy.preferences import Cap


@dataclass(frozen=True, slots=True)
class Count:
    """What a cap says at one instant: `sent` sends count, the oldest of them from `oldest`.

    `free` is the first instant, that one or later, at which it has a place.
    """

    cap: Cap
    at: datetime
    sent: int
    oldest: datetime | None
    free: datetime
    full: bool


def count(cap: Cap, sent: Sequence[datetime], at: datetime, zone: str) -> Count:
    """Count the sends that a cap still sees at `at`.

    Args:
        cap: the cap.
        sent: instants of sends, in order.
        at: when it is asked; a send of this very instant or later counts, too.
        zone: the recipient's.
    """
    past = bisect_right(sent, at, key=lambda instant: cap.leaves(instant, zone))
    counted = len(sent) - past
    full = counted >= cap.limit
    free = cap.leaves(sent[-cap.limit], zone) if full else at
    return Count(cap, at, counted, sent[past] if counted else None, free, full)
