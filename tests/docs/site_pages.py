"""What makes pages of the repository pages of a site: its first page, and links that lead out of `docs/`.

A hook of mkdocs. The README is the first page. A link to a file that is no page (a test, the schema) is named
by its path, for on a site there is nothing behind it.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.structure.files import File, Files

_ROOT: Final = Path(__file__).parents[2]
_LINK: Final = re.compile(
    r"\[((?:[^][`]|`[^`]*`|\[[^]]*\])*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)"
)
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the first page."""
    readme = (_ROOT / "README.md").read_text("utf-8")
    files.append(File.generated(config, "index.md", content=_as_page(readme)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name what is outside by its path."""
    folder = PurePosixPath("docs", page.file.src_uri).parent
    return _outside_of_code(markdown, lambda text: _LINK.sub(lambda link: _led(link, folder), text))


def _as_page(readme: str) -> str:
    """Return the README with links as a page of `docs/` has them."""

    def led(link: re.Match[str]) -> str:
        words, target, anchor = link.groups()
        if target.startswith("docs/"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor or ''})"
        return f"[{words}](../{target}{anchor or ''})"

    return _outside_of_code(readme, lambda text: _LINK.sub(led, text))


def _led(link: re.Match[str], folder: PurePosixPath) -> str:
    words, target, _ = link.groups()
    there = (_ROOT / folder / target).resolve()
    if there.is_relative_to(_ROOT / "docs") and there.suffix in {".md", ".svg", ".png"}:
        return link.group()
    if there == _ROOT / "README.md":
        return link.group().replace(target, "index.md")
    path = there.relative_to(_ROOT).as_posix()
    return words if words.strip("`") == path else f"{words} (`{path}`)"


def _outside_of_code(markdown: str, change: Any) -> str:
    """Change all but what stands in fences."""
    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[at : fence.start()]), fence.group()]
        at = fence.end()
    return "".join([*parts, change(markdown[at:])])
