"""What is wrong with a definition: the code, the place, what was given and what would be right."""

from typing import Any

import pytest

from chimeway.errors import InvalidDefinition
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import check, parse
from chimeway.workflow.problems import CODES
from chimeway.workflow.text import check_text
from pure.workflow_faults import FAULTS, REMARKS
from pure.workflow_forms import MENTION, NOTIFY, WAIT, later, notify, on, signal, wait, workflow

CHANNELS = frozenset({"email", "in_app"})
FROM_TEXT = {"malformed", "duplicate_key", "no_definition"}


@pytest.mark.parametrize(("raw", "code", "path", "told"), FAULTS, ids=[f"{f[1]}-{f[2][:40]}" for f in FAULTS])
def test_a_fault_has_its_code_its_place_and_what_would_be_right(
    raw: Any, code: str, path: str, told: str
) -> None:
    """Exactly there, in words; and `parse` refuses with the same."""
    checked = check(raw, channels=CHANNELS)
    found = [problem for problem in checked.errors if (problem.code, problem.path) == (code, path)]
    assert len(found) == 1, checked.problems
    assert told in found[0].message
    with pytest.raises(InvalidDefinition, match=code) as caught:
        parse(raw)
    assert found[0] in caught.value.details["problems"]
    assert caught.value.code == "invalid_definition"


@pytest.mark.parametrize(("raw", "code", "path", "told"), REMARKS, ids=[r[1] for r in REMARKS])
def test_a_remark_leaves_the_definition_valid(raw: Any, code: str, path: str, told: str) -> None:
    """Warnings have places and words too, and are all there is to say."""
    checked = check(raw, channels=CHANNELS)
    [found] = checked.problems
    assert (found.code, found.path, found.severity) == (code, path, "warning")
    assert told in found.message
    assert checked.definition == parse(raw)


def test_every_code_is_shown_by_a_test() -> None:
    """The list of codes and these tables name the same."""
    assert {code for _, code, _, _ in FAULTS + REMARKS} | FROM_TEXT == set(CODES)


def test_all_faults_are_found_at_once() -> None:
    """A definition that is wrong in many places is told of each, in reading order."""
    raw = workflow(
        notify("a", on("bounce", "nowhere"), colour="red"),
        wait("a", signal(then="halt"), action={**WAIT, "duration": "soon"}),
        kee="k",
    )
    del raw["version"]
    assert [(each.code, each.path) for each in check(raw).errors] == [
        ("unknown_key", "kee"),
        ("missing_key", "version"),
        ("duplicate_step_id", "steps[1].id"),
        ("unknown_key", "steps[0].colour"),
        ("unknown_outcome", "steps[0].progress[0].outcome"),
        ("unknown_step", "steps[0].progress[0].to_step"),
        ("invalid_duration", "steps[1].action.duration"),
        ("invalid_value", "steps[1].action.stop_conditions[0].then"),
    ]
    with pytest.raises(InvalidDefinition, match=r"8 faults in workflow 'k'\n") as caught:
        parse(raw)
    assert str(caught.value).count("\n") == 8


def test_a_fault_has_no_followers() -> None:
    """What was complained about gives no second complaint: no cycle, no unreachable step."""
    for raw in (
        workflow(notify("end", next="end")),
        workflow(notify("a"), notify("a")),
        workflow(notify("a", next="c"), notify("b")),
        workflow(notify("a"), wait("w", action={**WAIT, "duration": "x"}, next="a")),
        workflow(notify("a"), wait("w", action={"type": "wiat"}, next="a")),
        workflow(notify(), critical=float("inf")),
    ):
        assert len(check(raw).problems) == 1, raw


def test_many_faults_stay_affordable() -> None:
    """Thousands of steps and unknown keys are told of in one pass."""
    raw = workflow(*(notify(f"s{i}", **{f"x{i}": 1}) for i in range(2_000)))
    assert len(check(raw).errors) == 2_001


@pytest.mark.parametrize(
    "raw",
    [
        workflow(notify("a"), wait("w", next="a")),
        workflow(notify("a", later("a"))),
        workflow(notify("a"), wait("w", signal(then={"goto": "a"}))),
        workflow(notify("a", on("bounced", "w")), wait("w", next="a")),
        workflow(notify("a", next="end"), critical=True, category="news", description=""),
        workflow(
            wait("w", signal(match={"a": None, "b": [1, {"x": 1}], "c": {"value": {"data": 1}}})), notify()
        ),
        workflow(
            notify("a"), wait("w", signal(match={"id": {"delivery": "a"}}, since="entered", then="continue"))
        ),
        workflow(*(notify(f"s{i}") for i in range(100))),
        MENTION,
    ],
)
def test_what_is_right_is_taken(raw: Any) -> None:
    """Cycles that wait, every form of a match, a hundred steps."""
    assert check(raw).problems == ()
    assert isinstance(parse(raw), Definition)


def test_what_was_given_is_left_alone() -> None:
    """A definition shares nothing with the value it was read from."""
    raw = workflow(notify() | {"action": {**NOTIFY, "data": {"x": [1]}}})
    definition = parse(raw)
    raw["steps"][0]["action"]["data"]["x"].append(2)
    assert definition.steps[0].action.data == {"x": [1]}


def test_a_problem_is_printed_as_a_compiler_would() -> None:
    """File, line, severity, code, path, message."""
    [checked] = check_text('{"key": "k",\n "version": 0, "steps": [' + "]}", format="json")
    assert [each.printed("w.json") for each in checked.problems] == [
        "w.json:2: error[invalid_value] version: given 0; wanted 1 to 2147483647",
        "w.json:2: error[empty_steps] steps: given no step; wanted at least one",
    ]
