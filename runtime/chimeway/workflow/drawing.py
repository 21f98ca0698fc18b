"""A journey drawn for a terminal: steps down the page in declared order, and the ways between them.

The line at the left is the way that a run takes when nothing else happens and that leads to the
step below; every other way is an arrow to the right, with what takes it. One line of text for each
thing: nothing is cut, and what is too long for a screen is the terminal's to fold.
"""

from collections.abc import Iterator, Mapping

from chimeway.workflow.definition import Definition, NotifyAction, Step
from chimeway.workflow.graph import graph_of
from chimeway.workflow.telling import Way, doing, signal_of, visible, ways_out

STEP_GLYPHS: tuple[str, str] = ("●", "◷")
"""What opens the line of a step that sends, and of one that waits."""
ASCII: Mapping[int, str] = str.maketrans(
    {
        "●": "*",
        "◷": "o",
        "│": "|",
        "├": "|",
        "└": "`",
        "─": "-",
        "▶": ">",
        "▼": "v",
        "■": "#",
        "↑": "^",
        "↓": "v",
    }
)
"""How a terminal shows it that knows no more than ASCII."""


def drawn(definition: Definition) -> list[str]:
    """Return a definition as lines of text, the same for the same content."""
    return [visible(line) for line in _drawn(definition)]


def _drawn(definition: Definition) -> Iterator[str]:
    yield f"{definition.key} version {definition.version}"
    if definition.description:
        yield from (f"  {line}" for line in definition.description.splitlines())
    for condition in definition.stop_conditions:
        yield f"  at any moment: {signal_of(condition)} ──▶ ■ stopped"
    yield ""
    graph = graph_of(definition.steps)
    places = {step.id: place for place, step in enumerate(definition.steps)}
    last = len(definition.steps) - 1
    for place, step in enumerate(definition.steps):
        below = "■ completed" if place == last else definition.steps[place + 1].id
        ways = list(ways_out(graph, step))
        down = next((way for way in ways if way.by_itself and _leads(way, below)), None)
        aside = [way for way in ways if way is not down]
        yield f"{_glyph(step)} {step.id}: {doing(step)}"
        for number, way in enumerate(aside):
            corner = "└" if down is None and number == len(aside) - 1 else "├"
            yield f"{corner}─ {way.label or 'then'} ──▶ {_target(way, place, places)}"
        if down is not None:
            yield f"▼ {down.label}".rstrip()
            if place == last:
                yield below
        elif place != last:
            yield ""


def _leads(way: Way, below: str) -> bool:
    return below == f"■ {way.target}" if way.ends else below == way.target


def _glyph(step: Step) -> str:
    return STEP_GLYPHS[0] if isinstance(step.action, NotifyAction) else STEP_GLYPHS[1]


def _target(way: Way, place: int, places: Mapping[str, int]) -> str:
    if way.ends:
        return f"■ {way.target}"
    return f"{'↑' if places[way.target] <= place else '↓'} {way.target}"
