"""Whether a value is JSON that PostgreSQL can hold, before anybody asks what it means.

The copy made here is the only thing the readers see: plain dicts, lists, strings, numbers, of
bounded depth and size, sharing nothing with what the caller keeps. A value that was refused is
replaced by `REFUSED`, about which the readers say nothing more.
"""

import json
import math
from typing import Final

from chimeway.limits import MAX_DEFINITION_BYTES, MAX_JSON_DEPTH
from chimeway.workflow.definition import Json
from chimeway.workflow.problems import Problems, child, shown

SAFE_INTEGER: Final = 2**53 - 1
"""The greatest integer that every JSON implementation holds exactly (I-JSON, RFC 7493)."""


_MISREAD: Final = (
    ": YAML 1.1 reads on and yes as true, off and no as false, unless they stand in quotation marks"
)


class Refused:
    """The type of `REFUSED`: stands where a value was that has been complained about."""

    __slots__ = ()


REFUSED: Final = Refused()


class _Abandoned(Exception):  # noqa: N818  (not an error of anybody's: it ends the walk)
    """The value is too large to be looked at any further."""


def sound_copy(raw: object, problems: Problems) -> Json:
    """Return a plain copy of `raw`, or `REFUSED` when it is too large to be read at all."""
    walk = _Walk(problems)
    try:
        copy = walk.copy(raw, "", 1)
    except _Abandoned:
        problems.error("too_large", "", f"given more than {MAX_DEFINITION_BYTES} bytes of JSON, the limit")
        return REFUSED
    if not problems.any_error():
        _refuse_excess(copy, problems)
    return copy


def string_fault(text: str) -> str | None:
    """Return why PostgreSQL could not hold this string, or None."""
    if "\0" in text:
        return "holds the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return None


class _Walk:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._budget = MAX_DEFINITION_BYTES

    def copy(self, value: object, path: str, depth: int) -> Json:
        # The depth is bounded below, so recursion is safe; the budget bounds shared references.
        self._spend(1)
        match value:
            case None | bool() | Refused():
                return value
            case str():
                return self._string(value, path)
            case int() | float():
                return self._number(value, path)
            case list() | tuple() | dict() if depth > MAX_JSON_DEPTH:
                return self._refuse("too_deep", path, f"nested more than {MAX_JSON_DEPTH} levels deep")
            case list() | tuple():
                return [self.copy(v, child(path, i), depth + 1) for i, v in enumerate(value)]
            case dict():
                return self._object(value, path, depth)
            case _:
                return self._refuse("wrong_type", path, f"given {shown(value)}; wanted JSON")

    def _object(self, value: dict[object, object], path: str, depth: int) -> dict[str, Json]:
        copy: dict[str, Json] = {}
        for key, member in value.items():
            if isinstance(key, Refused):
                continue
            if not isinstance(key, str):
                misread = _MISREAD if isinstance(key, bool) else ""
                self._refuse("wrong_type", path, f"given the key {shown(key)}; keys are strings{misread}")
                continue
            name = str.__str__(key)
            self._spend(len(name))
            if fault := string_fault(name):
                self._refuse("invalid_value", path, f"the key {shown(name)} {fault}")
                continue
            copy[name] = self.copy(member, child(path, name), depth + 1)
        return copy

    def _string(self, value: str, path: str) -> str | Refused:
        text = str.__str__(value)
        self._spend(len(text))
        if fault := string_fault(text):
            return self._refuse("invalid_value", path, f"given {shown(text)}, which {fault}")
        return text

    def _number(self, value: float, path: str) -> float | Refused:
        number = int(value) if isinstance(value, int) else float(value)
        if isinstance(number, float) and not math.isfinite(number):
            return self._refuse("invalid_value", path, f"given {shown(number)}; JSON has finite numbers only")
        if abs(number) > SAFE_INTEGER:
            return self._refuse(
                "invalid_value",
                path,
                f"given {shown(number)}; numbers beyond 2**53 - 1 are not held exactly by every "
                "JSON reader (I-JSON): write it as a string",
            )
        return number

    def _refuse(self, code: str, path: str, message: str) -> Refused:
        self._problems.error(code, path, message)
        return REFUSED

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise _Abandoned


def _refuse_excess(copy: Json, problems: Problems) -> None:
    size = len(json.dumps(copy, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_DEFINITION_BYTES:
        problems.error("too_large", "", f"given {size} bytes of JSON; the limit is {MAX_DEFINITION_BYTES}")
