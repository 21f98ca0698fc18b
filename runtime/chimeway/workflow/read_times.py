"""Reading when: hours, days and local times, as waits and send windows have them."""

from datetime import UTC, datetime
from typing import Final

from chimeway.workflow.calendar import DAYS, EVERY_DAY, LocalTime, parse_local_time
from chimeway.workflow.definition import WORKING_DAYS, AtLocalTime, DataRef, Days, Hours, Json, Until, Within
from chimeway.workflow.durations import parse_instant
from chimeway.workflow.place import Place
from chimeway.workflow.problems import shown

_NO_INSTANT: Final = datetime.min.replace(tzinfo=UTC)
_NO_TIME: Final = LocalTime(0, 0)
_FORMS: Final = ("data", "at", "within")
_DAYS_WANTED: Final = "a list of days such as [mon, thu], or working_days"


def read_until(place: Place | None) -> Until:
    """Read `until`: an instant, `{data}`, `{at, on?}` or `{within}`; a placeholder when it is wrong."""
    if place is None:
        return _NO_INSTANT
    if isinstance(place.value, dict):
        return _relative(place)
    if not isinstance(place.value, str):
        place.wrong_type("an instant (RFC 3339), {data: name}, {at: local time} or {within: hours}")
        return _NO_INSTANT
    try:
        return parse_instant(place.value)
    except ValueError as fault:
        hint = "; a local time is written {at: ...}" if _is_local_time(place.value) else ""
        place.error("invalid_value", f"{fault}{hint}")
        return _NO_INSTANT


def read_hours(place: Place) -> Hours | None:
    """Read `{from, to, on?}`; None when it is no object."""
    before = len(place.problems)
    fields = place.fields(("from", "to"), ("on",))
    if not isinstance(place.value, dict):
        return None
    start, end = read_local_time(fields["from"]), read_local_time(fields["to"], closing=True)
    hours = Hours(start, end, read_days(fields["on"]))
    whole = start == end or (end.ends_day and start == _NO_TIME)
    if whole and hours.on == EVERY_DAY and len(place.problems) == before:
        place.problems.warning("never_used", place.path, "these hours are every hour of every day")
    return hours


def read_local_time(place: Place | None, *, closing: bool = False) -> LocalTime:
    """Read `HH:MM` or `HH:MM:SS`; midnight when it is wrong or absent."""
    if place is None:
        return _NO_TIME
    if not isinstance(place.value, str):
        place.wrong_type(f"a local time such as 09:00, in quotation marks{_misread(place.value)}")
        return _NO_TIME
    try:
        return parse_local_time(place.value, closing=closing)
    except ValueError as fault:
        place.error("invalid_value", str(fault))
        return _NO_TIME


def read_days(place: Place | None) -> Days:
    """Read days of the week or `working_days`; every day when it is wrong or absent."""
    if place is None or place.value == WORKING_DAYS:
        return EVERY_DAY if place is None else WORKING_DAYS
    if not isinstance(place.value, list):
        if isinstance(place.value, str):
            one = place.value in DAYS
            hint = f": [{place.value}]" if one else place.hint(place.value, (WORKING_DAYS, *DAYS))
            place.error("invalid_value", f"given {shown(place.value)}; wanted {_DAYS_WANTED}{hint}")
        else:
            place.wrong_type(_DAYS_WANTED)
        return EVERY_DAY
    if not place.value:
        place.error("invalid_value", f"given no day; wanted {_DAYS_WANTED}")
    found: set[str] = set()
    for each in place.items():
        day = each.choice(DAYS)
        if day in found:
            each.error("invalid_value", f"given {shown(day)} twice; wanted each day once")
        if day is not None:
            found.add(day)
    return frozenset(found) or EVERY_DAY


def _relative(place: Place) -> Until:
    """Read the object forms; which one is meant is told by its key."""
    assert isinstance(place.value, dict)
    given = [form for form in _FORMS if form in place.value]
    if len(given) > 1:
        named = " and ".join(repr(form) for form in given)
        place.error("conflicting_keys", f"given {named}; wanted one of data, at, within")
        return _NO_INSTANT
    if given == ["at"]:
        fields = place.fields(("at",), ("on",))
        return AtLocalTime(read_local_time(fields["at"]), read_days(fields["on"]))
    if given == ["within"]:
        inner = place.fields(("within",))["within"]
        hours = None if inner is None else read_hours(inner)
        return _NO_INSTANT if hours is None else Within(hours)
    if given == ["data"]:
        name = place.fields(("data",))["data"]
        return _NO_INSTANT if name is None else DataRef(name.identifier())
    for key in (key for key in place.value if key != "on"):
        hint = place.hint(key, (*_FORMS, "on")) or "; known here: data, at (with on), within"
        place.member(key).error("unknown_key", f"given the key {shown(key)}{hint}")
    beside = ", beside `on`" if "on" in place.value else ""
    place.error("missing_key", f"given none of data, at, within; wanted one{beside}")
    return _NO_INSTANT


def _misread(value: Json) -> str:
    """Tell of a number which time a reader of YAML 1.1 makes it of: to it 17:00 is 17 times 60."""
    if isinstance(value, bool) or not isinstance(value, int) or not 60 <= value < 86_400:
        return ""
    if value <= 1_440:
        meant = f"{value // 60:02}:{value % 60:02}"
    elif value >= 3_600:
        meant = f"{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}"
    else:
        return ""
    return f" (YAML 1.1 makes {value} of {meant})"


def _is_local_time(text: str) -> bool:
    try:
        parse_local_time(text)
    except ValueError:
        return False
    return True
