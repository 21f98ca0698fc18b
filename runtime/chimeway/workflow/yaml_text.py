"""Reading YAML strictly, with the line of everything.

Plain words mean what YAML 1.2's core schema says: `true`, `false`, `null`, decimal, `0x` and `0o`
integers, floats; all else is a string. So `yes`, `on`, `2026-03-29` and `1:30` are strings, as one
reads them. Tags are refused, except `!!str` and those that change nothing. Aliases are allowed and
share one value; the walk that follows bounds what they can blow up to.

JSON is YAML since 1.2, and PyYAML reads 1.1: it knows no tabs between tokens, no keys above 1,024
characters, no surrogate pairs, and more line breaks than JSON. So what is JSON is read as JSON.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from chimeway.limits import MAX_JSON_DEPTH
from chimeway.workflow.document import Document, TextFault
from chimeway.workflow.json_text import number_of, read_json
from chimeway.workflow.problems import Problem, child, shown
from chimeway.workflow.soundness import REFUSED

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_HEX_OR_OCTAL: Final = re.compile(r"0x[0-9a-fA-F]{1,32}|0o[0-7]{1,32}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_STR_TAGS: Final = ("!", "tag:yaml.org,2002:str")
_TAGS: Final = ("!", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_NO_KEY: Final = object()
_UNFINISHED: Final = object()


def read_yaml(text: str) -> list[Document]:
    """Read a text of any number of YAML documents; those that are empty are left out.

    Raises TextFault when it is not YAML, or nested too deeply.
    """
    if text.lstrip().startswith(("{", "[")):
        try:
            return [read_json(text)]
        except TextFault:
            pass  # a flow of YAML's own, or neither: then YAML's complaint is the one to give
    builder = _Builder()
    for event in _events(text):
        builder.take(event)
    return [document for document in builder.documents if document.value is not None]


def _events(text: str) -> Iterator[yaml.Event]:
    # The scanner and the parser do not recurse; what builds values below does not either.
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        message = f"no YAML: {fault.problem or fault.context}"
        line = None if mark is None else mark.line + 1
        raise TextFault(Problem("malformed", "", message, line=line)) from None
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, int(fault.position)) + 1
        raise TextFault(Problem("malformed", "", f"no YAML: {fault.reason}", line=line)) from None
    except (ValueError, OverflowError) as fault:  # PyYAML lets escapes beyond Unicode fall through
        raise TextFault(Problem("malformed", "", f"no YAML: {fault}")) from None


@dataclass(slots=True)
class _Open:
    """A list or an object that is being built."""

    value: list[object] | dict[object, object]
    path: str
    anchor: str | None
    key: object = _NO_KEY
    repeated: bool = False

    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is _NO_KEY

    def next_path(self) -> str:
        if isinstance(self.value, list):
            return child(self.path, len(self.value))
        return child(self.path, self.key if isinstance(self.key, str) else str(self.key))


class _Builder:
    def __init__(self) -> None:
        self.documents: list[Document] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, object] = {}

    def take(self, event: Any) -> None:
        """Take the parser's next event (its classes are untyped)."""
        match event:
            case yaml.DocumentStartEvent():
                self.documents.append(Document())
                self._anchors = {}
            case yaml.ScalarEvent():
                value = self._scalar(event)
                self._name(event.anchor, value)
                self._put(value, event)
            case yaml.AliasEvent():
                self._put(self._alias(event), event)
            case yaml.SequenceStartEvent():
                self._open(list, event)
            case yaml.MappingStartEvent():
                self._open(dict, event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._stack.pop()
                self._name(done.anchor, done.value)
                self._settle(done.value)

    def _open(self, kind: Callable[[], Any], event: Any) -> None:
        path = self._arrive(event)
        if self._stack and self._stack[-1].awaits_key():
            self._fail("malformed", path, "a key is a list or an object; wanted a string", event)
        if len(self._stack) > MAX_JSON_DEPTH:
            self._fail("too_deep", path, f"nested more than {MAX_JSON_DEPTH} levels deep", event)
        if event.tag is not None and event.tag not in _TAGS:
            self._note_tag(event, path)
        self._name(event.anchor, _UNFINISHED)
        self._stack.append(_Open(kind(), path, event.anchor))

    def _put(self, value: object, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is None or not top.awaits_key():
            self._arrive(event)
            self._settle(value)
            return
        assert isinstance(top.value, dict)
        if isinstance(value, list | dict):
            self._fail("malformed", top.path, "a key is a list or an object", event)
        top.key = value
        top.repeated = value in top.value
        path = top.next_path()
        line = event.start_mark.line + 1
        self._document.place(path, line)
        if top.repeated:
            self._document.note("duplicate_key", path, f"given {shown(value)} twice", line)

    def _settle(self, value: object) -> None:
        """Put a finished value where it belongs."""
        if not self._stack:
            self._document.value = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
            return
        if not top.repeated:
            top.value[top.key] = value
        top.key, top.repeated = _NO_KEY, False

    def _arrive(self, event: Any) -> str:
        """Return the path of the value that begins here, and remember its line."""
        path = self._path()
        self._document.place(path, event.start_mark.line + 1)
        return path

    def _path(self) -> str:
        if not self._stack:
            return ""
        top = self._stack[-1]
        return top.path if top.awaits_key() else top.next_path()

    def _scalar(self, event: Any) -> object:
        path = self._path()
        if event.tag is not None:
            if event.tag in _STR_TAGS:
                return _with_whole_pairs(event.value)
            self._note_tag(event, path)
            return REFUSED
        value = _plain(event.value) if event.implicit[0] else _with_whole_pairs(event.value)
        if value is REFUSED:
            line = event.start_mark.line + 1
            message = f"given {event.value[:40]}; wanted a finite number that JSON readers hold"
            self._document.note("invalid_value", path, message, line)
        return value

    def _alias(self, event: Any) -> object:
        value = self._anchors.get(event.anchor, _NO_KEY)
        if value is _NO_KEY or value is _UNFINISHED:
            fault = "is not defined" if value is _NO_KEY else "holds itself"
            self._fail("malformed", "", f"the alias {shown(event.anchor)} {fault}", event)
        return value

    def _name(self, anchor: str | None, value: object) -> None:
        if anchor is not None:
            self._anchors[anchor] = value

    def _note_tag(self, event: Any, path: str) -> None:
        message = f"given the tag {shown(event.tag)}; wanted a plain value"
        self._document.note("invalid_value", path, message, event.start_mark.line + 1)

    def _fail(self, code: str, path: str, message: str, event: Any) -> None:
        raise TextFault(Problem(code, path, message, line=event.start_mark.line + 1))

    @property
    def _document(self) -> Document:
        return self.documents[-1]


def _with_whole_pairs(text: str) -> str:
    """Join escaped surrogate pairs, as in JSON pasted into YAML; halves stay, for the check."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _plain(text: str) -> object:
    """Return what a plain word means in YAML 1.2's core schema; `REFUSED` for no finite number."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _HEX_OR_OCTAL.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        return REFUSED
    integer = _INTEGER.fullmatch(text) is not None
    if integer or _FLOAT.fullmatch(text):
        number = number_of(text, integer=integer)
        return REFUSED if number is None else number
    return text
