"""How instants are written into contexts and inputs, and read back. No calendar: see durations."""

from datetime import UTC, datetime
from typing import Any, Final

_FORM: Final = "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"
"""Half the time of `isoformat`, which would write the offset, to be cut off."""


def written(at: datetime) -> str:
    """Return `at` as RFC 3339 text in UTC, with microseconds and `Z`: one instant, one text."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return _FORM % (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond)


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
