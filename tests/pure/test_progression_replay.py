"""Deciding again from definition, former transitions and inputs (I10), and the fold (I1)."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.progression.fold import Folded, fold
from chimeway.progression.paper import STARTED, attempted, signalled, triggered, written_down
from chimeway.progression.replay import by_visit, differences, replay
from chimeway.workflow.parse import parse
from pure.progression_rows import HOUR, NOW, born, decided, delivery, mail, run, snapshot, waiting
from pure.workflow_forms import MENTION, notify, signal, wait, workflow

DEFINITION = parse(
    workflow(
        notify("first"),
        wait("gate", signal(match={"doc": {"data": "doc"}})),
        wait("until", action={"type": "wait", "until": {"data": "at"}}),
        notify("last"),
    )
)
DATA = {"doc": "d", "at": "2026-03-02T10:00:00+01:00"}


def before(rows: Any) -> Folded:
    """Return the fold that rows made by hand stand for."""
    of = rows.run
    return Folded(of.state, of.step, of.visit, of.status_reason, of.status_context)


def replayed(rows: Any, decision: Decision) -> Decision | Noop:
    """Replay what was decided on these rows, from JSON."""
    return replay(rows.definition, before(rows), json.loads(json.dumps(decision.inputs)))


@pytest.mark.parametrize(
    "rows",
    [
        snapshot(run("active", None)),
        snapshot(run("active", "ruled"), delivery=delivery("failed", attempts=1, failed_attempts=1)),
        snapshot(run("active", "until"), delivery=delivery("succeeded")),
        snapshot(run("active", "plain"), delivery=delivery("succeeded"), zone="Europe/London"),
        waiting(due=-HOUR),
        waiting(mail=(mail(1, "other"), mail(3, "skip"), mail(2, "read"))),
        waiting(mail=(mail(1, "skip"), mail(2, "read"))),
        waiting("until", delivery=delivery("cancelled", "bounced")),
        snapshot(
            run("active", "target", armed_step="wait"), delivery=delivery("pending"), mail=(mail(1, "read"),)
        ),
    ],
)
def test_rows_of_the_table_are_replayed(rows: Any) -> None:
    """From the inputs alone comes the same decision."""
    decision = decided(rows)
    assert differences(decision, replayed(rows, decision)) == ()


def test_a_whole_run_is_replayed_without_data_and_payloads() -> None:
    """Decision by decision: matches are taken from the inputs, and so are the data's instants."""
    paper = triggered(DEFINITION, NOW, data=DATA)
    now, kept = NOW, []
    for _ in range(3):
        decision = decide(paper.snapshot, now, born)
        assert isinstance(decision, Decision)
        kept.append((fold(paper.transitions), decision))
        paper = written_down(paper, decision)
        paper = signalled(paper, "read", {"doc": "other"}, now)
        if paper.deliveries[1].terminal_at is None:
            paper = attempted(paper, 1, "delivered", now)
        now = paper.run.wake_at or now
    assert paper.run.step == "last"
    assert kept[2][1].inputs["instants"] == {"at": "2026-03-02T09:00:00.000000Z"}
    for folded, decision in kept:
        again = replay(DEFINITION, folded, decision.inputs)
        assert differences(decision, again) == ()


def test_a_signal_that_a_limit_put_off_is_replayed() -> None:
    """Heard and not obeyed, since 25 steps were entered: it stays, and the run wakes itself at once."""
    items = [{**notify(f"s{i}"), "action": {**MENTION["steps"][0]["action"]}} for i in range(24)]
    definition = parse(workflow(*items, wait("gate", signal(then="continue")), notify()))
    rows = snapshot(run("active", None), definition=definition, mail=(mail(1, "read"),))
    decision = decided(rows)
    assert (decision.after.step, decision.after.visit, decision.after.wake_at) == ("gate", 25, NOW)
    assert decision.consumed == ()
    assert differences(decision, replayed(rows, decision)) == ()


def test_notes_of_births_are_not_kept() -> None:
    """Free text of a template's fault is no input, and no difference."""
    rows = snapshot(run("active", None))
    birth = Birth("cancelled", "permanent_failure", "configuration", "line 3: no such name")
    decision = decide(rows, NOW, lambda _step, _visit: birth)
    assert isinstance(decision, Decision)
    assert "line 3" not in json.dumps(decision.inputs)
    assert differences(decision, replayed(rows, decision)) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"now": "2026-03-02T08:00:00Z"}, ("noop wait_not_due",)),
        ({"paused": True}, ("noop workflow_paused",)),
        ({"births": {"4": {"status": "pending", "reason": "odd", "error_class": None}}}, ("planned",)),
    ],
)
def test_inputs_that_were_changed_give_another_decision(change: Any, told: Any) -> None:
    """Whoever tampers with what was seen is found out by the decision it led to."""
    rows = waiting(due=-HOUR / 2)
    decision = decided(rows)
    again = replay(rows.definition, before(rows), {**decision.inputs, **change})
    assert differences(decision, again) == told


@pytest.mark.parametrize(
    "change",
    [
        {"transitions": ()},
        {"planned": ()},
        {"consumed": (7,)},
        {"cancelled": None},
    ],
)
def test_each_part_is_compared(change: Any) -> None:
    """A decision that was recorded otherwise differs in the part that was changed."""
    rows = waiting(due=-HOUR)
    decision = decided(rows)
    assert differences(replace(decision, **change), replayed(rows, decision)) == tuple(change)


def test_inputs_that_no_decision_wrote() -> None:
    """They are refused, not guessed at."""
    rows = snapshot(run("active", "plain"), delivery=delivery("succeeded"))
    inputs = decided(rows).inputs
    wrong = {**inputs, "delivery": {**inputs["delivery"], "status": "lost"}}
    for given, error in (({}, KeyError), (wrong, ValueError), ({**inputs, "now": "soon"}, AssertionError)):
        with pytest.raises(error):
            replay(rows.definition, before(rows), given)


def test_ids_of_deliveries_born_in_a_decision_are_compared_by_visit() -> None:
    """The ledger gives them their ids; the placeholder and the id are the same delivery."""
    born_now = replace(STARTED, context={"anchor_delivery_id": "visit:2", "anchor_delivery_visit": 2})
    stored = replace(born_now, context={**born_now.context, "anchor_delivery_id": "0b7c"})
    assert by_visit(born_now) == by_visit(stored)
    assert by_visit(STARTED) == STARTED


def test_the_fold_takes_the_last() -> None:
    """Transitions as decided and as rows give the same; none at all is our mistake."""
    decision = decided(waiting(due=-HOUR))
    as_rows = [asdict(transition) for transition in decision.transitions]
    assert fold(as_rows) == fold(decision.transitions) == fold(decision.transitions[-1:])
    after = decision.after
    assert fold(as_rows) == (after.state, after.step, after.visit, after.status_reason, after.status_context)
    with pytest.raises(AssertionError, match="at least one"):
        fold([])
