"""A report: each result as a file of values, a page and a plot, and the pages' index.

What people write into the index stays: only what lies between the two marks is replaced.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import plots, tables
from .result import Result, from_json, to_json
from .verdicts import judged

BEGIN = "<!-- drawn from the results -->"
END = "<!-- end of what is drawn -->"


def keep(result: Result, folder: Path) -> None:
    """Write a result's values."""
    where = folder / "results" / f"{_name(result)}.json"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(to_json(result), "utf-8")


def kept(folder: Path) -> list[Result]:
    """Return all results that are kept, by their codes."""
    found = (from_json(path.read_text("utf-8")) for path in (folder / "results").glob("*.json"))
    return sorted(found, key=lambda each: _key(each.code))


def write(folder: Path) -> None:
    """Write pages, plots and the index anew from the results that are kept."""
    results = kept(folder)
    for result in results:
        (folder / f"{_name(result)}.md").write_text("\n".join(page(result)) + "\n", "utf-8")
        (folder / f"{_name(result)}.svg").write_text(plots.svg(result), "utf-8")
    index = folder / "index.md"
    text = index.read_text("utf-8") if index.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    drawn = "\n".join(summary(results))
    index.write_text(f"{before}{BEGIN}\n\n{drawn}\n\n{END}{rest.partition(END)[2]}", "utf-8")


def page(result: Result) -> Iterator[str]:
    """Yield a result's page."""
    yield f"# {result.code}: {result.title}"
    yield f"\n{result.what}\n"
    yield from tables.markdown(tables.figure_rows(result))
    if result.ratios or result.targets:
        yield ""
        yield from tables.markdown(tables.judged_rows(result))
    yield f"\n{tables.how_sure(result)}"
    yield from (f"\n{note}" for note in result.notes)
    yield f"\n![Each pair as a dot, with medians and intervals]({_name(result)}.svg)\n"
    yield f"{_list(result.machine.items(), ', ')}; {result.took_s:.0f} s in all."
    if steady := tables.how_steady(result):
        yield f"\n{steady}"
    settings = ((f"`{name}", f"{value}`") for name, value in result.settings.items() if value)
    yield f"\nPostgreSQL: {_list(settings, ' ', '=')}"
    yield f"\nAll values: [results/{_name(result)}.json](results/{_name(result)}.json)."


def summary(results: Iterable[Result]) -> Iterator[str]:
    """Yield the table of all that was asked for, and a list of the pages."""
    shown = list(results)
    rows = [["bench", "ratio or target", "found", "asked", "reached"]]
    for result in shown:
        link = f"[{result.code}]({_name(result)}.md)"
        asked = [bool(each.target) for each in judged(result)]
        told = tables.judged_rows(result)[1:]
        rows += [[link, *row] for row, is_asked in zip(told, asked, strict=True) if is_asked]
    if len(rows) > 1:
        yield from tables.markdown(rows)
        yield ""
    for result in shown:
        measured = result.machine.get("measured", "?")
        yield f"- [{result.code}: {result.title}]({_name(result)}.md), measured {measured}"


def _list(pairs: Iterable[tuple[str, str]], between: str, is_: str = " ") -> str:
    return between.join(f"{name}{is_}{value}" for name, value in pairs if value)


def _name(result: Result) -> str:
    return result.code.lower()


def _key(code: str) -> tuple[int, str]:
    found = re.search(r"\d+", code)
    return (int(found[0]) if found else 0, code)
