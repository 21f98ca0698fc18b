"""Tables for people: columns where they fit; on a narrow terminal one block for each row.

Nothing is ever cut off, and no cell is broken: an id can be copied from every form.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from chimeway.cli.printing import on_terminal, print_line, reckoned, shown, style_of, width
from chimeway.store.views import Page

_T = TypeVar("_T")
_GAP: Final = "  "
_DOT: Final = " · "
_COLOURED: Final = frozenset({"STATE", "WHY", "WHAT", "STATUS"})


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    lead: Sequence[int] = (0,),
    nothing: str = "nothing to list",
) -> None:
    """Write rows under their columns' names; None is written as `-`.

    Args:
        columns: their names.
        rows: a cell for each column.
        lead: the columns that open the block of a row where a terminal is too narrow for a table.
        nothing: what a terminal says where there are no rows; piped, the columns' names stand alone.
    """
    found = [tuple(row) for row in rows]
    if not on_terminal():
        for line in _aligned(columns, [[shown(cell) for cell in row] for row in found]):
            print(line.rstrip())
        return
    console = Console(highlight=False)
    cells = [[_cell(name, cell) for name, cell in zip(columns, row, strict=True)] for row in found]
    if not found:
        console.print(Text(nothing, "dim"))
    elif sum(_widths(columns, cells)) + len(_GAP) * (len(columns) - 1) <= width():
        _print_columns(console, columns, cells)
    else:
        for row in cells:
            _print_block(console, columns, row, lead)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        yield _GAP.join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True))


def _cell(column: str, value: object) -> Text:
    """Return a cell as a terminal shows it: states in colour, instants with how far off they are."""
    told = Text(shown(value), style_of(shown(value)) if column in _COLOURED else "")
    if isinstance(value, datetime):
        told.append(f" ({reckoned(value)})", "dim")
    return told


def _widths(columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> list[int]:
    return [
        max(cell_len(name), *(row[place].cell_len for row in cells)) for place, name in enumerate(columns)
    ]


def _print_columns(console: Console, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
    widths = _widths(columns, cells)
    for row in ([Text(name, "bold") for name in columns], *cells):
        line = Text()
        for cell, wide in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (wide - cell.cell_len) + _GAP)
        line.rstrip()
        console.print(line, soft_wrap=True)


def _print_block(console: Console, columns: Sequence[str], row: Sequence[Text], lead: Sequence[int]) -> None:
    """Write one row as a block: what leads it on a line of its own, the rest with names beneath."""
    head = Text(_GAP).join([row[place] for place in lead])
    for part in (head,) if head.cell_len <= width() else (row[place].copy() for place in lead):
        part.stylize("bold")
        console.print(part, soft_wrap=True)
    line = Text("  ")
    for place, (name, cell) in enumerate(zip(columns, row, strict=True)):
        if place in lead or cell.plain in ("-", ""):
            continue
        piece = Text.assemble((f"{name.lower()} ", "dim"), cell)
        if line.cell_len > 2 and line.cell_len + len(_DOT) + piece.cell_len > width():
            console.print(line, soft_wrap=True)
            line = Text("  ")
        elif line.cell_len > 2:
            line.append(_DOT, "dim")
        line.append_text(piece)
    if line.cell_len > 2:
        console.print(line, soft_wrap=True)


def tell_more(page: Page[_T]) -> None:
    """Say after a page how to get to the next one."""
    if page.cursor is not None:
        print_line(f"more: --cursor {page.cursor}")
