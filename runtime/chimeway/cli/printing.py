"""What commands write to stdout: JSON for programs, lines and tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chimeway.progression.instants import written

_PIPED_WIDTH: Final = 2_000
"""Nothing is cut off or folded for a program that reads lines."""


def print_json(value: Any) -> None:
    """Write a value as JSON, in the same form every time: names of fields as in Python and SQL."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: instants as RFC 3339 text in UTC, ids as text, views as objects."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case UUID():
            return str(value)
        case datetime():
            return written(value)
        case Mapping():
            return {str(key): plain(one) for key, one in value.items()}
        case _ if is_dataclass(value):
            return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case list() | tuple() | set() | frozenset():
            return [plain(one) for one in value]
        case _:
            raise AssertionError(f"{type(value).__name__} has no form in JSON")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under their columns' names; None is written as `-`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        # Ids stand first and are copied: they stay whole, and nothing else is cut off either.
        table.add_column(name, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _PIPED_WIDTH, highlight=False)
    if terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_line(text: str) -> None:
    """Write one line, whatever its data holds."""
    print(shown(text))


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
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))
