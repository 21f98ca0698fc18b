"""What a body may be: JSON in UTF-8, each name once, not nested too deep, with numbers that can be held."""

import json
import math
import re
from typing import Any, Final

from chimeway.limits import MAX_JSON_DEPTH
from chimeway.web.limits import MAX_HTTP_VALUES

_LONGEST_NUMBER: Final = 100
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""One that never ends goes to the end: else each quote in it would be looked at as the beginning of another,
and all behind it read again, for hours."""
_BRACKET: Final = re.compile(rb"[\[\]{}]")


class NotJson(ValueError):  # noqa: N818  (it says what the text is not)
    """It is none, or none that we take; the text says why, and holds nothing of it."""


def read(body: bytes) -> Any:
    """Return what a body says, or raise NotJson."""
    _refuse_bombs(body)
    try:
        text = body.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_once_each,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8") from None
    except json.JSONDecodeError as fault:
        raise NotJson(f"{fault.msg} at character {fault.pos + 1}") from None
    except RecursionError:
        raise NotJson("it is nested too deep") from None


def canonical(value: Any) -> bytes:
    """Return a value's text, the same for the same value, whatever the order of its names."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _refuse_bombs(body: bytes) -> None:
    """Raise NotJson for what has too many values, or too deep ones, before anything is built of it."""
    opened = body.count(b"[") + body.count(b"{")
    if opened <= MAX_JSON_DEPTH and body.count(b",") <= MAX_HTTP_VALUES:
        return
    bare = _STRING.sub(b"", body)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_HTTP_VALUES:
        raise NotJson(f"it has more than {MAX_HTTP_VALUES} values")
    depth = 0
    for found in _BRACKET.finditer(bare):
        depth += 1 if found[0] in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise NotJson(f"it is nested deeper than {MAX_JSON_DEPTH}")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotJson("an object has a name twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise NotJson(f"a number has more than {_LONGEST_NUMBER} digits")
    return int(digits)


def _number(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER or not math.isfinite(number := float(digits)):
        raise NotJson("a number is too large, or has too many digits")
    return number


def _no_number(_: str) -> float:
    raise NotJson("there is no NaN and no Infinity in JSON")
