"""Charts of the last hours, drawn as SVG by the node; each can be read as a table, too. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

_WIDTH: Final = 420.0
_HEIGHT: Final = 160.0
_TOP: Final = 16.0
_FOOT: Final = 22.0
_LEFT: Final = 44.0
_TICKS: Final = (1, 2, 5)


class Bar(NamedTuple):
    """One bar: its label, and its parts from the bottom, each of a class of the style sheet."""

    label: str
    parts: Sequence[tuple[str, float]]

    @property
    def height(self) -> float:
        """Return how high it is."""
        return sum(value for _, value in self.parts)


def bars(drawn: Sequence[Bar], about: str, unit: str = "", least: float = 0.0) -> str:
    """Return a bar chart as high as `least`, or more: `about` is told to those who cannot see it."""
    most = _round_up(max([least, *(bar.height for bar in drawn)]))
    return "".join(_chart(drawn, about, unit, most))


def _chart(drawn: Sequence[Bar], about: str, unit: str, most: float) -> Iterator[str]:
    yield (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label={quoteattr(about)} '
        'preserveAspectRatio="xMidYMid meet">'
    )
    floor, tall = _HEIGHT - _FOOT, _HEIGHT - _FOOT - _TOP
    for share in (0.0, 0.5, 1.0):
        y = floor - share * tall
        yield f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        if share == 0.0 or most * share == int(most * share) or most < 2:
            yield _tick(_LEFT - 6, y + 4, f"{most * share:g}{unit if share else ''}", ' text-anchor="end"')
    step = (_WIDTH - _LEFT) / max(len(drawn), 1)
    for place, bar in enumerate(drawn):
        x, y = _LEFT + place * step, floor
        parts = [(kind, value / most * tall) for kind, value in bar.parts if value > 0]
        for kind, high in parts:
            high = max(high, 1.5)  # noqa: PLW2901  (what there is, is seen)
            y -= high
            size = f'width="{step - 3:.1f}" height="{high:.1f}"'
            yield f'<rect class="{kind}" x="{x + 1.5:.1f}" y="{y:.1f}" {size} rx="1"/>'
        if place % max(len(drawn) // 6, 1) == 0:
            yield _tick(x + 1.5, _HEIGHT - 6, bar.label)
    yield "</svg>"


def _tick(x: float, y: float, told: str, more: str = "") -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}"{more}>{escape(told)}</text>'


def _round_up(value: float) -> float:
    """Return a round number that is at least so high: 1, 2, 5, 10, 20, ..."""
    power = 1.0
    if value <= 0:
        return 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(tick * power for tick in (*_TICKS, 10) if tick * power >= value)


def share(part: int, whole: int) -> str:
    """Return a lying bar that shows a part of a whole; the number stands beside it."""
    wide = 0.0 if whole == 0 else min(100.0, 100 * part / whole)
    return (
        '<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="of" width="100" height="8"/><rect class="is" width="{wide:.1f}" height="8"/></svg>'
    )
