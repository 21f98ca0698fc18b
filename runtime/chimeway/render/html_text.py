"""From the HTML of an e-mail to its plain text: the part for those who read no HTML. Pure."""

import re
from html.parser import HTMLParser
from typing import Final


def text_from_html(html: str) -> str:
    """Return the plain text of an HTML body: paragraphs, lists, and links with their addresses."""
    reader = _TextReader()
    reader.feed(html)
    reader.close()
    return reader.text()


class _TextReader(HTMLParser):
    """Collects text; a mark of one or two line ends stands where a block begins or ends."""

    SILENT: Final = frozenset({"style", "script", "title", "template"})
    APART: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "hr"})
    OWN_LINE: Final = frozenset({"div", "tr", "li", "section", "article", "header", "footer"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in self.SILENT:
            self._silent += 1
        elif tag == "br":
            self._write("\n")
        elif tag == "a":
            self._links.append((named.get("href") or "", len(self._pieces)))
        elif tag == "img":
            self._write(named.get("alt") or "")
        self._break(tag)
        if tag == "li":
            self._write("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a" and self._links:
            address, start = self._links.pop()
            label = "".join(self._pieces[start:]).strip()
            if address and address not in {label, f"mailto:{label}"}:
                self._write(f" ({address})" if label else address)
        elif tag in {"td", "th"}:
            self._write(" ")
        self._break(tag)

    def handle_data(self, data: str) -> None:
        self._write(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        """Return what was collected, without the spaces and lines that only markup had."""
        lines = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._pieces)))
        return re.sub(r"\n{3,}", "\n\n", lines).strip()

    def _break(self, tag: str) -> None:
        if tag in self.APART:
            self._write("\n\n")
        elif tag in self.OWN_LINE and "".join(self._pieces[-1:])[-1:] != "\n":
            self._write("\n")

    def _write(self, piece: str) -> None:
        if not self._silent and piece:
            self._pieces.append(piece)
