"""Whole error texts, kept in files that read well, and what every text of ours must keep to.

A file has one block for each case: its name after `#`, then the text, indented. To write the files
anew after a change of words: `CHIMEWAY_WRITE_GOLDEN=1 pytest tests/borders`, and read the diff.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "golden"
_LEAKS: Final = re.compile(
    r"<class|<built-in|object at 0x|Traceback|asyncpg|psycopg|pydantic|\.py\b|recursion"
)
LONGEST: Final = 1_000
"""Characters of a text about one fault: what was given is shown shortened, however long it is."""


def compare(border: str, told: Mapping[str, str], *, longest: int = LONGEST) -> None:
    """Hold each case's whole text against the file of its border."""
    path = _FOLDER / f"{border}.txt"
    if os.environ.get("CHIMEWAY_WRITE_GOLDEN"):
        path.write_text(_written(told), encoding="utf-8")
    for name, text in told.items():
        well_said(name, text, longest)
    kept = _read(path.read_text(encoding="utf-8"))
    assert {name: text.splitlines() for name, text in told.items()} == kept


def well_said(name: str, text: str, longest: int = LONGEST) -> None:
    """Hold a text to what holds for all: printable, not endless, nothing of the machinery in it."""
    assert text.strip(), f"{name}: nothing is said"
    assert len(text) <= longest, f"{name}: {len(text)} characters: {text[:200]}"
    assert all(line.isprintable() for line in text.splitlines()), (name, text)
    assert not (found := _LEAKS.search(text)), f"{name}: {found} leaks in {text}"


def _written(told: Mapping[str, str]) -> str:
    blocks = (
        f"# {name}\n" + "".join(f"    {line}\n" for line in text.splitlines()) for name, text in told.items()
    )
    return "\n".join(blocks)


def _read(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            found[line[2:]] = lines = []
        elif line:
            lines.append(line.removeprefix("    "))
    return found
