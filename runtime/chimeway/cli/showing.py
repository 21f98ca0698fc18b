"""`chimeway workflow show`: a journey, drawn for a terminal, as an SVG, or as the JSON that is stored."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl
from chimeway.cli.printing import on_terminal, print_json
from chimeway.cli.reading_files import WhichKey, definition_in
from chimeway.client.chimeway import Chimeway
from chimeway.store import definitions
from chimeway.workflow.definition import Definition
from chimeway.workflow.drawing import ASCII, STEP_GLYPHS, drawn
from chimeway.workflow.encode import digest, encode
from chimeway.workflow.parse import parse
from chimeway.workflow.svg import svg as svg_of

_FILES: Final = (".yaml", ".yml", ".json")


def show(
    workflow: Annotated[
        str,
        typer.Argument(
            help="A registered key; or a file: a name that ends in .yaml, .yml or .json, or - for stdin.",
            show_default=False,
        ),
    ],
    version: Annotated[
        int | None, typer.Option(help="Of a registered key; without it the one that a trigger starts.")
    ] = None,
    key: WhichKey = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as an SVG to this file; - is stdout.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Draw a journey: its steps, what they wait for, and every way between them.

    With --json the definition itself is written, and its digest.
    """
    definition, about = _found(workflow, version, key, database_url)
    if as_json:
        print_json(about)
    elif svg is None:
        _print(drawn(definition or parse(about["definition"])))
    else:
        _write(svg_of(definition or parse(about["definition"])), svg)


def _found(
    workflow: str, version: int | None, key: str | None, database_url: str | None
) -> tuple[Definition | None, dict[str, Any]]:
    """Return a definition where it is a file's, and what --json writes of it."""
    path = Path(workflow)
    if workflow == "-" or path.suffix in _FILES:
        found = definition_in(path, key)
        about = {"key": found.key, "version": found.version, "digest": digest(found)}
        return found, {**about, "definition": encode(found)}

    async def ask(client: Chimeway) -> definitions.Stored:
        return await definitions.fetch_definition(client.database, workflow, version)

    stored = session.run(database_url, ask)
    about = {"key": stored.key, "version": stored.version, "digest": stored.digest}
    return None, {**about, "definition": stored.raw}


def _print(lines: list[str]) -> None:
    if not _can_draw():
        lines = [line.translate(ASCII) for line in lines]
    if not on_terminal():
        print("\n".join(lines))
        return
    console = Console(highlight=False)
    for number, line in enumerate(lines):
        console.print(Text(line, _style(number, line)), soft_wrap=True)


def _style(number: int, line: str) -> str:
    if number == 0 or line.startswith(STEP_GLYPHS):
        return "bold" if number == 0 or line.startswith(STEP_GLYPHS[0]) else "yellow"
    if line.endswith("■ stopped"):
        return "magenta"
    return "green" if line.endswith("■ completed") else "dim"


def _can_draw() -> bool:
    try:
        "".join(STEP_GLYPHS).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write(text: str, path: Path) -> None:
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())  # an SVG that names no encoding is UTF-8
        sys.stdout.buffer.flush()
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise typer.BadParameter(f"--svg {path} cannot be written ({fault.strerror})") from None
