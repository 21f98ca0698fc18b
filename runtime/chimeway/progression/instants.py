"""How instants are written into contexts and inputs, and read back. No calendar: see durations."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any


def written(at: datetime) -> str:
    """Return `at` as RFC 3339 text in UTC, with microseconds and `Z`: one instant, one text."""
    return _written(at if at.tzinfo is UTC else at.astimezone(UTC))


@lru_cache(1_000)
def _written(utc: datetime) -> str:
    """One instant stands in a decision four times. (In UTC no two that are equal are written differently.)"""
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def read(text: Any) -> datetime | None:
    """Return the instant that `text` names, in UTC, or None when it names none.

    Never raises: what stands in a context may be from other hands (semantics §5 row 10).
    """
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is UTC:
            return at
        return None if at.utcoffset() is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_required(text: Any) -> datetime:
    """Return the instant that `text` names; AssertionError when it names none."""
    at = read(text)
    if at is None:
        raise AssertionError(f"an instant was written that cannot be read: {text!r}")
    return at
