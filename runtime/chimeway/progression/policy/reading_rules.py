"""Reading quiet hours and caps: one of them or a list, each an object of a few keys.

Both are replaced as a whole, so null removes them only as a whole.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeVar

from chimeway.limits import MAX_CAP_LIMIT, MAX_CAPS, MAX_QUIET_HOURS
from chimeway.progression.policy.preferences import INBOX, Cap, QuietHours
from chimeway.progression.policy.spot import Spot
from chimeway.workflow.calendar import DAYS, EVERY_DAY, LocalTime, WeeklyWindow, parse_local_time
from chimeway.workflow.durations import Duration, parse_duration

_Rule = TypeVar("_Rule", QuietHours, Cap)
_HOURS: Final = 'give {"from": "22:00", "to": "07:00"}, or a list of such'
_FROM: Final = 'give a local time from "00:00" to "23:59"'
_TO: Final = 'give a local time from "00:00" to "24:00"'
_DAY_LIST: Final = 'give a list of days, such as ["mon", "tue"]'
_DAY: Final = f"give one of {', '.join(DAYS)}"
_CHANNEL_LIST: Final = 'give a list of channels, such as ["email"]'
_CAPS: Final = 'give {"channel": "email", "limit": 3, "per": "PT24H", "then": "delay"}, or a list of such'
_CHANNEL: Final = "give the name of a channel"
_LIMIT: Final = f"give a whole number from 1 to {MAX_CAP_LIMIT}"
_PER: Final = 'give an ISO 8601 duration of more than zero and at most ten years, such as "PT24H"'
_THENS: Final = ("delay", "drop")
_THEN: Final = 'give "delay" or "drop"'


def read_quiet_hours(spot: Spot, cut: int, removable: str) -> tuple[QuietHours, ...] | None:
    """Read `quiet_hours`; None when nothing of them can be read.

    Args:
        spot: where they stand.
        cut: how much of a path is left out where a statement names its place.
        removable: what hints say of null.
    """
    spots = _one_or_more(spot, _HOURS, removable, MAX_QUIET_HOURS)
    return _readable(spot, [_hours(each, cut) for each in spots])


def read_caps(spot: Spot, cut: int, removable: str) -> tuple[Cap, ...] | None:
    """Read `caps`, in the same way."""
    spots = _one_or_more(spot, _CAPS, removable, MAX_CAPS)
    return _readable(spot, [_cap(each, cut) for each in spots])


def _one_or_more(spot: Spot, hint: str, removable: str, most: int) -> Iterator[Spot]:
    if isinstance(spot.value, dict):
        spots = [spot]
    elif isinstance(spot.value, list):
        if len(spot.value) > most:
            spot.refuse(f"give at most {most}")
        spots = list(spot.items())[:most]
    else:
        spot.refuse(hint + removable)
        spots = []
    for each in spots:
        if isinstance(each.value, dict):
            yield each
        else:
            each.refuse(hint.removesuffix(", or a list of such"))


def _readable(spot: Spot, read: list[_Rule | None]) -> tuple[_Rule, ...] | None:
    found = tuple(rule for rule in read if rule is not None)
    return found if found or spot.value == [] else None


def _hours(spot: Spot, cut: int) -> QuietHours | None:
    opening, closing, days, channels = spot.members(("from", "to", "days", "channels"))
    start = _time(spot, "from", opening)
    end = _time(spot, "to", closing)
    on = EVERY_DAY if days is None else _words(days, _DAY_LIST, _DAY)
    where = None if channels is None else _disturbing(channels)
    if start is None or end is None or not on or where == frozenset():
        return None
    window = WeeklyWindow(start, end, on)
    if window.is_always_open():
        spot.fault("never ends", "switch channels off instead")
        return None
    return QuietHours(window, where, spot.path[cut:])


def _time(spot: Spot, key: Literal["from", "to"], given: Spot | None) -> LocalTime | None:
    hint = _FROM if key == "from" else _TO
    if given is None:
        spot.lacks(key, hint)
    elif not isinstance(given.value, str):
        given.refuse(hint)
    else:
        try:
            return parse_local_time(given.value, closing=key == "to")
        except ValueError:
            given.refuse(hint)
    return None


def _words(spot: Spot, list_hint: str, hint: str) -> frozenset[str]:
    if not isinstance(spot.value, list) or not spot.value:
        spot.refuse(list_hint)
        return frozenset()
    return _all_or_none([each.word(DAYS, hint) for each in spot.items()])


def _disturbing(spot: Spot) -> frozenset[str]:
    if not isinstance(spot.value, list) or not spot.value:
        spot.refuse(_CHANNEL_LIST)
        return frozenset()
    named = []
    for each in spot.items():
        if each.value == INBOX:
            each.refuse("leave it out: the inbox disturbs nobody")
        named.append(None if each.value == INBOX else each.name())
    return _all_or_none(named)


def _all_or_none(words: Sequence[str | None]) -> frozenset[str]:
    found = frozenset(word for word in words if word is not None)
    return frozenset() if None in words else found


def _cap(spot: Spot, cut: int) -> Cap | None:
    channel_at, limit_at, per_at, then_at = spot.members(("channel", "limit", "per", "then"))
    channel = None if channel_at is None else channel_at.name()
    if channel_at is None:
        spot.lacks("channel", _CHANNEL)
    limit, per = _limit(spot, limit_at), _per(spot, per_at)
    then = None if then_at is None else then_at.word(_THENS, _THEN)
    if then_at is None:
        spot.lacks("then", _THEN)
    elif channel == INBOX and then == "delay":
        then_at.refuse('give "drop": the inbox disturbs nobody, and is never delayed')
        return None
    if channel is None or limit is None or per is None or then is None:
        return None
    return Cap(channel, limit, per[0], per[1], "delay" if then == "delay" else "drop", spot.path[cut:])


def _limit(spot: Spot, given: Spot | None) -> int | None:
    if given is None:
        spot.lacks("limit", _LIMIT)
    elif (
        isinstance(given.value, bool)
        or not isinstance(given.value, int)
        or not 1 <= given.value <= MAX_CAP_LIMIT
    ):
        given.refuse(_LIMIT)
    else:
        return given.value
    return None


def _per(spot: Spot, given: Spot | None) -> tuple[Duration, str] | None:
    if given is None:
        spot.lacks("per", _PER)
    elif not isinstance(given.value, str):
        given.refuse(_PER)
    else:
        try:
            return parse_duration(given.value), given.value
        except ValueError:
            given.refuse(_PER)
    return None
