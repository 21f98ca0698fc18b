"""Times by a recipient's clock, written in Python: what goes into `until` and `send_window`.

As in `build`: these write the JSON form and nothing else, and `parse` judges it.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import time
from typing import Any, Final, Literal, TypeAlias

from chimeway.workflow.calendar import DAYS
from chimeway.workflow.definition import Json

Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
On: TypeAlias = Sequence[Day] | AbstractSet[Day] | Literal["working_days"]
"""Days that count: of the week, or those on which the tenant works."""
working_days: Final = "working_days"
"""The days on which the recipient's tenant works: Monday to Friday unless it says otherwise."""


def local_time(at: str | time, /, *, on: On | None = None) -> dict[str, Json]:
    """Return the `until` of a wait that is over the next time that the recipient's clock shows this.

    Args:
        at: what the clock shows, such as "09:00".
        on: the days that count: days of the week ("mon" to "sun"), or `working_days`, those on which the
            tenant works; every day if left out.
    """
    return {"at": _clock(at), **_days(on)}


def hours(start: str | time, end: str | time, /, *, on: On | None = None) -> dict[str, Json]:
    """Return hours of the day, by the recipient's clock, for `send_window`.

    Args:
        start: when they begin, such as "09:00".
        end: when they end; not after `start`: they go over midnight.
        on: the days on which they begin, as for `local_time`.
    """
    return {"from": _clock(start), "to": _clock(end), **_days(on)}


def within(start: str | time, end: str | time, /, *, on: On | None = None) -> dict[str, Json]:
    """Return the `until` of a wait for these hours: over at once when they have begun.

    Args:
        start: as for `hours`.
        end: as for `hours`.
        on: as for `hours`.
    """
    return {"within": hours(start, end, on=on)}


def _clock(at: Any) -> Json:
    return at.isoformat() if isinstance(at, time) else at


def _days(on: Any) -> dict[str, Json]:
    """Return the days in the order of the week where they are a set; else as they are, to be judged."""
    if on is None:
        return {}
    if isinstance(on, set | frozenset):
        on = sorted(on, key=lambda day: (DAYS.index(day) if day in DAYS else len(DAYS), str(day)))
    return {"on": list(on) if isinstance(on, tuple) else on}
