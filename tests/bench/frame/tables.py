"""A result as tables, for a terminal and as Markdown. Pure: the same text for the same result."""

from collections.abc import Iterator, Sequence

from .intervals import spread
from .result import Result
from .verdicts import Judged, in_short, judged
from .words import number, sure

_SIGNS = {"reached": "yes", "missed": "no", "not asked": "-", "not measured": "not measured"}


def figure_rows(result: Result) -> list[list[str]]:
    """Return a head, and a row for each side: medians of its figures, with their intervals."""
    head = ["side", *(f"{each.name}, {each.unit}" if each.unit else each.name for each in result.figures)]
    rows = []
    for side in result.rounds:
        cells = [
            in_short(spread(values), "") if (values := result.values(side, each.name)) else "-"
            for each in result.figures
        ]
        rows.append([side, *cells])
    return [head, *rows]


def judged_rows(result: Result) -> list[list[str]]:
    """Return a head, and a row for each ratio and each target."""
    return [["ratio or target", "found", "asked", "reached"], *map(_judged_row, judged(result))]


def _judged_row(each: Judged) -> list[str]:
    found = in_short(each.found, each.unit) if each.found else "-"
    word = each.verdict.partition(",")
    return [each.what, found, each.target or "-", _SIGNS[word[0]] + "".join(word[1:])]


def how_sure(result: Result) -> str:
    """Return a sentence that says what the parentheses are."""
    many = result.pairs
    return (
        f"Medians of {many} pairs; in parentheses what holds the true median in "
        f"{sure(spread([0.0] * many).confidence)} of such samples (order statistics)."
    )


def how_steady(result: Result) -> str | None:
    """Return a sentence that says how steady the machine was; None where nobody measured it."""
    found = result.steadiness
    if found is None:
        return None
    return (
        f"A loop that only adds, alone between the rounds, took {number(found.p50)} times as long as at"
        f" its best in the median, {number(found.p99)} times at p99, {number(found.worst)} at worst (10 ms"
        " windows): so steady was the machine."
    )


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines as Markdown; columns after the first are numbers, and stand to the right."""
    head, *others = rows
    yield _line(head)
    yield _line(["---", *("---:" for _ in head[1:])])
    yield from (_line(row) for row in others)


def terminal(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines in columns."""
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.ljust(wide[n]) if n == 0 else cell.rjust(wide[n]) for n, cell in enumerate(row)
        )
        yield "  ".join([first, *others]).rstrip()


def told(result: Result) -> Iterator[str]:
    """Yield a result for a terminal."""
    yield f"{result.code}  {result.title}"
    yield from (f"  {line}" for line in terminal(figure_rows(result)))
    if result.ratios or result.targets:
        yield ""
        yield from (f"  {line}" for line in terminal(judged_rows(result)))
    yield f"  {how_sure(result)}"
    if steady := how_steady(result):
        yield f"  {steady}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
