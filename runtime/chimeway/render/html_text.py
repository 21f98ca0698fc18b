"""From the HTML of an e-mail to its plain text: the part for those who read no HTML. Pure."""

import re
from typing import Final, assert_never

from chimeway.render.markup import Closing, Opening, tokens


def text_from_html(html: str) -> str:
    """Return the plain text of an HTML body: paragraphs, lists, and links with their addresses."""
    writer = _Writer()
    for token in tokens(html):
        match token:
            case str():
                writer.write(re.sub(r"\s+", " ", token))
            case Opening():
                writer.open(token)
            case Closing(name):
                writer.close(name)
            case _:
                assert_never(token)
    return writer.text()


class _Writer:
    """Collects text; a mark of one or two line ends stands where a block begins or ends."""

    SILENT: Final = frozenset({"style", "script", "title", "template"})
    APART: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "hr"})
    OWN_LINE: Final = frozenset({"div", "tr", "li", "section", "article", "header", "footer"})

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._silent = 0
        self._link: tuple[str, int] | None = None

    def open(self, tag: Opening) -> None:
        """Begin an element."""
        if tag.name in self.SILENT:
            self._silent += 1
        elif tag.name == "br":
            self.write("\n")
        elif tag.name == "a":
            self._end_link()  # no link is within another one
            self._link = tag.attribute("href"), len(self._pieces)
        elif tag.name == "img":
            self.write(tag.attribute("alt"))
        self._break(tag.name)
        if tag.name == "li":
            self.write("- ")

    def close(self, name: str) -> None:
        """End an element."""
        if name in self.SILENT:
            self._silent = max(0, self._silent - 1)
        elif name == "a":
            self._end_link()
        elif name in {"td", "th"}:
            self.write(" ")
        self._break(name)

    def write(self, piece: str) -> None:
        """Add text, where it is for readers."""
        if not self._silent and piece:
            self._pieces.append(piece)

    def text(self) -> str:
        """Return what was collected, without the spaces and lines that only markup had."""
        lines = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._pieces)))
        return re.sub(r"\n{3,}", "\n\n", lines).strip()

    def _end_link(self) -> None:
        if self._link is None:
            return
        address, start = self._link
        self._link = None
        label = "".join(self._pieces[start:]).strip()
        if address and address not in {label, f"mailto:{label}"}:
            self.write(f" ({address})" if label else address)

    def _break(self, tag: str) -> None:
        if tag in self.APART:
            self.write("\n\n")
        elif tag in self.OWN_LINE and "".join(self._pieces[-1:])[-1:] != "\n":
            self.write("\n")
