"""The code blocks of the documents, as a reader would use them: files written, commands run, in order.

A page has one folder and one database, with the schema. What a block is run as follows from its language:

| language        | what is done                                                                         |
|-----------------|--------------------------------------------------------------------------------------|
| python          | run; blocks with tests (`def test_...`) by pytest, together, at the page's end       |
| sql             | sent through psql, statement by statement                                            |
| console         | each line after `$ ` is run by bash; `... &` stays until the page ends               |
| yaml, json      | a definition is checked, anything else parsed                                        |
| toml            | parsed; as chimeway.toml read as settings                                            |
| jinja           | compiled as a template                                                               |
| text            | is no code                                                                           |

Before a block may stand a comment: `<!-- file: NAME -->` writes it to the page's folder, too;
`<!-- not run: REASON -->` leaves it out. `postgresql://localhost/app` stands for the page's database, and
`127.0.0.1:8420` for where its node answers.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<order>file|not run): (?P<value>.+?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
DATABASE: Final = "postgresql://localhost/app"
"""How a document names the reader's database."""
NODE: Final = "127.0.0.1:8420"
"""How a document names where the reader's node answers."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: where it stands, in what language, and what its comment says."""

    page: Path
    line: int
    language: str
    text: str
    file: str | None
    left_out: str | None

    def __str__(self) -> str:
        """Return where it stands, as an editor finds it."""
        return f"{self.page.name}:{self.line} ({self.language})"


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in their order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("language")) + 1,
            language=found["language"],
            text=re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            file=found["value"] if found["order"] == "file" else None,
            left_out=found["value"] if found["order"] == "not run" else None,
        )
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[str]:
    """Return the commands of a console block: what stands after `$ `, with continued lines."""
    found: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(line.removeprefix("$ "))
        elif found and (found[-1].endswith("\\") or line.startswith("> ")):
            found[-1] += "\n" + line.removeprefix("> ")
    return found


def has_tests(block: Block) -> bool:
    """Tell whether a Python block is for pytest."""
    return bool(re.search(r"^\s*(async )?def test_", block.text, re.MULTILINE))
