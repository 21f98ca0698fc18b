"""docs/http.md names every route of `/v1` with its scope, and every code that it may refuse with."""

import os
import re
from pathlib import Path
from typing import Any, Final

from chimeway.store.pool import Database
from chimeway.web.api.refusals import OWN, STATUS_OF
from kit.api import world

PAGE: Final = Path(__file__).parents[2] / "docs" / "http.md"
_ROUTES: Final = re.compile(r"(?<=\| operation \| scope \| \|\n\|---\|---\|---\|\n)(?:\|.*\n)*")
_CODES: Final = re.compile(r"(?<=\| code \| status \| \|\n\|---\|---\|---\|\n)(?:\|.*\n)*")


def _routes(description: Any) -> str:
    rows = [
        f"| `{method.upper()} {path}` | {one.get('x-scope', '')} | {_sentence(one)} |\n"
        for path, methods in description["paths"].items()
        for method, one in methods.items()
    ]
    return "".join(rows)


def _sentence(operation: Any) -> str:
    told = operation.get("description", "").split("\n\n")[0].replace("\n", " ")
    return told if operation["security"] else operation["summary"]


def _codes() -> str:
    own = "".join(f"| `{code}` | {status} | {told} |\n" for code, (status, told) in OWN.items())
    ours = "".join(f"| `{code}` | {status} | |\n" for code, status in STATUS_OF.items())
    return own + ours


async def test_the_page_has_what_there_is(database: Database) -> None:
    """Drawn from the description; CHIMEWAY_WRITE_GOLDEN=1 writes it."""
    async with world(database) as found:
        wanted = {_ROUTES: _routes(found.api.description()), _CODES: _codes()}
    text = PAGE.read_text("utf-8")
    drawn = text
    for place, table in wanted.items():
        drawn = place.sub(lambda _, table=table: table, drawn, count=1)
    if os.environ.get("CHIMEWAY_WRITE_GOLDEN"):
        PAGE.write_text(drawn, "utf-8")
        text = drawn
    assert text == drawn
    assert all(table in text for table in wanted.values())
