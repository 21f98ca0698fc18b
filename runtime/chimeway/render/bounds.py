"""How much one part of a message may cost to make: turns, calls, and characters. Pure.

Everything that a template makes is counted when it is made: texts by their characters, lists and
objects by all that is in them. So what exists at any moment is bounded by what has been made so far, and
what is made of something (a repetition, a padding, a join) is measured before it is made.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import MAX_RANGE

from chimeway.limits import MESSAGE_BYTES, RENDER_CHARS
from chimeway.render.locales import Tags

_WIDEST: Final = 10_000
"""The widest padding of a number or a text that a format may ask for."""
_BITS: Final = 4_096
"""An integer of more bits is no number of a message; multiplied by itself it would fill the memory."""
_THING: Final = 16
"""What a thing in a list counts, in characters."""
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|[0-9]+)?(?:\.(\*|[0-9]+))?")
_BRACES: Final = re.compile(r"\{[^{}]*(?:\{|[0-9]{5})")


@dataclass(slots=True)
class Budget:
    """What is left for the part that is being made, and for whom it is made."""

    tags: Tags = ()
    turns: int = MAX_RANGE
    characters: int = RENDER_CHARS
    root: Context | None = None
    """What the message's own template runs in, and not its includes."""


budget: Final[ContextVar[Budget | None]] = ContextVar("budget", default=None)
"""The part's own. None: nothing is being rendered, and constants are folded by the compiler."""


def spend(turns: int, characters: int = 0) -> None:
    """Count, and stop where there is nothing left."""
    left = budget.get()
    if left is None:
        return
    left.turns -= turns
    left.characters -= characters
    if left.turns < 0:
        raise SecurityError(f"more than {MAX_RANGE} turns of loops and calls")
    if left.characters < 0:
        raise SecurityError(f"more than {RENDER_CHARS} characters are made on the way to the message")


def weighed(made: Any) -> Any:
    """Count what was made, and return it."""
    if isinstance(made, str):
        spend(0, len(made))
    elif isinstance(made, list | tuple | Mapping):
        spend(0, _things_in(made))
    return made


def _things_in(made: Any) -> int:
    """Count all that is in a list or an object, as often as it would be written; stop at the bound."""
    found, waiting = 0, [made]
    while waiting and found <= RENDER_CHARS:
        one = waiting.pop()
        found += _THING
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, str):
            found += len(one) // 8  # a reference is no copy, and yet printing all of them is
    return found


def _read(given: tuple[Any, ...]) -> int:
    """Say what it counts to read through what is given, which a loop may ask for again and again."""
    return sum(len(one) // 8 for one in given if isinstance(one, str | list | tuple | Mapping))


def checked_product(left: Any, right: Any) -> None:
    """Refuse a repetition, or a number, that would be too long."""
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _BITS:
            raise SecurityError("a number is too large")
        return
    for many, of in ((left, right), (right, left)):
        if isinstance(many, int) and isinstance(of, str | list | tuple):
            _at_most(many * len(of), "a repetition is too long")


def checked_power(base: Any, exponent: Any) -> None:
    """Refuse a power that would be too large."""
    if not (abs(base) <= MAX_RANGE and abs(exponent) <= 32):
        raise SecurityError("a power is too large")


def checked_percent(text: Any) -> None:
    """Refuse `"%1000000d" % n`: a format whose widths are large, or are data."""
    if isinstance(text, str):
        for found in _PERCENT.finditer(text):
            for width in filter(None, found.groups()):
                if width == "*" or int(width[:6]) > _WIDEST:
                    raise SecurityError("a format is too wide")


def checked_call(called: Any, args: tuple[Any, ...]) -> None:
    """Refuse calls of a text's methods whose answer would be too long."""
    text = getattr(called, "__self__", None)
    if not isinstance(text, str):
        return
    spend(0, _read((text,)))
    match getattr(called, "__name__", ""):
        case "center" | "ljust" | "rjust" | "zfill":
            _narrow(args[:1])
        case "replace":
            _replaced(text, *args[:2])
        case "join":
            _joined(args[0] if args else (), text)


def checked_braces(called: Any) -> None:
    """Refuse `"{:>1000000}".format`: a format whose widths are large, or are data."""
    if _BRACES.search(getattr(called, "__self__", "")):
        raise SecurityError("a format is too wide, or its width is data")


def bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter of Jinja2's that is counted, and measured before where it makes long things."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0
    measure = _MEASURES.get(name)

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        spend(1, _read(args[first : first + 1]))
        if measure is not None:
            measured = list(args)
            measure(measured, first, kwargs)
            args = tuple(measured)
        return weighed(function(*args, **kwargs))

    return counted


def _narrow(widths: Iterable[Any]) -> None:
    for width in widths:
        if isinstance(width, int) and abs(width) > MESSAGE_BYTES:
            raise SecurityError("a width is too large")


def _at_most(size: int, told: str) -> None:
    if size > MESSAGE_BYTES:
        raise SecurityError(told)


def _replaced(text: str, old: Any = "", new: Any = "") -> None:
    if isinstance(old, str) and isinstance(new, str) and len(new) > len(old):
        _at_most(text.count(old) * len(new), "a replacement is too long")


def _joined(pieces: Any, between: Any) -> None:
    if isinstance(pieces, list | tuple):
        each = len(between) if isinstance(between, str) else 0
        size = sum(each + (len(one) if isinstance(one, str) else 1) for one in pieces)
        _at_most(size, "a join is too long")


def _of_width(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    _narrow([*args[first + 1 :], *kwargs.values()])


def _of_indent(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    width = kwargs.get("width", args[first + 1] if len(args) > first + 1 else 4)
    size = len(width) if isinstance(width, str) else width
    _at_most((str(args[first]).count("\n") + 1) * size, "an indentation is too wide")


def _of_json(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    indent = kwargs.get("indent", args[first + 1] if len(args) > first + 1 else None)
    if isinstance(indent, int) and indent > 16:
        raise SecurityError("an indentation is too wide")


def _of_format(args: list[Any], first: int, _kwargs: Mapping[str, Any]) -> None:
    checked_percent(args[first])


def _of_replace(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    given = [str(args[first]), *args[first + 1 : first + 3]]
    _replaced(*given[:3], **{name: kwargs[name] for name in ("old", "new") if name in kwargs})


def _of_join(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    if not isinstance(args[first], str | list | tuple | Mapping):
        args[first] = weighed(list(args[first]))  # what is made as it is asked for would be gone
    _joined(args[first], kwargs.get("d", args[first + 1] if len(args) > first + 1 else ""))


def _of_sum(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    start = kwargs.get("start", args[first + 2] if len(args) > first + 2 else 0)
    if not isinstance(start, int | float):
        raise SecurityError("sum adds numbers")  # lists would be copied as often as there are lists


def _of_wrap(args: list[Any], first: int, kwargs: Mapping[str, Any]) -> None:
    for one in (*args[first + 1 :], *kwargs.values()):
        if isinstance(one, str):
            _at_most(len(one) * len(str(args[first])), "a wrapping is too long")


_MEASURES: Final[Mapping[str, Callable[[list[Any], int, Mapping[str, Any]], None]]] = {
    "batch": _of_width,
    "center": _of_width,
    "format": _of_format,
    "indent": _of_indent,
    "join": _of_join,
    "replace": _of_replace,
    "slice": _of_width,
    "sum": _of_sum,
    "tojson": _of_json,
    "wordwrap": _of_wrap,
}
