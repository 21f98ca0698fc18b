"""What people give in files and in JSON arguments, read and, where it is at fault, named."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
import yaml

from chimeway.workflow.definition import Definition
from chimeway.workflow.durations import parse_instant
from chimeway.workflow.text import TextFormat, read_definitions

File: TypeAlias = Annotated[Path, typer.Argument(help="A YAML or JSON file; - is stdin.")]
Files: TypeAlias = Annotated[list[Path], typer.Argument(help="YAML or JSON files; - is stdin.")]

WhichKey: TypeAlias = Annotated[
    str | None,
    typer.Option("--key", help="Which definition, where the file has several.", show_default=False),
]


def content(path: Path) -> bytes:
    """Return a file's bytes, or those of stdin for `-`.

    Raises:
        typer.BadParameter: it cannot be read.
    """
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as fault:
        raise typer.BadParameter(f"{path} cannot be read ({fault.strerror})") from None


def format_of(path: Path) -> TextFormat:
    """Return the format that a file's name tells; YAML, which takes most JSON too, where none does."""
    return "json" if path.suffix == ".json" else "yaml"


def definitions_in(path: Path) -> tuple[Definition, ...]:
    """Return the definitions of a file.

    Raises:
        InvalidDefinition: it has faults; all of them are in the message.
        typer.BadParameter: it cannot be read.
    """
    return read_definitions(content(path), format=format_of(path), source=named(path))


def definition_in(path: Path, key: str | None) -> Definition:
    """Return the one definition of a file that is meant; raises as `definitions_in` does."""
    found = definitions_in(path)
    meant = [each for each in found if key in (None, each.key)]
    if len(meant) == 1:
        return meant[0]
    keys = ", ".join(dict.fromkeys(each.key for each in found))
    raise typer.BadParameter(f"{named(path)} defines {keys}; name one of them, of one version, by --key")


def named(path: Path) -> str:
    """Return how messages name a file."""
    return "stdin" if str(path) == "-" else str(path)


def plain_data(path: Path) -> Any:
    """Return what a YAML or JSON file holds, as plain data.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        return yaml.safe_load(content(path))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise typer.BadParameter(f"{path} is neither YAML nor JSON: {fault}") from None


def json_object(option: str, text: str | None) -> dict[str, Any]:
    """Return the JSON object that an option gives: as text, as @file, or - for stdin.

    Raises:
        typer.BadParameter: it gives none.
    """
    if text is None:
        return {}
    try:
        found = json.loads(_given(text))
    except (ValueError, OSError) as fault:
        raise typer.BadParameter(f"{option} is no JSON ({fault}); give an object such as {{}}") from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{option} is a JSON {type(found).__name__}; give an object such as {{}}")
    return found


def instant(option: str, text: str | None) -> datetime | None:
    """Return the instant that an option gives.

    Raises:
        typer.BadParameter: it gives none.
    """
    try:
        return None if text is None else parse_instant(text)
    except ValueError:
        raise typer.BadParameter(f"{option} is no instant; give one like 2026-03-02T09:00:00Z") from None


def _given(text: str) -> str | bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text
