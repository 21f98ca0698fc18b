"""What people give in files and in JSON arguments, read and, where it is at fault, named."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from chimeway.clock import SystemClock
from chimeway.limits import MAX_DEFINITIONS_TEXT_BYTES
from chimeway.workflow.definition import Definition
from chimeway.workflow.document import Document, TextFault
from chimeway.workflow.durations import parse_duration, parse_instant
from chimeway.workflow.json_text import read_json
from chimeway.workflow.problems import Problem, shown
from chimeway.workflow.text import TextFormat, read_definitions
from chimeway.workflow.yaml_text import read_yaml

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
    """Return what a YAML or JSON file holds, as plain data; nothing where it is empty.

    Raises:
        typer.BadParameter: it is neither, or holds what no JSON can.
    """
    return _read(named(path), content(path), read_yaml)


def json_object(option: str, text: str | None) -> dict[str, Any]:
    """Return the JSON object that an option gives: as text, as @file, or - for stdin.

    Raises:
        typer.BadParameter: it gives none.
    """
    if text is None:
        return {}
    try:
        given = _given(text)
    except OSError as fault:
        raise typer.BadParameter(f"{option} cannot be read ({fault.strerror}); give JSON or @FILE") from None
    found = _read(option, given, lambda text: [read_json(text)])
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{option} is {shown(found)}; give an object such as {{}}")
    return found


def _read(source: str, given: str | bytes, reader: Callable[[str], list[Document]]) -> Any:
    """Return the one value of a text; the strict readers let nothing through that JSON cannot hold."""
    if len(given) > MAX_DEFINITIONS_TEXT_BYTES:
        raise typer.BadParameter(f"{source} is longer than {MAX_DEFINITIONS_TEXT_BYTES} bytes")
    try:
        text = given.decode("utf-8-sig") if isinstance(given, bytes) else given
        documents = reader(text)
    except UnicodeDecodeError as fault:
        raise typer.BadParameter(f"{source} is not UTF-8: {fault.reason}") from None
    except TextFault as fault:
        raise typer.BadParameter(_told(source, fault.problem)) from None
    for problem in (problem for document in documents for problem in document.problems.all()):
        raise typer.BadParameter(_told(source, problem))
    return documents[0].value if documents else None


def _told(source: str, problem: Problem) -> str:
    return f"{source}: line {problem.line}: {problem.path and problem.path + ': '}{problem.message}"


def since(option: str, text: str | None) -> datetime | None:
    """Return the instant that an option gives, as such or as how long ago (ISO 8601).

    Raises:
        typer.BadParameter: it gives neither.
    """
    if text is None or not text.startswith("P"):
        return instant(option, text)
    now = SystemClock().now()
    try:
        return now - (parse_duration(text).after(now, "UTC") - now)
    except ValueError as fault:
        raise typer.BadParameter(f"{option} is no duration: {fault}") from None


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
