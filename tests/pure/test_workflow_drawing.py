"""`workflow show`: the drawing for terminals and the SVG, against golden texts; paths in common."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chimeway.workflow.drawing import ASCII, drawn
from chimeway.workflow.layout import wrapped
from chimeway.workflow.parse import parse
from chimeway.workflow.paths import paths
from chimeway.workflow.survey import MOST_PATHS, survey
from chimeway.workflow.svg import svg
from kit.golden import agrees, sections
from pure.workflow_forms import MENTION, NOTIFY, later, notify, on, signal, wait, workflow

HERE = Path(__file__).parent
LINES, PICTURES = HERE / "drawing.golden.txt", HERE / "drawing.golden.svg.txt"
RULES = workflow(
    notify(
        "mail",
        on("bounced", "sms"),
        on("temporary_failure", "push", keep_retrying=True),
        {"kind": "stop", "outcome": "suppressed"},
        later("gate", delay="P1D", cancel_signals=[signal(signal_type="seen")]),
    ),
    wait(
        "gate",
        signal(match={"document_id": {"data": "document_id"}, "level": 3}),
        signal(signal_type="skip", then="continue"),
        signal(signal_type="jump", then={"goto": "push"}),
        action={"type": "wait", "until": {"data": "at"}},
    ),
    notify("sms", on("delivered", "day")),
    wait("day", action={"type": "wait", "until": "2026-03-30T00:00:00Z"}, next="end"),
    notify("push"),
    stop_conditions=[signal(signal_type="account_closed")],
    description="Mail first, then whatever works.\nAsk Grace before it is changed.",
)
CYCLE = workflow(notify("remind"), wait("a_week", signal(signal_type="paid")), notify("bye"), key="dunning")
CYCLE["steps"][1]["next"] = "remind"
CYCLE["steps"][1]["action"]["stop_conditions"].append(signal(signal_type="enough", then={"goto": "bye"}))
HOSTILE = workflow(
    notify("</text><script>alert(1)</script>", on("bounced", "日本語" * 20)),
    wait("]]>&amp;\"'", signal(signal_type="x" * 255)),
    notify("日本語" * 20),
    key="evil & co",
)
ROUNDS = workflow(
    wait("morning", signal(), action={"type": "wait", "until": {"at": "09:00", "on": "working_days"}}),
    notify("remind", next={"repeat": "morning", "times": 4, "then": "hours"}),
    wait("hours", action={"type": "wait", "until": {"within": {"from": "09:00", "to": "17:00"}}}),
    notify("last") | {"action": {**NOTIFY, "send_window": {"from": "08:00", "to": "20:00", "on": ["mon"]}}},
    key="rounds",
)
JOURNEYS: dict[str, Any] = {
    "the guide's": MENTION,
    "rules": RULES,
    "a cycle": CYCLE,
    "hostile": HOSTILE,
    "rounds": ROUNDS,
}


@pytest.mark.parametrize("name", JOURNEYS)
def test_drawings_are_the_golden_ones(name: str) -> None:
    """For a terminal and as an SVG: the same text for the same content, on every machine."""
    definition = parse(JOURNEYS[name])
    agrees(LINES, name, "\n".join(drawn(definition)))
    agrees(PICTURES, name, svg(definition))
    assert svg(definition) == svg(parse(JOURNEYS[name]))
    plain = "\n".join(drawn(definition)).translate(ASCII)
    assert plain.isascii() or name == "hostile"


def test_no_golden_drawing_is_left_over() -> None:
    """Each golden text belongs to a journey."""
    assert set(sections(LINES)) == set(sections(PICTURES)) == set(JOURNEYS)


def test_names_are_text_and_never_markup() -> None:
    """What a definition calls a step or a signal arrives in the SVG as it was written."""
    root = ET.fromstring(svg(parse(HOSTILE)))  # noqa: S314  (our own text)
    assert {each.tag.rpartition("}")[2] for each in root.iter()} == {
        "svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text", "tspan", "g",
    }  # fmt: skip
    assert any(each.text == "</text><script>alert(1)</script>" for each in root.iter())


def test_a_hundred_steps_are_drawn() -> None:
    """The longest journey there can be, with as many jumps."""
    steps = [wait(f"w{n}", signal(then={"goto": f"w{(n * 37 + 11) % 99}"})) for n in range(99)]
    definition = parse(workflow(*steps, notify("last")))
    assert len(drawn(definition)) > 200
    ET.fromstring(svg(definition))  # noqa: S314  (our own text)


def test_text_is_folded_between_words_and_else_where_it_must_be() -> None:
    """Nothing is cut; wide characters count for two."""
    assert wrapped("one two three", 7) == ("one two", "three")
    assert wrapped("x" * 10, 4) == ("xxxx", "xxxx", "xx")
    assert wrapped("日本語", 4) == ("日本", "語")
    assert wrapped("", 4) == ("",)


START = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_all_paths_say() -> None:
    """How many messages at most, and on which paths nothing arrives."""
    seen = survey(paths(parse(MENTION), start=START), limit=1)
    assert (len(seen.listed), seen.counted, seen.complete) == (1, 2, True)
    assert ([step.id for step in seen.most], seen.most_on) == (["step_in_app", "step_email_escalation"], 2)
    assert (seen.silent, seen.repeats) == ((), False)
    found = survey(paths(parse(RULES), start=START), limit=99)
    assert [step.id for step in found.most] == ["mail", "push"]
    assert found.silent == (4,)
    assert survey(paths(parse(CYCLE), start=START), limit=9).repeats


def test_more_paths_than_anybody_counts() -> None:
    """It looks at ten thousand and says that there are more."""
    steps = [wait(f"w{i}", signal(then={"goto": f"w{i + 2}"})) for i in range(60)]
    seen = survey(paths(parse(workflow(*steps, wait("w60"), wait("w61"), notify())), start=START), limit=5)
    assert (len(seen.listed), seen.counted, seen.complete) == (5, MOST_PATHS, False)


def test_data_that_is_known_closes_what_was_open() -> None:
    """An `until` from the data has its moment once the data is given."""
    definition = parse(RULES)
    known = list(paths(definition, start=START, data={"at": "2026-01-05T09:00:00Z"}))
    assert all(leg.entered.latest is not None for path in known for leg in path.legs)
    for wrong in (5, "soon"):
        with pytest.raises(ValueError, match="wanted an instant"):
            list(paths(definition, start=START, data={"at": wrong}))
