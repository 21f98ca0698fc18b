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
_LONGEST_NAME: Final = 200
"""Of a name that whoever asks made up: it may be as long as a body."""
_LOOKED_AT: Final = 2 * _MOST
"""Of a field there are two where one of two kinds is wanted; of a bad request there may be fifty thousand."""


def told(faults: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return of each field (`body.recipients.0`, say) what would be right: at most twenty, in their order."""
    some = faults[:_LOOKED_AT]
    fields = [_field(fault["loc"]) for fault in some]
    found: dict[str, list[str]] = {}
    for fault, field in zip(some, fields, strict=True):
        if _is_of_the_other_kind(fault) and any(other.startswith(f"{field}.") for other in fields):
            continue  # it is right of its kind, but for what is told of a field in it
        words = found.setdefault(field, [])
        if (right := _right(fault)) not in words:
            words.append(right)
    return [{"field": field, "detail": _joined(words)} for field, words in list(found.items())[:_MOST]]


def _right(fault: Mapping[str, Any]) -> str:
    words = _RIGHT.get(fault["type"])
    return str(fault["msg"]) if words is None else words.format(**fault.get("ctx", {}))


def _field(place: Sequence[str | int]) -> str:
    names = (str(part) for number, part in enumerate(place) if not _is_kind(place, number))
    return ".".join(name[:_LONGEST_NAME] for name in names)


def _is_kind(place: Sequence[str | int], number: int) -> bool:
    """Say whether a part of a place is no name, but one of the kinds that an item of an array may be of."""
    part = place[number]
    return (
        number > 0 and isinstance(place[number - 1], int)
        and isinstance(part, str) and (part[:1].isupper() or "-" in part)
    )  # fmt: skip


def _is_of_the_other_kind(fault: Mapping[str, Any]) -> bool:
    """Say whether what is wrong is only that an item is no text, which it might have been."""
    return fault["type"] == "string_type" and _is_kind(fault["loc"], len(fault["loc"]) - 1)


def _joined(words: Sequence[str]) -> str:
    """Join what may be given instead: `give a text, or an object`."""
    return ", or ".join([words[0], *(each.removeprefix("give ") for each in words[1:])])
