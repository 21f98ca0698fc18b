"""docs/http.md names every route of `/v1` and every code; what programs hold on to stays as it is."""

import os
import re
from pathlib import Path
from typing import Any, Final

from chimeway.store.pool import Database
from chimeway.web.api.refusals import OWN, STATUS_OF
from kit.api import world
from kit.golden import agrees

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


def _names(description: Any) -> str:
    """Return what clients in other languages are made of: ids, parameters, fields; and what must be there."""
    lines = []
    for path, methods in description["paths"].items():
        for method, one in methods.items():
            given = [f"{each['name']}{_must(each.get('required'))}" for each in one.get("parameters", ())]
            lines.append(f"{one['operationId']}: {method.upper()} {path} ({', '.join(given)})")
    for name, schema in sorted(description["components"]["schemas"].items()):
        must = schema.get("required", ())
        fields = [f"{each}{_must(each in must)}" for each in schema.get("properties", ())]
        lines.append(f"{name}: {', '.join(fields)}")
    return "\n".join(lines)


def _must(required: object) -> str:
    return "!" if required else ""


async def test_names_stay(database: Database) -> None:
    """A name that goes, or a field that must be given from now on, breaks somebody's program."""
    async with world(database) as found:
        agrees(Path(__file__).parent / "openapi.golden.txt", "/v1", _names(found.api.description()))


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
