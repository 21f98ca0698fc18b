"""Reading JSON strictly, with the line of everything.

The standard library's reader takes the last of two equal keys, lets NaN through, turns 1e400 into
infinity, recurses without bound, and forgets where things stood.
"""

import math
import re
from bisect import bisect_right
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

from chimeway.limits import MAX_JSON_DEPTH
from chimeway.workflow.document import Document, TextFault
from chimeway.workflow.problems import Problem, child, shown
from chimeway.workflow.soundness import REFUSED

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"-?[A-Za-z]+")
_DECODER: Final = JSONDecoder()
_WORDS: Final = {"true": True, "false": False, "null": None}
_NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")
LONGEST_INTEGER: Final = 400
"""Digits beyond which an integer is not even converted: Python itself refuses at 4,300."""


def read_json(text: str) -> Document:
    """Read a text of one JSON value.

    Raises TextFault when it is not JSON, or nested too deeply.
    """
    reader = _Reader(text)
    try:
        reader.document.value = reader.value("", 0)
        reader.expect_end()
    except JSONDecodeError as fault:
        raise TextFault(Problem("malformed", "", f"no JSON: {fault.msg}", line=fault.lineno)) from None
    return reader.document


def number_of(text: str, *, integer: bool) -> int | float | None:
    """Return the number that this text writes, or None when no reader would hold it."""
    if integer:
        return int(text) if len(text) <= LONGEST_INTEGER else None
    number = float(text)
    return number if math.isfinite(number) else None


class _Reader:
    def __init__(self, text: str) -> None:
        self.document = Document()
        self._text = text
        self._at = 0
        self._newlines = [found.start() for found in re.finditer("\n", text)]

    def value(self, path: str, depth: int) -> object:
        self._skip_blanks()
        self.document.place(path, self._line())
        match self._text[self._at : self._at + 1]:
            case "{" | "[" if depth > MAX_JSON_DEPTH:
                message = f"nested more than {MAX_JSON_DEPTH} levels deep"
                raise TextFault(Problem("too_deep", path, message, line=self._line()))
            case "{":
                return self._object(path, depth)
            case "[":
                return self._list(path, depth)
            case '"':
                return self._string()
            case _:
                return self._plain(path)

    def expect_end(self) -> None:
        self._skip_blanks()
        if self._at < len(self._text):
            self._fail("there is more after the value")

    def _object(self, path: str, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        self._at += 1
        if self._takes("}"):
            return found
        while True:
            self._skip_blanks()
            line = self._line()
            if not self._text.startswith('"', self._at):
                self._fail("wanted a key in double quotes")
            key = self._string()
            place = child(path, key)
            self.document.place(place, line)
            if not self._takes(":"):
                self._fail("wanted ':'")
            value = self.value(place, depth + 1)
            if key in found:
                self.document.note("duplicate_key", place, f"given {shown(key)} twice", line)
            else:
                found[key] = value
            if self._takes("}"):
                return found
            if not self._takes(","):
                self._fail("wanted ',' or '}'")

    def _list(self, path: str, depth: int) -> list[object]:
        found: list[object] = []
        self._at += 1
        if self._takes("]"):
            return found
        while True:
            found.append(self.value(child(path, len(found)), depth + 1))
            if self._takes("]"):
                return found
            if not self._takes(","):
                self._fail("wanted ',' or ']'")

    def _string(self) -> str:
        text, self._at = _DECODER.raw_decode(self._text, self._at)  # a quote stands there
        return str(text)

    def _plain(self, path: str) -> object:
        if word := _WORD.match(self._text, self._at):
            if word[0] in _WORDS:
                self._at = word.end()
                return _WORDS[word[0]]
            if word[0] in _NOT_FINITE:
                return self._refuse_number(word, path)
        if number := _NUMBER.match(self._text, self._at):
            value = number_of(number[0], integer=number[1] is None and number[2] is None)
            if value is None:
                return self._refuse_number(number, path)
            self._at = number.end()
            return value
        return self._fail("wanted a value")

    def _refuse_number(self, found: re.Match[str], path: str) -> object:
        message = f"given {found[0][:40]}; wanted a finite number that JSON readers hold"
        self.document.note("invalid_value", path, message, self._line())
        self._at = found.end()
        return REFUSED

    def _takes(self, sign: str) -> bool:
        self._skip_blanks()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        return True

    def _skip_blanks(self) -> None:
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at - 1) + 1

    def _fail(self, wanted: str) -> NoReturn:
        raise JSONDecodeError(wanted, self._text, self._at)
