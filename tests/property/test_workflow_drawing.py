"""Whatever the journey: its picture is valid, nothing is cut, and no line crosses a box or a word."""

from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

from hypothesis import given, settings

from chimeway.workflow.definition import Definition
from chimeway.workflow.drawing import drawn
from chimeway.workflow.layout import CHAR, LINE, PILL, Picture, Words, laid_out
from chimeway.workflow.svg import svg
from chimeway.workflow.telling import visible
from property.definitions import definitions

Area = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def area(words: Words) -> Area:
    """Return where words stand."""
    wide = max(len(line) for line in words.lines) * CHAR
    left = {"start": words.x, "middle": words.x - wide / 2, "end": words.x - wide}[words.anchor]
    return left, words.y - 10, left + wide, words.y + 3 + LINE * (len(words.lines) - 1)


def areas(picture: Picture) -> list[Area]:
    """Return where boxes, pills and words stand."""
    boxes = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in picture.boxes]
    pills = [(p.x - PILL / 2, p.y - 12, p.x + PILL / 2, p.y + 12) for p in picture.pills]
    return [*boxes, *pills, *(area(words) for words in picture.words)]


def overlap(one: Area, other: Area) -> bool:
    """Tell whether two areas share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@settings(deadline=None, max_examples=60)
@given(definitions())
def test_nothing_overlaps_and_nothing_is_cut(definition: Definition) -> None:
    """Boxes, pills, words and lines keep apart, and all lie on the sheet."""
    picture = laid_out(definition)
    placed = areas(picture)
    assert not [pair for pair in combinations(placed, 2) if overlap(*pair)]
    for left, top, right, bottom in placed:
        assert left >= 0 <= top
        assert right <= picture.width
        assert bottom <= picture.height
    for arrow in picture.arrows:
        for (x, y), (to_x, to_y) in pairwise(arrow.points):
            line = min(x, to_x) + 0.1, min(y, to_y) + 0.1, max(x, to_x) - 0.1, max(y, to_y) - 0.1
            assert not [each for each in placed if overlap(line, each)]


@settings(deadline=None, max_examples=60)
@given(definitions())
def test_every_step_and_way_is_in_both_drawings(definition: Definition) -> None:
    """The SVG is XML with title and description; both forms name every step, and are one line a thing."""
    lines = drawn(definition)
    root = ET.fromstring(svg(definition))  # noqa: S314  (our own text)
    words = {"".join(each.itertext()).replace(" ", "") for each in root.iter()}
    for step in definition.steps:
        assert any(line[2:].startswith(f"{step.id}: ") for line in lines)
        assert step.id.replace(" ", "") in words
    assert all(line == visible(line) for line in lines)
    named = {each.get("id"): each for each in root.iter() if each.get("id")}
    title, desc = (root.get("aria-labelledby") or "").split()
    assert named[title].text == f"Workflow {lines[0]}"
    assert definition.steps[0].id in (named[desc].text or "")
