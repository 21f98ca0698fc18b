"""A journey as an SVG: the picture of `layout`, with words for those who cannot see it. Pure.

It stands alone or inside a page: its styles and ids bear a mark made of the content, so that several
on one page do not meet, and it follows the reader's light or dark scheme. A `figure` has no style of its own
(a page that forbids such brings it), and may show the way that one run took.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

from chimeway.workflow.definition import Definition
from chimeway.workflow.drawing import drawn
from chimeway.workflow.layout import LINE, PILL, Arrow, Box, Picture, Pill, Words, laid_out
from chimeway.workflow.telling import visible

_CORNER: Final = 7.0
_STYLE: Final = """\
#{id}{{--paper:#ffffff;--ink:#1c2430;--soft:#566273;--line:#7b8794;--sends:#0b63b5;--waits:#9a5b00;--box:#f6f8fa;\
--stopped:#a1264a;--completed:#1d6b3a}}
@media (prefers-color-scheme:dark){{#{id}{{--paper:#14181d;--ink:#e8ecf1;--soft:#a7b2bf;--line:#7f8b98;\
--sends:#6db3f2;--waits:#e8b45c;--box:#1e252d;--stopped:#f08ba8;--completed:#7fd09c}}}}
#{id}{{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,"Liberation Mono",monospace;color:var(--ink)}}
#{id} .paper{{fill:var(--paper)}}
#{id} text{{fill:currentColor;white-space:pre}}
#{id} .title,#{id} .id{{font-weight:700}}
#{id} .about,#{id} .label{{fill:var(--soft)}}
#{id} .box{{fill:var(--box);stroke:var(--sends);stroke-width:1.5}}
#{id} .waits{{stroke:var(--waits);stroke-dasharray:5 3}}
#{id} .bar{{fill:var(--sends)}}
#{id} .arrow{{fill:none;stroke:var(--line);stroke-width:1.5}}
#{id} .head{{fill:var(--line)}}
#{id} .pill{{fill:var(--paper);stroke:currentColor;stroke-width:1.5}}
#{id} .stopped{{color:var(--stopped)}}
#{id} .completed{{color:var(--completed)}}"""


@dataclass(frozen=True, slots=True)
class Trail:
    """The way of a run: how often it entered each step, which arrows it took, and where it stands."""

    entered: Mapping[str, int] = field(default_factory=dict)
    took: Collection[tuple[str | None, str]] = ()
    here: str | None = None

    def of_arrow(self, arrow: Arrow) -> str:
        """Return the class of an arrow."""
        return " taken" if arrow.leads in self.took else ""

    def of_box(self, box: Box) -> str:
        """Return the class of a box."""
        return (" taken" if self.entered.get(box.step) else "") + (" here" if box.step == self.here else "")


_NOBODY: Final = Trail()


def svg(definition: Definition) -> str:
    """Return a definition as an SVG document: the same text for the same content."""
    picture, told = laid_out(definition), drawn(definition)
    mark = "cw-" + hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()[:8]
    return "\n".join(_document(picture, mark, told)) + "\n"


def figure(definition: Definition, trail: Trail = _NOBODY, *, about: str = "") -> str:
    """Return a definition as a part of a page, of class `journey`, whose style the page brings.

    Args:
        definition: what is drawn.
        trail: the way that is marked in it.
        about: what is said of that way to those who cannot see it.
    """
    picture, told = laid_out(definition), drawn(definition)
    return "\n".join(_document(picture, "journey", [told[0], about, *told[1:]], trail))


def _document(picture: Picture, mark: str, told: list[str], trail: Trail | None = None) -> Iterator[str]:
    style = f"<style>{_STYLE.format(id=mark)}</style>" if trail is None else ""
    classed = "" if trail is None else 'class="journey" '
    trail = trail or _NOBODY
    wide, high = _number(picture.width), _number(picture.height)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" {classed}id="{mark}" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" aria-labelledby="{mark}-title {mark}-desc">'
    )
    yield f'<title id="{mark}-title">{_text("Workflow " + told[0])}</title>'
    yield f'<desc id="{mark}-desc">{_text(" ".join(line for line in told[1:] if line))}</desc>'
    if style:
        yield style
    yield (
        f'<defs><marker id="{mark}-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    yield f'<rect class="paper" width="{wide}" height="{high}"/>'
    yield from (_arrow(each, mark, trail) for each in picture.arrows)
    yield from (part for box in picture.boxes for part in _box(box, trail))
    yield from (_pill(pill) for pill in picture.pills)
    yield from (_words(words) for words in picture.words)
    yield "</svg>"


def _arrow(arrow: Arrow, mark: str, trail: Trail) -> str:
    kind, line = f"arrow{trail.of_arrow(arrow)}", _path(arrow.points)
    return f'<path class="{kind}" d="{line}" marker-end="url(#{mark}-head)"/>'


def _path(points: tuple[tuple[float, float], ...]) -> str:
    """Return a path through these points, its corners rounded."""
    (x, y), *others = points
    parts = [f"M{_number(x)} {_number(y)}"]
    for place, (next_x, next_y) in enumerate(others):
        if place == len(others) - 1:
            parts.append(f"L{_number(next_x)} {_number(next_y)}")
            continue
        after = others[place + 1]
        before_corner = _towards((next_x, next_y), (x, y))
        after_corner = _towards((next_x, next_y), after)
        parts.append(f"L{before_corner} Q{_number(next_x)} {_number(next_y)} {after_corner}")
        x, y = next_x, next_y
    return " ".join(parts)


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> str:
    """Return the point a little away from a corner, on the way to another point."""
    across, down = other[0] - corner[0], other[1] - corner[1]
    near = min(_CORNER, (abs(across) + abs(down)) / 2)
    x = corner[0] + (near if across > 0 else -near if across < 0 else 0)
    y = corner[1] + (near if down > 0 else -near if down < 0 else 0)
    return f"{_number(x)} {_number(y)}"


def _box(box: Box, trail: Trail) -> Iterator[str]:
    x, y, wide, high = (_number(each) for each in (box.x, box.y, box.width, box.height))
    kind = ("box" if box.sends else "box waits") + trail.of_box(box)
    yield f'<rect class="{kind}" x="{x}" y="{y}" width="{wide}" height="{high}" rx="8"/>'
    if box.sends:
        bar = f'x="{_number(box.x + 5)}" y="{_number(box.y + 7)}" height="{_number(box.height - 14)}"'
        yield f'<rect class="bar" {bar} width="3" rx="1.5"/>'
    middle = box.x + box.width / 2
    first = box.y + (box.height - LINE * (len(box.bold) + len(box.lines))) / 2 + LINE - 5
    yield _words(Words(middle, first, box.bold, "middle", "id"))
    yield _words(Words(middle, first + LINE * len(box.bold), box.lines, "middle", "label"))


def _pill(pill: Pill) -> str:
    x, y = _number(pill.x - PILL / 2), _number(pill.y - 12)
    return (
        f'<g class="{pill.text}"><rect class="pill" x="{x}" y="{y}" width="{_number(PILL)}" height="24" '
        f'rx="12"/><text x="{_number(pill.x)}" y="{_number(pill.y + 4.5)}" text-anchor="middle">'
        f"{_text(pill.text)}</text></g>"
    )


def _words(words: Words) -> str:
    x = _number(words.x)
    spans = "".join(_spans(words.lines, x, words.y))
    anchor = "" if words.anchor == "start" else f' text-anchor="{words.anchor}"'
    return f'<text class="{words.role}"{anchor}>{spans}</text>'


def _spans(lines: Iterable[str], x: str, y: float) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f'<tspan x="{x}" y="{_number(y + LINE * number)}">{_text(line)}</tspan>'


def _text(text: str) -> str:
    return escape(visible(text))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
