"""HTML read as a row of tags and texts, in a time that grows with its length, whatever it is. Pure.

Why not `html.parser`: on what is not well-formed (`<a<a<a...`) it takes minutes for some hundred kilobytes,
in the versions of Python that people run; and a message is made where nothing else runs meanwhile.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

_TAG_NAME: Final = re.compile(r"[a-z][^\s/>]*", re.IGNORECASE)
_ATTRIBUTES: Final = re.compile(r"""(?:[^>"']|"[^"]*"|'[^']*')*""")
_ATTRIBUTE: Final = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_RAW: Final = frozenset({"script", "style"})
"""What is no HTML inside, up to its end."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A tag that opens, and its attributes, as they were written."""

    name: str
    written: str

    def attribute(self, name: str) -> str:
        """Return the value of an attribute, nothing where it has none."""
        for found in _ATTRIBUTE.finditer(self.written):
            if found[1].lower() == name:
                return html.unescape(found[2] or found[3] or found[4] or "")
        return ""


@dataclass(frozen=True, slots=True)
class Closing:
    """A tag that closes."""

    name: str


Token: TypeAlias = str | Opening | Closing


def tokens(source: str) -> Iterator[Token]:
    """Yield what HTML is made of; texts with their characters as meant. Comments are left out."""
    place, quotes_close_before = 0, 0
    while (start := source.find("<", place)) >= 0:
        if start > place:
            yield html.unescape(source[place:start])
        if source.startswith("<!--", start):
            place = _behind(source, "-->", start + 4)
            continue
        if source.startswith(("<!", "<?"), start):
            place = _behind(source, ">", start)
            continue
        closing = source.startswith("</", start)
        named = _TAG_NAME.match(source, start + 1 + closing)
        if named is None or (end := source.find(">", named.end())) < 0:
            yield "<"
            place = start + 1
            if named is not None:  # no tag ends any more
                break
            continue
        name = named[0].lower()
        if not closing and start >= quotes_close_before:
            # A ">" in quotes ends no tag. A quote that is never closed is looked for once, not by each tag.
            behind = _ATTRIBUTES.match(source, named.end())
            quoted_end = end if behind is None else behind.end()
            if source.startswith(">", quoted_end):
                end = quoted_end
            else:
                quotes_close_before = quoted_end + 1
        place = end + 1
        yield Closing(name) if closing else Opening(name, source[named.end() : end])
        if name in _RAW and not closing:
            place = _end_of_raw(source, name, place)
    if place < len(source):
        yield html.unescape(source[place:])


def _behind(source: str, mark: str, place: int) -> int:
    found = source.find(mark, place)
    return len(source) if found < 0 else found + len(mark)


def _end_of_raw(source: str, name: str, place: int) -> int:
    found = re.compile(f"</{name}", re.IGNORECASE).search(source, place)
    return len(source) if found is None else found.start()
