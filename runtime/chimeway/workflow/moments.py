"""When a wait on somebody's clock is over: the next local time, or the next moment of some hours."""

from datetime import datetime
from typing import assert_never

from chimeway.workflow.calendar import WorkingCalendar, next_local_time
from chimeway.workflow.definition import AtLocalTime, Within


def next_moment(
    until: AtLocalTime | Within, entered: datetime, zone: str, working: WorkingCalendar
) -> datetime:
    """Return when a wait that is entered at this instant is over, in UTC.

    Args:
        until: what is waited for. A local time lies strictly ahead; hours are at once when inside.
        entered: when the wait was entered; aware.
        zone: the recipient's, an IANA name.
        working: on which days the tenant works.

    Raises:
        ValueError: no such day comes within ten years, since all are holidays.
        BeyondCalendar: one of them: it would be after the year 9999.
    """
    match until:
        case AtLocalTime(time=time, on=on):
            if isinstance(on, frozenset):
                return next_local_time(entered, zone, time, on)
            return next_local_time(entered, zone, time, working=working)
        case Within(hours=hours):
            return hours.window(working).opens(entered, zone)
        case _:
            assert_never(until)


def needs_calendar(until: AtLocalTime | Within) -> bool:
    """Tell whether it depends on which days the tenant works."""
    on = until.on if isinstance(until, AtLocalTime) else until.hours.on
    return not isinstance(on, frozenset)
