"""Golden digests: a definition's digest, once released, never changes.

A digest that differs here means that registered definitions are refused after an upgrade. Do not
correct the numbers: correct the code.
"""

import hashlib
from typing import Any

import pytest

from chimeway.workflow.encode import canonical_json, digest, required_data, signal_types
from chimeway.workflow.parse import parse
from chimeway.workflow.text import loads
from pure.test_workflow_build import AS_YAML, EVERY_KEY
from pure.workflow_forms import MENTION, NOTIFY, later, notify, on, signal, wait, workflow

CYCLE = workflow(notify("a"), wait("w", next="a"), key="cycle")
SECONDS = workflow(
    notify("a", on("bounced", "b"), later("b", delay_seconds=5400)), notify("b"), key="seconds"
)
UNICODE = workflow(
    notify()
    | {"action": {**NOTIFY, "data": {"\U0001f600": "€\u2028\x1f", "\ufb33": -0.0, "a": 1e15, "1": 1e-7}}},
    key="unicode é",
)
UNTIL = workflow(
    wait("w", action={"type": "wait", "until": "2026-03-29T09:00:00.5+01:00"}), notify(), key="until"
)

GOLDEN: dict[str, tuple[Any, str]] = {
    "mention_escalation": (MENTION, "6c8370cc11857caf7ee021321896798f6faea018c30fb4a6c2d31a0a1a369eb8"),
    "every_key": (EVERY_KEY.as_dict(), "3d4efe9b5eff4a5c28cdaa0f9ba5f89dbce42f82591e3f2978f8ee48781049d1"),
    "cycle": (CYCLE, "fe1521b94a3f2da7aeaecfa428e303c561ec55f4cb0cee677fcfa82e9b4380fb"),
    "seconds": (SECONDS, "15fe9d3d0961679d53540cbbda7f91f08692151bae3193b5d9f4f73c98632e2d"),
    "unicode": (UNICODE, "d4c486b75d5871a8f5689c1ca146cf1138ce7e29dadeefb866f3ca412e34249a"),
    "until": (UNTIL, "8cdaf2e5cbcd6b28b2917d9b2dba37b66606c2e224d404d682e74870b072f974"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_digests(name: str) -> None:
    """They are as they were when they were released."""
    raw, golden = GOLDEN[name]
    assert digest(parse(raw)) == golden


def test_the_digest_is_that_of_the_canonical_text() -> None:
    """RFC 8785: sorted keys, no blanks, UTF-8; checked against text written by hand."""
    text = (
        b'{"key":"mention_escalation","steps":['
        b'{"action":{"channel":"in_app","render_key":"mention_notification","type":"notify"},"id":"step_in_app"},'
        b'{"action":{"duration":"PT2H","stop_conditions":[{"signal_type":"notification_read",'
        b'"type":"signal_received"}],"type":"wait"},"id":"step_wait_for_read"},'
        b'{"action":{"channel":"email","render_key":"mention_email","type":"notify"},"id":"step_email_escalation"}'
        b'],"version":1}'
    )
    assert canonical_json(parse(MENTION)) == text
    assert digest(parse(MENTION)) == hashlib.sha256(text).hexdigest() == GOLDEN["mention_escalation"][1]


def test_the_canonical_text_of_odd_values() -> None:
    """Keys by UTF-16 units, numbers as ECMAScript writes them, minus zero as zero."""
    assert canonical_json(parse(UNICODE)).decode() == (
        '{"key":"unicode é","steps":[{"action":{"channel":"email","data":{"1":1e-7,"a":1000000000000000,'
        '"\U0001f600":"€\u2028\\u001f","\ufb33":0},"render_key":"hello","type":"notify"},"id":"a"}],"version":1}'
    )


def full() -> dict[str, Any]:
    """Return the guide's journey with every default written out."""
    first, second, third = MENTION["steps"]
    defaults = {"match": {}, "then": "stop", "since": "run"}
    listening = [{**second["action"]["stop_conditions"][0], **defaults}]
    return {
        **MENTION,
        "stop_conditions": [],
        "critical": False,
        "category": None,
        "description": None,
        "steps": [
            {
                **first,
                "progress": [],
                "next": "step_wait_for_read",
                "action": {**first["action"], "data": {}},
            },
            {
                **second,
                "next": "step_email_escalation",
                "action": {**second["action"], "stop_conditions": listening},
            },
            {**third, "progress": [], "next": "end"},
        ],
    }


def test_defaults_are_left_out() -> None:
    """Whatever equals its default is as good as absent, in every place that has one."""
    assert digest(parse(full())) == GOLDEN["mention_escalation"][1]
    ruled = workflow(notify("a", on("bounced", "b"), later("b")), notify("b"))
    written = workflow(
        notify(
            "a",
            on("bounced", "b", keep_retrying=False),
            later("b", anchor="prior_delivery_terminal_at", cancel_signals=[]),
        ),
        notify("b", next="end"),
    )
    assert digest(parse(written)) == digest(parse(ruled))


def test_the_default_of_next_depends_on_the_rules() -> None:
    """`end` is left out after rules, the following step without them; the other is kept."""
    plain, ruled = notify("a"), notify("a", {"kind": "stop", "outcome": "bounced"})
    for step, left_out, kept in ((plain, "b", "end"), (ruled, "end", "b")):
        without = digest(parse(workflow(step, notify("b"))))
        assert digest(parse(workflow({**step, "next": left_out}, notify("b")))) == without
        assert digest(parse(workflow({**step, "next": kept}, notify("b")))) != without


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"critical": True},
        {"category": "x"},
        {"description": ""},
        {"stop_conditions": [signal()]},
        {"steps": MENTION["steps"][:2]},
        {"steps": [*MENTION["steps"][1:], MENTION["steps"][0]]},
    ],
)
def test_what_means_something_changes_the_digest(change: Any) -> None:
    """Any other content is another digest."""
    assert digest(parse({**MENTION, **change})) != GOLDEN["mention_escalation"][1]


def test_what_sql_needs_to_know() -> None:
    """Signal types sorted and once; data's fields, an instant where any wait wants one."""
    assert signal_types(EVERY_KEY.definition) == ("jump", "left", "read", "seen", "skip")
    assert required_data(EVERY_KEY.definition) == {"doc": "any", "starts_at": "instant"}
    assert (signal_types(parse(CYCLE)), required_data(parse(CYCLE))) == ((), {})
    both = workflow(
        wait("w", signal(match={"at": {"data": "at"}}), action={"type": "wait", "until": {"data": "at"}}),
        wait("v", signal(match={"at": {"data": "at"}})),
    )
    assert required_data(parse(both)) == {"at": "instant"}


def test_the_digest_is_that_of_the_yaml() -> None:
    """Comments, order and style mean nothing."""
    assert digest(parse(loads(AS_YAML, format="yaml", source="x")[0])) == GOLDEN["every_key"][1]
