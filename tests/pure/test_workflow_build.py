"""The four forms are one thing: Python objects, a dict, JSON and YAML."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from chimeway.errors import InvalidDefinition, InvalidInput
from chimeway.workflow.build import (
    Notify,
    Wait,
    Workflow,
    from_data,
    from_delivery,
    goto,
    on_outcome,
    signal_received,
    stop_on,
    wait_until,
)
from chimeway.workflow.coerce import coerce
from chimeway.workflow.encode import encode
from chimeway.workflow.parse import parse
from chimeway.workflow.text import check_text
from pure.workflow_forms import MENTION

EVERY_KEY = Workflow(
    key="every_key",
    version=3,
    steps=[
        Notify(
            "first",
            channel="push",
            render_key="hello",
            data={"colour": "red"},
            progress=[
                on_outcome("temporary_failure", to_step="second", keep_retrying=True),
                stop_on("suppressed"),
                wait_until(
                    to_step="gate", delay=timedelta(minutes=90), cancel_signals=[signal_received("seen")]
                ),
            ],
        ),
        Wait(
            "gate",
            until=from_data("starts_at"),
            stop_conditions=[
                signal_received(
                    "read", match={"doc": from_data("doc"), "id": from_delivery("first"), "n": 1}
                ),
                signal_received("skip", then="continue", since="entered"),
                signal_received("jump", then=goto("second")),
            ],
            next="second",
        ),
        Wait("never", duration=timedelta(days=1)),
        Notify("second", channel="email", render_key="bye", next="end"),
    ],
    stop_conditions=[signal_received("left", match={"team": {"value": {"id": 7}}})],
    critical=True,
    category="news",
    description="All there is.",
)
AS_YAML = """
key: every_key
version: 3
critical: true
category: news
description: All there is.
stop_conditions:
  - {type: signal_received, signal_type: left, match: {team: {value: {id: 7}}}}
steps:
  - id: first
    action: {type: notify, channel: push, render_key: hello, data: {colour: red}}
    progress:
      - {kind: on_outcome, outcome: temporary_failure, to_step: second, keep_retrying: true}
      - {kind: stop, outcome: suppressed}
      - kind: wait_until
        anchor: prior_delivery_terminal_at
        delay: PT1H30M
        to_step: gate
        cancel_signals: [{type: signal_received, signal_type: seen, then: stop}]
  - id: gate
    action:
      type: wait
      until: {data: starts_at}
      stop_conditions:
        - {type: signal_received, signal_type: read, match: {doc: {data: doc}, id: {delivery: first}, n: 1}}
        - {type: signal_received, signal_type: skip, then: continue, since: entered}
        - {type: signal_received, signal_type: jump, then: {goto: second}}
    next: second
  - id: never
    action: {type: wait, duration: PT24H}
  - id: second
    action: {type: notify, channel: email, render_key: bye}
"""


class MentionData(BaseModel):
    """What a mention's trigger must bring."""

    document_id: str
    count: int = 1


def mention(**more: Any) -> Workflow:
    """Return the example of the documentation."""
    return Workflow(
        key="mention_escalation",
        version=1,
        steps=[
            Notify("step_in_app", channel="in_app", render_key="mention_notification"),
            Wait(
                "step_wait_for_read", duration="PT2H", stop_conditions=[signal_received("notification_read")]
            ),
            Notify("step_email_escalation", channel="email", render_key="mention_email"),
        ],
        **more,
    )


def test_the_guides_journey_in_four_forms() -> None:
    """Python, dict, JSON and YAML give equal definitions."""
    [from_json] = check_text(json.dumps(MENTION), format="json")
    assert mention().definition == parse(MENTION) == from_json.definition
    assert mention().as_dict() == MENTION


def test_every_key_in_four_forms() -> None:
    """The same for a definition that has every key there is."""
    [from_yaml] = check_text(AS_YAML, format="yaml")
    assert from_yaml.definition == EVERY_KEY.definition
    assert [problem.code for problem in from_yaml.warnings] == ["unreachable_step"]
    as_dict = EVERY_KEY.as_dict()
    assert parse(as_dict) == parse(json.loads(json.dumps(as_dict))) == EVERY_KEY.definition
    assert encode(parse(as_dict)) == as_dict
    assert coerce(as_dict) == coerce(EVERY_KEY) == coerce(EVERY_KEY.definition)


def test_steps_may_be_dicts_among_objects() -> None:
    """A step in its JSON form stands for itself."""
    mixed = Workflow(
        key="mention_escalation", version=1, steps=[*MENTION["steps"][:2], mention().as_dict()["steps"][2]]
    )
    assert mixed == mention()
    assert Notify("a", channel="c", render_key="r").as_dict() == {
        "id": "a",
        "action": {"type": "notify", "channel": "c", "render_key": "r"},
    }
    assert Wait("w", duration="P1D").as_dict() == {"id": "w", "action": {"type": "wait", "duration": "P1D"}}


