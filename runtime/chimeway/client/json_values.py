"""JSON that callers give as Python values: copied, and judged as the database will judge it.

Pure. What is let through here, `chimeway.check_object` lets through: a refusal there would end a
transaction that a caller has lent. So sizes are those of the text that jsonb writes, and numbers are
written out as it writes them.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from chimeway.errors import InvalidInput
from chimeway.limits import MAX_DATA_BYTES, MAX_JSON_DEPTH
from chimeway.workflow.problems import child, shown
from chimeway.workflow.soundness import string_fault

_DIGITS: Final = 300
"""So many digits in a row are more than other programs read; the database refuses them."""
_TOO_LONG: Final = 10 ** (_DIGITS - 1)
_ELSEWHERE: Final = "keep large things elsewhere and pass their ids"


class _TooLarge(Exception):  # noqa: N818  (it ends the walk, and is told of in full)
    """There is more than the limit allows."""


def json_object(field: str, value: object, path: str | None = None) -> dict[str, Any]:
    """Return a mapping as a plain dict that JSON, and PostgreSQL's jsonb, can hold; None is {}.

    Args:
        field: its name in messages.
        value: the mapping.
        path: what stands before the names of its members in messages; without it `field`.

    Raises:
        InvalidInput: a value in it is none, or there are too many.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise refused(field, quoted(value), "give a mapping, such as {}")
    walk = _Walk()
    try:
        found = walk.object(value, field if path is None else path, 1)
    except _TooLarge:
        hint = f"at most {MAX_DATA_BYTES} bytes; {_ELSEWHERE}"
        raise refused(field, f"more than {MAX_DATA_BYTES} bytes of JSON", hint) from None
    size = stored_size(found) + walk.longer
    if size > MAX_DATA_BYTES:
        raise refused(field, f"{size} bytes of JSON", f"at most {MAX_DATA_BYTES} bytes; {_ELSEWHERE}")
    return found


def refused(field: str, given: str, hint: str) -> InvalidInput:
    """Return the error: which field, what was given, what would be right."""
    return InvalidInput(f"{field} is {given}: {hint}", field=field, hint=hint)


def quoted(value: object) -> str:
    """Return how a given value is quoted in a message: short, printable, in Python's words."""
    return repr(value) if value is None or isinstance(value, bool) else shown(value)


def stored_size(value: Any) -> int:
    """Return the bytes of JSON as PostgreSQL writes it, but for numbers that Python shortens."""
    return len(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")).encode())


class _Walk:
    """Copies, and counts what it meets: shared references may say much in little memory."""

    def __init__(self) -> None:
        self.longer = 0
        self._left = MAX_DATA_BYTES

    def object(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        self._deepen(path, depth)
        copy: dict[str, Any] = {}
        for key, member in value.items():
            if not isinstance(key, str):
                raise refused(f"a key in {path}" if path else "a key", quoted(key), "keys are texts")
            name = str.__str__(key)
            self._spend(len(name) + 3)
            if fault := string_fault(name):
                raise InvalidInput(f"a key in {path} {fault}: {quoted(name)}; leave it out", field=path)
            copy[name] = self._copy(member, child(path, name), depth + 1)
        return copy

    def _copy(self, value: Any, path: str, depth: int) -> Any:
        self._spend(1)
        match value:
            case None | bool():
                return value
            case str():
                return self._text(str.__str__(value), path)
            case int():
                return _integer(int(value), path)
            case float():
                return self._float(float(value), path)
            case list() | tuple():
                self._deepen(path, depth)
                return [self._copy(each, child(path, place), depth + 1) for place, each in enumerate(value)]
            case Mapping():
                return self.object(value, path, depth)
            case _:
                hint = "give JSON values only; write instants as RFC 3339 text, ids and numbers as text"
                raise refused(path, quoted(value), hint)

    def _text(self, text: str, path: str) -> str:
        self._spend(len(text))
        if fault := string_fault(text):
            raise InvalidInput(f"{path} {fault}: {quoted(text)}; leave it out", field=path)
        return text

    def _float(self, number: float, path: str) -> float:
        if not math.isfinite(number):
            raise refused(path, quoted(number), "JSON has finite numbers only; leave it out")
        written = format(Decimal(repr(number)), "f") if number else "0.0"  # jsonb has no minus zero
        if any(len(part) >= _DIGITS for part in written.lstrip("-").split(".")):
            raise _too_long(number, path)
        self.longer += len(written) - len(repr(number))
        return number

    def _deepen(self, path: str, depth: int) -> None:
        if depth > MAX_JSON_DEPTH:
            where = path if len(path) <= 60 else f"{path[:60]}..."
            raise refused(where, "nested too deep", f"at most {MAX_JSON_DEPTH} levels")

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLarge


def _integer(number: int, path: str) -> int:
    if abs(number) >= _TOO_LONG:
        raise _too_long(number, path)
    return number


def _too_long(number: float, path: str) -> InvalidInput:
    given = f"{quoted(number)}, a number of {_DIGITS} digits or more"
    return refused(path, given, "write it as text")
