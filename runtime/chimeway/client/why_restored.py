"""What a restore from a backup held back, in sentences: since when, and who let it go or gave it up. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from chimeway.client.words import moment
from chimeway.progression.snapshot import TERMINAL
from chimeway.store.views import DeliveryView, RestoredView, Story

HELD: Final = "after_restore"
DROPPED: Final = "given up after a restore"
"""What rows say of messages that are held after a restore, or were given up (schema.sql, section 7)."""


def held_back(story: Story, row: DeliveryView) -> Iterator[str]:
    """Yield that a message was held back after a restore, what became of that, and what nobody knows."""
    was = row.restored
    if was is None:
        return
    since = moment(story, was.held_at)
    after = f"after the restore of the backup of {moment(story, was.taken_at)}"
    match was.decision:
        case "released":
            yield (
                f"It was held back at {since}, {after}, and {_by(was)} released it at {_when(story, was)}: "
                f"its provider may have been asked for it before the restore, so it {_what_then(row)}."
            )
        case "dropped":
            yield (
                f"It had been held back since {since}, {after}, until {_by(was)} dropped it at "
                f"{_when(story, was)}: it may have been sent after that backup was taken."
            )
        case None if row.status not in TERMINAL:
            yield (
                f"It has been held back since {since}, {after}: it may have been sent after that was taken. "
                f"`chimeway deliveries release {row.id}` sends it, `drop` gives it up."
            )
        case _:
            yield (
                f"It had been held back since {since}, {after}, and ended before anybody had decided: "
                "whether it was sent after that backup was taken its rows cannot say."
            )


def due(row: DeliveryView) -> datetime | None:
    """Return since when, or at what time, a message may be sent: not before somebody let it go."""
    at, was = row.next_attempt_at, row.restored
    if at is None or was is None or was.decision != "released" or was.decided_at is None:
        return at
    return max(at, was.decided_at)


def _by(was: RestoredView) -> str:
    return was.decided_by or "somebody"


def _when(story: Story, was: RestoredView) -> str:
    return moment(story, was.decided_at or was.held_at)


def _what_then(row: DeliveryView) -> str:
    """Return what a call that no row knows of means for whoever it was for."""
    if row.status == "succeeded":
        return "may have come twice"
    return "may have come all the same" if row.status in TERMINAL else "may come twice"
