"""Where everything stands in the picture of a journey: boxes, arrows and words, in pixels. Pure.

Steps stand in one column, in declared order; the way to the step below is the straight line between
two boxes. What ends the run leaves to the right, on a line of its own; what jumps leaves to the left,
goes along a lane and comes in from the left. All jumps to one step share a lane, and the shortest
lanes lie nearest. So no line crosses a box or a word, whatever the definition: a layout by layers
would be more compact, and could promise neither.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chimeway.workflow.definition import Definition, NotifyAction, Step
from chimeway.workflow.graph import graph_of
from chimeway.workflow.telling import Way, doing, signal_of, visible, ways_out

CHAR: Final = 8.0
"""Width of a character of a monospaced font of 13 px, on the safe side."""
LINE: Final = 18.0
"""Height of a line of text."""
PILL: Final = 92.0
"""Width of the pill in which a run ends."""
_MARGIN: Final = 20.0
_PAD: Final = 16.0
_STUB: Final = 14.0
_LANE: Final = 14.0
_GAP: Final = 36.0
_ENTRY: Final = 12.0
"""How far below the top of a box its jumps come in."""
_BOX_CELLS: Final = 48
_LABEL_CELLS: Final = 36
_HEAD_CELLS: Final = 76


@dataclass(frozen=True, slots=True)
class Words:
    """Lines of text: the baseline of the first stands at `y`; `anchor` is start, middle or end."""

    x: float
    y: float
    lines: tuple[str, ...]
    anchor: str = "start"
    role: str = "label"


@dataclass(frozen=True, slots=True)
class Box:
    """A step; `bold` are the lines of its id."""

    x: float
    y: float
    width: float
    height: float
    sends: bool
    bold: tuple[str, ...]
    lines: tuple[str, ...]
    step: str = ""


@dataclass(frozen=True, slots=True)
class Pill:
    """Where a run begins or ends; `x` and `y` are its middle."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line with a head at its last point; corners are to be rounded.

    It leads from a step (None: the trigger) to another, or to how a run ends.
    """

    points: tuple[tuple[float, float], ...]
    leads: tuple[str | None, str] = (None, "")


@dataclass(slots=True)
class Picture:
    """All that is to be drawn."""

    width: float = 0.0
    height: float = 0.0
    boxes: list[Box] = field(default_factory=list)
    pills: list[Pill] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Row:
    """A step and its ways: straight down, to an end at the right, or away at the left."""

    step: Step
    bold: tuple[str, ...]
    lines: tuple[str, ...]
    down: tuple[str, ...]
    ends: tuple[tuple[str, tuple[str, ...]], ...]
    jumps: tuple[tuple[str, tuple[str, ...]], ...]
    goes_down: bool
    ends_below: bool
    is_target: bool

    @property
    def height(self) -> float:
        """Return how high the box must be for its text and for the lines at its sides."""
        text = (len(self.bold) + len(self.lines)) * LINE + _PAD
        left = sum(_slot(label) for _, label in self.jumps) + (LINE if self.is_target else 0.0)
        return max(text, left + 14, sum(_slot(label) for _, label in self.ends) + 14)


def laid_out(definition: Definition) -> Picture:
    """Return the picture of a definition: the same for the same content."""
    rows = _rows(definition)
    return _Sheet(definition, rows).filled()


def wrapped(text: str, cells: int) -> tuple[str, ...]:
    """Return a text in lines of at most so many cells, broken at blanks where there are any."""
    lines = [""]
    for word in visible(text).split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _cells(joined) <= cells:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if _cells(lines[-1] + char) > cells:
                lines.append("")
            lines[-1] += char
    return tuple(lines)


def _rows(definition: Definition) -> list[_Row]:
    graph = graph_of(definition.steps)
    ways = [list(ways_out(graph, step)) for step in definition.steps]
    below = [step.id for step in definition.steps[1:]]
    jumped_to = {
        way.target
        for place, out in enumerate(ways)
        for way in out
        if not way.ends and way.target not in below[place : place + 1]
    }
    return [
        _row(step, ways[place], below[place] if place < len(below) else None, jumped_to)
        for place, step in enumerate(definition.steps)
    ]


def _row(step: Step, ways: Sequence[Way], below: str | None, jumped_to: set[str]) -> _Row:
    down = [way for way in ways if not way.ends and way.target == below]
    finish = [way for way in ways if below is None and way.ends and way.by_itself]
    straight = down or finish
    labels = (
        [way.label or "otherwise" for way in straight] if len(straight) > 1 else [w.label for w in straight]
    )
    return _Row(
        step=step,
        bold=wrapped(step.id, _BOX_CELLS),
        lines=wrapped(doing(step), _BOX_CELLS),
        down=tuple(line for label in labels if label for line in wrapped(label, _LABEL_CELLS)),
        ends=tuple(
            (way.target, wrapped(way.label or "then", _LABEL_CELLS))
            for way in ways
            if way.ends and way not in straight
        ),
        jumps=tuple(
            (way.target, wrapped(way.label or "then", _LABEL_CELLS))
            for way in ways
            if not way.ends and way not in straight
        ),
        goes_down=bool(straight),
        ends_below=bool(finish),
        is_target=step.id in jumped_to,
    )


class _Sheet:
    def __init__(self, definition: Definition, rows: Sequence[_Row]) -> None:
        self._definition = definition
        self._rows = rows
        self._picture = Picture()
        left = [line for row in rows for _, label in row.jumps for line in label]
        right = [line for row in rows for _, label in row.ends for line in label]
        self._left_label = _width(left)
        self._right_label = max(_width(right), 2 * CHAR)
        self._box = max(_width([line for row in rows for line in (*row.bold, *row.lines)]) + 2 * _PAD, 160.0)
        self._lane_of = _lanes(rows)
        outermost = max(self._lane_of.values(), default=-1)
        beside = self._left_label + 2 * _STUB if self._lane_of else 0.0
        self._x = _MARGIN + (outermost + 1) * _LANE + beside
        self._tops: list[float] = []

    def filled(self) -> Picture:
        picture = self._picture
        top = self._head()
        for row in self._rows:
            self._tops.append(top)
            top += row.height + _GAP + LINE * max(len(row.down) - 1, 0)
        self._place_start()
        for place in range(len(self._rows)):
            self._place_row(place)
        picture.width = self._right_edge() + _MARGIN
        picture.height = top - _GAP + _MARGIN + (LINE + _GAP if self._rows[-1].ends_below else 0.0)
        return picture

    def _right_edge(self) -> float:
        head = max(_width(words.lines) for words in self._picture.words if words.role != "label")
        ends = self._right_label + 2 * _STUB + PILL if any(row.ends for row in self._rows) else 0.0
        below = max(_width(row.down) for row in self._rows)
        return max(_MARGIN + head, self._x + self._box + ends, self._x + self._box / 2 + 8 + below)

    def _head(self) -> float:
        """Place what is said above the drawing; return where the first box begins."""
        definition, y = self._definition, _MARGIN + 12
        title = wrapped(f"{definition.key} version {definition.version}", _HEAD_CELLS)
        about = [*(definition.description or "").splitlines()]
        about += [f"At any moment {signal_of(one)} stops the run." for one in definition.stop_conditions]
        lines = tuple(line for text in about for line in wrapped(text, _HEAD_CELLS))
        self._picture.words.append(Words(_MARGIN, y, title, role="title"))
        y += LINE * len(title)
        if lines:
            self._picture.words.append(Words(_MARGIN, y, lines, role="about"))
            y += LINE * len(lines)
        return y + LINE + _GAP

    def _place_start(self) -> None:
        middle, top = self._x + self._box / 2, self._tops[0]
        self._picture.pills.append(Pill(middle, top - _GAP - LINE / 2 + 4, "trigger"))
        self._picture.arrows.append(
            Arrow(((middle, top - _GAP + 8), (middle, top)), (None, self._rows[0].step.id))
        )

    def _place_row(self, place: int) -> None:
        row, top = self._rows[place], self._tops[place]
        sends = isinstance(row.step.action, NotifyAction)
        self._picture.boxes.append(
            Box(self._x, top, self._box, row.height, sends, row.bold, row.lines, row.step.id)
        )
        self._place_ends(row, top)
        self._place_jumps(row, top)
        if row.goes_down:
            self._place_down(place)

    def _place_down(self, place: int) -> None:
        row = self._rows[place]
        middle, bottom = self._x + self._box / 2, self._tops[place] + row.height
        end = bottom + _GAP + LINE * max(len(row.down) - 1, 0)
        to = "completed" if row.ends_below else self._rows[place + 1].step.id
        self._picture.arrows.append(Arrow(((middle, bottom), (middle, end)), (row.step.id, to)))
        if row.down:
            self._picture.words.append(Words(middle + 8, bottom + _GAP / 2 + 4, row.down))
        if row.ends_below:
            self._picture.pills.append(Pill(middle, end + LINE / 2 + 3, "completed"))

    def _place_ends(self, row: _Row, top: float) -> None:
        x, y = self._x + self._box, top + 4
        end = x + self._right_label + 2 * _STUB
        for target, label in row.ends:
            y += _slot(label)
            self._picture.words.append(Words(x + _STUB, y - 8 - LINE * (len(label) - 1), label))
            self._picture.arrows.append(Arrow(((x, y - 2), (end, y - 2)), (row.step.id, target)))
            self._picture.pills.append(Pill(end + PILL / 2, y - 2, target))

    def _place_jumps(self, row: _Row, top: float) -> None:
        y = top + (_ENTRY + 4 if row.is_target else 4)
        for target, label in row.jumps:
            y += _slot(label)
            to = next(i for i, each in enumerate(self._rows) if each.step.id == target)
            lane = self._x - self._left_label - 2 * _STUB - _LANE * self._lane_of[target]
            end = self._tops[to] + _ENTRY
            self._picture.words.append(
                Words(self._x - _STUB, y - 8 - LINE * (len(label) - 1), label, anchor="end")
            )
            corners = ((self._x, y - 2), (lane, y - 2), (lane, end), (self._x, end))
            self._picture.arrows.append(Arrow(corners, (row.step.id, target)))


def _lanes(rows: Sequence[_Row]) -> dict[str, int]:
    """Give each step that is jumped to a lane: the shorter its way, the nearer to the boxes."""
    places = {row.step.id: place for place, row in enumerate(rows)}
    reach: dict[str, tuple[int, int]] = {}
    for place, row in enumerate(rows):
        for target, _ in row.jumps:
            low, high = reach.get(target, (places[target], places[target]))
            reach[target] = (min(low, place), max(high, place))
    lanes: dict[str, int] = {}
    for target, (low, high) in sorted(reach.items(), key=lambda one: (one[1][1] - one[1][0], one[1])):
        taken = {lanes[each] for each in lanes if reach[each][0] <= high and low <= reach[each][1]}
        lanes[target] = next(lane for lane in range(len(taken) + 1) if lane not in taken)
    return lanes


def _slot(label: Sequence[str]) -> float:
    return LINE * len(label) + 11


def _width(lines: Sequence[str]) -> float:
    return max((_cells(line) for line in lines), default=0) * CHAR


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