def test_faults_are_those_of_the_dict() -> None:
    """Building judges at once, with the same codes and paths, and never guesses."""
    with pytest.raises(InvalidDefinition) as caught:
        Workflow(
            key="k",
            version=1,
            steps=[
                Wait("w", duration="2h", until=datetime(2026, 1, 1)),  # noqa: DTZ001  (what is refused)
                Notify("n", channel="email", render_key="r", progress=[on_outcome("bounce", to_step="x")]),
                "a step",
            ],
        )
    assert [
        (each.code, each.path) for each in caught.value.details["problems"] if each.severity == "error"
    ] == [
        ("conflicting_keys", "steps[0].action"),
        ("invalid_duration", "steps[0].action.duration"),
        ("invalid_value", "steps[0].action.until"),
        ("unknown_outcome", "steps[1].progress[0].outcome"),
        ("unknown_step", "steps[1].progress[0].to_step"),
        ("wrong_type", "steps[2]"),
    ]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=2), "PT2H"),
        (timedelta(days=1), "PT24H"),
        (timedelta(milliseconds=1), "PT0.001S"),
        ("P1D", "P1D"),
    ],
)
def test_spans(span: Any, text: str) -> None:
    """A timedelta is an exact span; text stays as it is."""
    [step] = Workflow(key="k", version=1, steps=[Wait("w", duration=span)]).as_dict()["steps"]
    assert step["action"]["duration"] == text


@pytest.mark.parametrize("span", [timedelta(0), timedelta(hours=-2)])
def test_spans_that_are_none(span: timedelta) -> None:
    """Nothing and less than nothing are no waits."""
    with pytest.raises(InvalidDefinition, match=r"invalid_duration.*wanted"):
        Workflow(key="k", version=1, steps=[Wait("w", duration=span)])


def test_moments() -> None:
    """One instant has one form, whatever offset it was written with; a naive one is refused."""
    instant = datetime(2026, 3, 29, 9, tzinfo=timezone(timedelta(hours=1)))
    forms = [instant, instant.astimezone(UTC), "2026-03-29T09:00:00+01:00", "2026-03-29T08:00:00.000Z"]
    digests = {Workflow(key="k", version=1, steps=[Wait("w", until=until)]).digest for until in forms}
    assert len(digests) == 1
    with pytest.raises(InvalidDefinition, match="with its offset"):
        Workflow(key="k", version=1, steps=[Wait("w", until=datetime(2026, 1, 1))])  # noqa: DTZ001


def test_equality_is_that_of_content() -> None:
    """Equal content is equal, hashes alike; true is not 1."""
    assert mention() == mention()
    assert len({mention(), mention()}) == 1
    assert mention() != mention(data=MentionData)
    assert mention() != "mention"

    def with_literal(value: Any) -> Workflow:
        return mention(stop_conditions=[signal_received("left", match={"x": value})])

    assert with_literal(1) == with_literal(1.0)
    assert with_literal(1) != with_literal(True)


def test_a_workflow_is_immutable() -> None:
    """Neither its parts nor what it hands out change it."""
    workflow = mention()
    workflow.as_dict()["steps"].clear()
    assert len(workflow.definition.steps) == 3
    with pytest.raises(AttributeError):
        workflow.definition = parse(MENTION)
    assert (workflow.key, workflow.version) == ("mention_escalation", 1)


def test_data_is_checked_by_its_model() -> None:
    """Mappings are kept whole, models become JSON, misfits are refused with their places."""
    workflow = mention(data=MentionData)
    assert workflow.check_data({"document_id": "d", "extra": 1}) == {"document_id": "d", "extra": 1}
    assert workflow.check_data(MentionData(document_id="d")) == {"document_id": "d", "count": 1}
    schema = workflow.data_schema()
    assert schema is not None
    assert schema["required"] == ["document_id"]
    with pytest.raises(InvalidInput, match="does not fit MentionData") as caught:
        workflow.check_data({"count": 2})
    assert caught.value.details["problems"][0]["loc"] == ("document_id",)
    assert mention().data_schema() is None
    assert mention().check_data([1]) == [1]


class AsClass:
    """The seed's form: a class that answers with a definition."""

    def workflow(self, args: Mapping[str, Any]) -> Any:
        """Return a dict, with what the arguments say."""
        return {**MENTION, "description": args.get("why")}


class Odd:
    """A class whose answer is none of the forms."""

    def workflow(self, args: Mapping[str, Any]) -> Any:
        """Return something else."""
        return [args]


def test_a_class_with_a_method_workflow() -> None:
    """It is asked, as a class or as an instance; what it returns is judged as ever."""
    assert coerce(AsClass) == coerce(AsClass()) == parse(MENTION)
    assert coerce(AsClass, {"why": "x"}).description == "x"
    with pytest.raises(InvalidDefinition, match="wrong_type"):
        coerce(AsClass(), {"why": 1})


@pytest.mark.parametrize("other", [None, 5, "mention_escalation", [MENTION], Odd, object()])
def test_what_is_no_workflow(other: object) -> None:
    """A TypeError lists the forms."""
    with pytest.raises(TypeError, match=r"a chimeway\.Workflow, a dict in the definition format"):
        coerce(other)


@pytest.mark.parametrize(
    "given", [{"type": "object"}, MentionData(document_id="doc_789"), "MentionData", int]
)
def test_data_is_a_model_or_refused_at_once(given: Any) -> None:
    """A schema, or an instance, would else be found out by the first trigger, with an error from inside."""
    with pytest.raises(InvalidInput, match=r"^invalid_input: data is no model: give a class") as caught:
        mention(data=given)
    assert caught.value.details["field"] == "data"
