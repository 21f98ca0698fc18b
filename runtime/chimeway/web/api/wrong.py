"""What is wrong with a request, field by field, in our words: what would be right, and never what was given.

The frame's words are those of a library ("List should have at least 1 item after validation, not 0"), and
where one of two kinds is wanted it names both by classes of ours, with a fault for each.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

_INSTANT: Final = "give an instant with its zone, like 2026-01-05T09:00:00Z"
_WHOLE: Final = "give a whole number"
_ID: Final = "give an id, like 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"
_RIGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "it is missing",
        "extra_forbidden": "nothing here has this name",
        "string_type": "give a text",
        "string_unicode": "give a text of Unicode characters",
        "string_pattern_mismatch": "it holds a character that may not be in it",
        "int_type": _WHOLE,
        "int_parsing": _WHOLE,
        "int_from_float": _WHOLE,
        "int_parsing_size": _WHOLE,
        "bool_type": "give true or false",
        "bool_parsing": "give true or false",
        "dict_type": "give an object",
        "model_type": "give an object",
        "model_attributes_type": "give an object",
        "list_type": "give an array",
        "uuid_type": _ID,
        "uuid_parsing": _ID,
        "datetime_type": _INSTANT,
        "datetime_parsing": _INSTANT,
        "datetime_from_date_parsing": _INSTANT,
        "timezone_aware": _INSTANT,
        "too_short": "give at least {min_length}",
        "too_long": "give at most {max_length}",
        "string_too_short": "give at least {min_length} characters",
        "string_too_long": "give at most {max_length} characters",
        "greater_than_equal": "give a number that is not less than {ge}",
        "less_than_equal": "give a number that is not greater than {le}",
        "literal_error": "give {expected}",
        "value_error": "{error}",
    }
)
"""A kind of fault → what would be right."""
_MOST: Final = 20


def told(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return of each field (`body.recipients.0`, say) what would be right: at most twenty, in their order."""
    found: dict[str, list[str]] = {}
    for fault in faults:
        right = _right(fault)
        found.setdefault(_field(fault["loc"]), [])
        if right not in found[_field(fault["loc"])]:
            found[_field(fault["loc"])].append(right)
    deepest = {
        field: words for field, words in found.items()
        if not (_of_two_kinds(field, faults) and any(other.startswith(f"{field}.") for other in found))
    }  # fmt: skip
    return [{"field": field, "detail": _joined(words)} for field, words in list(deepest.items())[:_MOST]]


def _right(fault: Mapping[str, Any]) -> str:
    words = _RIGHT.get(fault["type"])
    return str(fault["msg"]) if words is None else words.format(**fault.get("ctx", {}))


def _field(place: Sequence[str | int]) -> str:
    return ".".join(
        str(part) for number, part in enumerate(place) if not (number and _is_kind(place[number - 1], part))
    )


def _is_kind(before: str | int, part: str | int) -> bool:
    """Say whether a part of a place is no name, but one of the kinds that an item of an array may be of."""
    return isinstance(before, int) and isinstance(part, str) and (part[:1].isupper() or "-" in part)


def _of_two_kinds(field: str, faults: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a fault of this field is only that it is not of the other kind."""
    mine = [fault for fault in faults if _field(fault["loc"]) == field]
    return all(fault["type"] == "string_type" and _field(fault["loc"]) != ".".join(
        str(part) for part in fault["loc"]) for fault in mine)  # fmt: skip


def _joined(words: Sequence[str]) -> str:
    """Join what may be given instead: `give a text, or an object`."""
    return ", or ".join([words[0], *(each.removeprefix("give ") for each in words[1:])])
