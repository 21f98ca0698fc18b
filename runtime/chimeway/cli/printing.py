"""What commands write: JSON for programs, lines and sentences for people. `tables` writes tables.

Piped, output is plain and the same on every machine. On a terminal it is fitted to the width, and an
instant also says how long ago it was, or how long it will be.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from rich.console import Console
from rich.text import Text

from chimeway.cli.streams import json_text
from chimeway.clock import SystemClock
from chimeway.progression.instants import written
from chimeway.workflow.telling import visible

_NARROWEST: Final = 40
"""Text is not folded to less than this: the terminal breaks it as it can."""
_STYLES: Final[Mapping[str, str]] = {
    "active": "cyan",
    "pending": "cyan",
    "dispatched": "cyan",
    "waiting": "yellow",
    "suppressed": "yellow",
    "waiting_for_node": "yellow",
    "completed": "green",
    "succeeded": "green",
    "stopped": "magenta",
    "cancelled": "magenta",
    "failed": "red",
    "stuck": "red",
    "held": "red",
    "overdue": "red",
}


class Progress(Protocol):
    """Called with how far a long piece of work has come."""

    def __call__(self, told: str) -> None:
        """Say it, in the place of what was said before."""


def print_json(value: Any) -> None:
    """Write a value as JSON, in the same form every time: names of fields as in Python and SQL."""
    print(json_text(plain(value), sys.stdout, indent=2))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: instants as RFC 3339 text in UTC, ids as text, views as objects."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case UUID():
            return str(value)
        case datetime():
            return written(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case _ if is_dataclass(value):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
        case _:
            raise AssertionError(f"{type(value).__name__} has no form in JSON")


def print_line(text: str, *, style: str = "") -> None:
    """Write one line, whatever its data holds; on a terminal in this style, and folded if need be."""
    if style and on_terminal():
        told = "\n".join(folded(shown(text), width(), "  "))
        Console(highlight=False).print(Text(told, style), soft_wrap=True)
    else:
        print(shown(text))


def print_sentence(text: str, *, indent: str = "") -> None:
    """Write a sentence: one line where it is piped, folded between words on a terminal."""
    told = indent + shown(text)
    print("\n".join(folded(told, width(), indent + "  ")) if on_terminal() else told)


def on_terminal() -> bool:
    """Tell whether people read this as it is written."""
    return sys.stdout.isatty()


def width() -> int:
    """Return how many columns a terminal has."""
    return max(Console().width, _NARROWEST)


def folded(text: str, columns: int, hanging: str) -> list[str]:
    """Return a text in lines of at most so many columns; no word is ever broken, so ids can be copied."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= columns or not lines[-1].strip():
            lines[-1] += " " + word
        else:
            lines.append(hanging + word)
    return lines


def style_of(text: str) -> str:
    """Return the colour of a state, or of what became of a message."""
    return _STYLES.get(text.partition(",")[0], "")


def shown(value: object) -> str:
    """Return a value as people read it; what would move a terminal's cursor is made visible."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        in_utc = value.astimezone(UTC)
        precision = "milliseconds" if in_utc.microsecond else "seconds"
        return in_utc.isoformat(" ", precision).replace("+00:00", "Z")
    if isinstance(value, list | tuple):
        return ", ".join(shown(one) for one in value) or "-"
    return visible(str(value))


def reckoned(at: datetime) -> str:
    """Return how far off an instant is, by this machine's clock: "in 1 h 20 min", "3 d 4 h ago"."""
    off = at - SystemClock().now()
    return f"in {span(off)}" if off > timedelta(0) else f"{span(-off)} ago"


def span(length: timedelta) -> str:
    """Return a length of time in its greatest unit and the one below, rounded down: "1 h 20 min"."""
    seconds = int(length.total_seconds())
    parts = [(seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min")]
    first = next((place for place, (many, _) in enumerate(parts) if many), None)
    if first is None:
        return f"{seconds % 60} s"
    return " ".join(f"{many} {unit}" for many, unit in parts[first : first + 2] if many)


@contextmanager
def progress(doing: str) -> Iterator[Progress]:
    """Say on a terminal's stderr what is being done, and how far it has come; else say nothing."""
    with Console(stderr=True).status(doing) as status:
        yield lambda told: status.update(f"{doing}, {told}")
