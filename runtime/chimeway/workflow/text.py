"""From text to definitions: JSON and YAML, one or many in a file, with the line of every fault.

What a definition may hold is `parse`'s affair; here is only what text can get wrong.
"""

from typing import Literal, TypeAlias

from chimeway.limits import MAX_DEFINITIONS_TEXT_BYTES
from chimeway.workflow.definition import Definition
from chimeway.workflow.document import Document, TextFault
from chimeway.workflow.json_text import read_json
from chimeway.workflow.parse import Checked, check_with, invalid_definition
from chimeway.workflow.problems import Problem
from chimeway.workflow.yaml_text import read_yaml

TextFormat: TypeAlias = Literal["json", "yaml"]


def loads(
    text: str | bytes,
    *,
    format: TextFormat,  # noqa: A002  (the word that readers expect)
    source: str,
) -> list[object]:
    """Return the definitions that a text holds, in their JSON form, not yet judged.

    JSON holds one object or a list of them, YAML any number of documents of either. Raises
    InvalidDefinition when the text is malformed or holds what no definition can: two equal keys,
    numbers that are not finite, nesting without end. `source` is the name that messages give it.
    """
    try:
        documents = _documents(text, format)
    except TextFault as fault:
        raise invalid_definition((fault.problem,), source) from None
    if found := tuple(problem for each in documents for problem in each.problems.all()):
        raise invalid_definition(found, source)
    return [document.value for document in documents]


def read_definitions(
    text: str | bytes,
    *,
    format: TextFormat,  # noqa: A002  (the word that readers expect)
    source: str,
) -> tuple[Definition, ...]:
    """Return the definitions of a text, all of them valid.

    Raises InvalidDefinition, whose message lists every error of every definition with its line, and
    whose `details["problems"]` holds all problems. `source` is the name that messages give the text.
    """
    checked = check_text(text, format=format)
    if any(each.definition is None for each in checked):
        raise invalid_definition(tuple(problem for each in checked for problem in each.problems), source)
    return tuple(each.definition for each in checked if each.definition is not None)


def check_text(
    text: str | bytes,
    *,
    format: TextFormat,  # noqa: A002  (the word that readers expect)
    channels: frozenset[str] | None = None,
) -> tuple[Checked, ...]:
    """Judge every definition in a text and return what was found for each; never raises.

    Every problem has its line; `Problem.printed(source)` writes it as a compiler would. A text that
    cannot be read, or is empty, gives one answer without a definition.
    """
    try:
        documents = _documents(text, format)
    except TextFault as fault:
        return (Checked(None, (fault.problem,)),)
    if not documents:
        message = "the text is empty; wanted at least one definition"
        return (Checked(None, (Problem("no_definition", "", message, line=1),)),)
    return tuple(_checked(document, channels) for document in documents)


def _documents(text: str | bytes, text_format: TextFormat) -> list[Document]:
    if len(text) > MAX_DEFINITIONS_TEXT_BYTES:
        message = f"given {len(text)} bytes of text; the limit is {MAX_DEFINITIONS_TEXT_BYTES}"
        raise TextFault(Problem("too_large", "", message, line=1))
    decoded = _decoded(text)
    found = read_yaml(decoded) if text_format == "yaml" else [read_json(decoded)]
    return [definition for document in found for definition in document.definitions()]


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = text.count(b"\n", 0, fault.start) + 1
        message = f"the text is not UTF-8: {fault.reason}"
        raise TextFault(Problem("malformed", "", message, line=line)) from None


def _checked(document: Document, channels: frozenset[str] | None) -> Checked:
    checked = check_with(document.value, document.problems, channels=channels)
    placed = tuple(
        problem if problem.line is not None else problem.at_line(document.line_of(problem.path))
        for problem in checked.problems
    )
    in_order = sorted(placed, key=lambda problem: problem.line or 0)
    return Checked(checked.definition, tuple(in_order))
