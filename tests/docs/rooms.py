"""The plan of the house, drawn from the code: `python -m tests.docs.rooms` writes it into the page.

The rings come from the import contract, the sentences from the modules' own docstrings; so the page
cannot say what the code does not.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "runtime" / "chimeway"
PAGE = ROOT / "docs" / "architecture.md"
_DRAWN = re.compile(r"(<!-- drawn from the code -->\n).*?(<!-- end of what is drawn -->)", re.DOTALL)


def rings() -> list[list[str]]:
    """Return the rooms of each ring, the uppermost first, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[re.sub(r"[()]|chimeway\.", "", room).strip() for room in layer.split("|")] for layer in layers]


def sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(told.split("\n\n")[0].split())


def drawn() -> str:
    """Return the plan: the rings, and what each room and each file in it is for."""
    return "\n".join(_drawn())


def _drawn() -> Iterator[str]:
    yield "```text"
    yield from (" | ".join(room for room in ring) for ring in rings())
    yield "```\n"
    for room in (room for ring in rings() for room in ring):
        if (PACKAGE / room).is_dir():
            yield f"### `{room}/`\n\n{sentence(PACKAGE / room / '__init__.py')}\n"
            yield from _files(PACKAGE / room)
            yield ""
        elif (PACKAGE / f"{room}.py").exists():
            yield f"### `{room}.py`\n\n{sentence(PACKAGE / f'{room}.py')}\n"


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":
            yield f"- `{path.relative_to(folder).as_posix()}`: {sentence(path)}"


def page_with_plan() -> str:
    """Return the page as it should be."""
    text = PAGE.read_text("utf-8")
    return _DRAWN.sub(lambda found: f"{found[1]}\n{drawn().strip()}\n\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page_with_plan(), "utf-8")
