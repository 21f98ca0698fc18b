"""A result as a picture: one panel a figure, one row a side, a dot a pair, the median and its interval. Pure.

Drawn by hand as SVG, as journeys are: the same text for the same result, so that a diff shows what moved; it
follows the reader's light or dark scheme; and a wheel or a bench needs no library of plots for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.sax.saxutils import escape

from .intervals import spread
from .result import Result
from .words import number

_LEFT, _WIDE, _RIGHT = 250, 440, 80
_ROW, _HEAD, _FOOT, _TOP = 26, 30, 30, 40
_COLOURS = 6
_XMLNS = "http://www.w3.org/2000/svg"
_STYLE = """\
svg{--paper:#fff;--ink:#1c2430;--soft:#566273;--line:#d5dae0;--mark:#a1264a;--s0:#0b63b5;--s1:#9a5b00;--s2:#1d6b3a;\
--s3:#7a3fa8;--s4:#a1264a;--s5:#4a5568}
@media(prefers-color-scheme:dark){svg{--paper:#14181d;--ink:#e8ecf1;--soft:#a7b2bf;--line:#39424d;--mark:#f08ba8;\
--s0:#6db3f2;--s1:#e8b45c;--s2:#7fd09c;--s3:#c9a2ee;--s4:#f08ba8;--s5:#a7b2bf}}
text{font:12px ui-sans-serif,system-ui,"DejaVu Sans",sans-serif;fill:var(--ink)}
.title{font-size:15px;font-weight:700}.name{font-weight:700}.soft{fill:var(--soft)}.right{text-anchor:end}
.mid{text-anchor:middle}.axis{stroke:var(--line)}.mark{stroke:var(--mark);stroke-dasharray:4 3}
.dot{fill-opacity:.45}"""


@dataclass(frozen=True, slots=True)
class _Panel:
    name: str
    rows: Sequence[tuple[str, Sequence[float]]]
    mark: float | None = None

    @property
    def height(self) -> int:
        return _HEAD + _ROW * len(self.rows) + _FOOT


def svg(result: Result) -> str:
    """Return a result as an SVG document."""
    panels = [each for each in _panels(result) if each.rows]
    high, wide = _TOP + sum(each.height for each in panels), _LEFT + _WIDE + _RIGHT
    title = escape(f"{result.code} {result.title}")
    size = f'width="{wide}" height="{high}"'
    lines = [
        f'<svg xmlns="{_XMLNS}" {size} viewBox="0 0 {wide} {high}" role="img" aria-labelledby="title">',
        f'<title id="title">{title}: a dot a pair, the median and its interval</title>',
        f"<style>{_STYLE}</style>",
        f'<rect {size} fill="var(--paper)"/>',
        f'<text class="title" x="14" y="26">{title}</text>',
    ]
    top = _TOP
    for panel in panels:
        lines += _drawn(panel, top)
        top += panel.height
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panels(result: Result) -> Iterator[_Panel]:
    for figure in result.figures:
        if figure.plotted:
            named = ((side, result.values(side, figure.name)) for side in result.rounds)
            better = f", {figure.better} is better" if figure.better else ""
            unit = f" ({figure.unit}{better})" if figure.unit else better
            yield _Panel(figure.name + unit, [(side, values) for side, values in named if values])
    alike: dict[tuple[str, float | None], list[tuple[str, Sequence[float]]]] = {}
    for ratio in result.ratios:
        if values := result.ratios_of(ratio):
            rows = alike.setdefault((ratio.figure, ratio.target), [])
            rows.append((f"{ratio.of} / {ratio.to}", values))
    for (name, target), rows in alike.items():
        asked = "" if target is None else f" (asked: the line at {number(target)})"
        yield _Panel(f"{name}, as ratios{asked}", rows, target)


def ticks(most: float) -> list[float]:
    """Return round numbers from nought up to somewhat above the most, four to eight of them."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / 5
    power = 10.0 ** floor(log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    many = int(most / step) + 1
    return [step * each for each in range(many + 1)]


def _drawn(panel: _Panel, top: int) -> Iterator[str]:
    most = max([*(value for _, values in panel.rows for value in values), panel.mark or 0.0])
    scale = ticks(most)
    foot = top + _HEAD + _ROW * len(panel.rows)

    def across(value: float) -> str:
        return f"{_LEFT + _WIDE * value / scale[-1]:.1f}"

    yield f'<text class="name" x="14" y="{top + 20}">{escape(panel.name)}</text>'
    for tick in scale:
        yield f'<line class="axis" x1="{across(tick)}" x2="{across(tick)}" y1="{top + _HEAD}" y2="{foot}"/>'
        yield f'<text class="soft mid" x="{across(tick)}" y="{foot + 15}">{tick:,.6g}</text>'
    if panel.mark is not None:
        at = across(panel.mark)
        yield f'<line class="mark" x1="{at}" x2="{at}" y1="{top + _HEAD - 4}" y2="{foot}"/>'
    for row, (side, values) in enumerate(panel.rows):
        found, colour = spread(values), f"var(--s{row % _COLOURS})"
        y = top + _HEAD + _ROW * row + _ROW // 2
        yield f'<text class="right" x="{_LEFT - 10}" y="{y + 4}">{escape(side)}</text>'
        yield (
            f'<line x1="{across(found.low)}" x2="{across(found.high)}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        for value in values:
            yield f'<circle class="dot" cx="{across(value)}" cy="{y}" r="3.5" fill="{colour}"/>'
        at = across(found.median)
        yield f'<line x1="{at}" x2="{at}" y1="{y - 8}" y2="{y + 8}" stroke="{colour}" stroke-width="3"/>'
        yield f'<text class="soft" x="{_LEFT + _WIDE + 12}" y="{y + 4}">{number(found.median)}</text>'
