"""Which signal counts, and for which condition: semantics §6."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chimeway.limits import MAX_SIGNALS_PER_DECISION
from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision
from chimeway.workflow.parse import parse
from pure.progression_rows import HOUR, NOW, born, decided, delivery, mail, run, snapshot, waiting
from pure.workflow_forms import later, notify, signal, wait, workflow


def listening(*conditions: Any, **rows: Any) -> Any:
    """Return a run that waits with these conditions of a step, and what else is given."""
    definition = parse(
        workflow(notify("a"), wait("wait", *conditions), notify("target"), **rows.pop("more", {}))
    )
    return waiting(definition=definition, **rows)


def stops(match: Any, payload: Any, data: Any = None) -> bool:
    """Tell whether a signal with this payload stops a run that waits with this match."""
    rows = listening(
        signal(match=match), data=data or {}, delivery_ids={"a": "d1"}, mail=(mail(1, "read", payload),)
    )
    answer = decide(rows, NOW, born)
    return isinstance(answer, Decision) and answer.kind == "stopped"


@pytest.mark.parametrize(
    ("match", "payload", "data", "met"),
    [
        ({"n": 1}, {"n": 1.0}, {}, True),
        ({"n": 1}, {"n": True}, {}, False),
        ({"n": False}, {"n": 0}, {}, False),
        ({"n": "1"}, {"n": 1}, {}, False),
        ({"n": None}, {"n": None}, {}, True),
        ({"n": None}, {}, {}, False),
        ({"n": {"value": {"a": [1]}}}, {"n": {"a": [1.0]}}, {}, True),
        ({"doc": {"data": "doc"}}, {"doc": "d"}, {"doc": "d"}, True),
        ({"doc": {"data": "doc"}}, {"doc": "e"}, {"doc": "d"}, False),
        ({"doc": {"data": "doc"}}, {"doc": 1}, {"doc": True}, False),
        ({"doc": {"data": "doc"}}, {}, {}, False),
        ({"doc": {"data": "doc"}}, {"doc": None}, {}, False),
        ({"doc": {"data": "doc"}}, {}, {"doc": None}, False),
        ({"id": {"delivery": "a"}}, {"id": "d1"}, {}, True),
        ({"id": {"delivery": "target"}}, {"id": None}, {}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, {}, True),
        ({"a": 1, "b": 2}, {"a": 1}, {}, False),
        ({}, {"anything": 1}, {}, True),
    ],
)
def test_a_match_is_equality_as_jsonb_has_it(match: Any, payload: Any, data: Any, met: bool) -> None:
    """1 is 1.0, true is not 1, and what is missing matches nothing, not even what is missing."""
    assert stops(match, payload, data) is met


def test_the_lowest_number_wins_whatever_it_wants() -> None:
    """Mailbox rows are tried in the order of their numbers, not in that of the conditions."""
    rows = listening(signal(), signal(signal_type="skip", then="continue"))
    first_skip = replace(rows, mail=(mail(2, "read"), mail(1, "skip")))
    assert decided(first_skip).transitions[0].signal_type == "skip"
    first_read = replace(rows, mail=(mail(2, "skip"), mail(1, "read")))
    assert (decided(first_read).kind, decided(first_read).consumed) == ("stopped", (1,))


def test_for_one_signal_the_declared_order_wins() -> None:
    """The step's conditions as written, then the workflow's."""
    go_on, stop = signal(then="continue"), signal()
    on_first = decided(listening(go_on, stop, mail=(mail(1, "read"),)))
    assert (on_first.kind, on_first.transitions[0].context["then"]) == ("advanced", "continue")
    assert decided(listening(stop, go_on, mail=(mail(1, "read"),))).kind == "stopped"
    both = decided(listening(go_on, more={"stop_conditions": [stop]}, mail=(mail(1, "read"),)))
    assert both.transitions[0].context["condition"] == "steps[1].action.stop_conditions[0]"


def test_only_what_wins_is_consumed() -> None:
    """The others stay for later waits of the run, and are heard there."""
    definition = parse(
        workflow(
            wait("wait", signal(then="continue")),
            wait("second", signal(signal_type="other", then={"goto": "last"})),
            notify("never"),
            notify("last"),
        )
    )
    rows = waiting(definition=definition, mail=(mail(1, "other"), mail(2, "read"), mail(3, "unheard")))
    decision = decided(rows)
    assert decision.consumed == (2, 1)
    assert decision.after.step == "last"
    once = decided(replace(rows, mail=(mail(2, "read"), mail(3, "read"))))
    assert (once.consumed, once.after.step) == ((2,), "second")


def test_since_entered_counts_from_each_entry() -> None:
    """A step entered again does not hear what was said before."""
    condition = signal(since="entered", then={"goto": "wait"})
    rows = listening(condition, mail=(mail(1, "read", ago=HOUR), mail(2, "read", ago=timedelta(0))))
    decision = decided(rows)
    assert decision.consumed == (1,)
    assert (decision.after.step, decision.after.visit) == ("wait", 4)


def test_armed_conditions_compare_with_the_entry_of_their_wait() -> None:
    """`since: entered` of a wait just left means that wait, not the step after it."""
    definition = parse(workflow(wait("wait", signal(since="entered")), notify("target")))
    at = run(
        "active", "target", entered_at=NOW - HOUR / 2, armed_step="wait", armed_entered_at=NOW - 2 * HOUR
    )
    rows = snapshot(at, definition=definition, delivery=delivery("pending"))
    assert decided(replace(rows, mail=(mail(1, "read", ago=HOUR),))).kind == "stopped"
    assert not isinstance(decide(replace(rows, mail=(mail(1, "read", ago=3 * HOUR),)), NOW, born), Decision)


def test_what_is_armed_is_disarmed_by_the_next_step() -> None:
    """Only the wait just left counts: entering another step forgets it."""
    definition = parse(workflow(wait("wait", signal()), notify("target"), notify("after")))
    at = run("active", "target", armed_step="wait", armed_entered_at=NOW - HOUR)
    decision = decided(snapshot(at, definition=definition, delivery=delivery("succeeded")))
    assert (decision.after.step, decision.after.armed_step) == ("after", None)
    assert decision.after.pending_signals == ()


def test_one_evaluation_consumes_at_most_25_signals() -> None:
    """The rest is left for the next, which comes at once; a stop is never put off."""
    definition = parse(
        workflow(wait("wait", signal(then={"goto": "wait"}), signal(signal_type="halt")), notify())
    )
    many = tuple(mail(n, "read") for n in range(1, 40))
    decision = decided(waiting(definition=definition, mail=many))
    assert len(decision.consumed) == MAX_SIGNALS_PER_DECISION - 1
    assert decision.after.wake_at == NOW
    stopped = decided(waiting(definition=definition, mail=(*many[:24], mail(25, "halt"), mail(26, "read"))))
    assert (stopped.kind, len(stopped.consumed)) == ("stopped", MAX_SIGNALS_PER_DECISION)


def test_pending_signals_are_what_is_listened_for() -> None:
    """Of the step, of what is armed, of the whole workflow; sorted, each once."""
    definition = parse(
        workflow(
            notify("a", later("b", cancel_signals=[signal(signal_type="z"), signal(signal_type="y")])),
            notify("b"),
            stop_conditions=[signal(signal_type="y"), signal(signal_type="x")],
        )
    )
    rows = snapshot(run("active", "a"), definition=definition, delivery=delivery("succeeded"))
    waits = decided(rows)
    assert waits.after.pending_signals == ("x", "y", "z")
    assert decided(replace(rows, delivery=None, run=run("active", None))).after.pending_signals == ("x", "y")
