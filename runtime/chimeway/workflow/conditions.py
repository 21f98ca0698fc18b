"""Whether a signal fits a condition: equality as PostgreSQL's jsonb understands it.

Only the `match` of a condition is judged here. Whether the type is right, and whether the signal is
recent enough for `since`, is asked by those who hold the mailbox.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, assert_never

from chimeway.workflow.definition import (
    Condition,
    DataRef,
    DeliveryRef,
    Json,
    LiteralValue,
    MatchTerm,
)

_MISSING: Final = object()


def matches(condition: Condition, *, payload: Json, data: Json, delivery_ids: Mapping[str, object]) -> bool:
    """Tell whether a signal's payload has every value that `condition.match` wants.

    `data` is the trigger's data, `delivery_ids` the latest delivery of each step that has one. A
    missing field or reference matches nothing, not even another missing one; a payload that is no
    object matches only an empty `match`.
    """
    if not condition.match:
        return True
    if not isinstance(payload, dict):
        return False
    for name, term in condition.match:
        wanted = _wanted(term, data, delivery_ids)
        given = payload.get(name, _MISSING)
        if wanted is _MISSING or given is _MISSING or not json_equal(given, wanted):
            return False
    return True


def json_equal(left: Json, right: Json) -> bool:
    """Tell whether two JSON values are equal as jsonb: 1 is 1.0, true is not 1.

    Numbers are compared exactly, a float being the decimal that it is written as. Does not recurse:
    the depth of what comes in is not our choice.
    """
    open_pairs = [(left, right)]
    while open_pairs:
        one, other = open_pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            open_pairs.extend((value, other[name]) for name, value in one.items())
        elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
            if len(one) != len(other):
                return False
            open_pairs.extend(zip(one, other, strict=True))
        elif not _scalars_equal(one, other):
            return False
    return True


def _wanted(term: MatchTerm, data: Json, delivery_ids: Mapping[str, object]) -> Json:
    match term:
        case LiteralValue(value):
            return value
        case DataRef(name):
            return data.get(name, _MISSING) if isinstance(data, Mapping) else _MISSING
        case DeliveryRef(step_id):
            found = delivery_ids.get(step_id)
            return _MISSING if found is None else str(found)
        case _:
            assert_never(term)


def _scalars_equal(one: Json, other: Json) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one == other
    numbers = (int, float, Decimal)
    if not isinstance(one, numbers) or not isinstance(other, numbers):
        return False
    return _exact(one) == _exact(other)


def _exact(number: float | Decimal) -> int | Decimal:
    # The database got a float as the text that json wrote: its repr.
    return Decimal(repr(float(number))) if isinstance(number, float) else number
