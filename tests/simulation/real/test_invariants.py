"""Whatever is wrong in the rows is told in the step in which it is wrong: one row falsified, one breach."""

import copy
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from chimeway.testing.simulation.real_invariants import breaches, overdue
from chimeway.testing.simulation.real_stories import journeys
from chimeway.testing.simulation.real_witness import NOTHING, Witness
from kit.simulated import guarded

Rows = dict[str, list[dict[str, Any]]]
DEFINITIONS = {(each.key, each.version): each for each in journeys()}
FEW = 12
"""Scenarios enough to have every kind of row."""


@pytest.fixture(scope="module")
def sights() -> list[str]:
    """All that the witness was shown of a few scenarios, as texts, in order."""
    logging.disable(logging.CRITICAL)
    found: list[str] = []
    with guarded() as playing, pytest.MonkeyPatch.context() as patch:
        look = Witness.look

        def keeping(self: Witness, text: str) -> bool:
            found.append(text)
            return look(self, text)

        patch.setattr(Witness, "look", keeping)
        for seed in range(1, FEW):
            assert not playing.play(seed).problems
    logging.disable(logging.NOTSET)
    return found


def _first(name: str, **fields: Any) -> Callable[[Rows], bool]:
    def change(rows: Rows) -> bool:
        if not rows[name]:
            return False
        rows[name][0].update(fields)
        return True

    return change


def _where(name: str, fits: Callable[[dict[str, Any]], bool], **fields: Any) -> Callable[[Rows], bool]:
    def change(rows: Rows) -> bool:
        found = next((row for row in rows[name] if fits(row)), None)
        if found is not None:
            found.update(fields)
        return found is not None

    return change


def _twice(name: str, **fields: Any) -> Callable[[Rows], bool]:
    def change(rows: Rows) -> bool:
        if rows[name]:
            rows[name].append({**rows[name][0], **fields})
        return bool(rows[name])

    return change


def _without(name: str) -> Callable[[Rows], bool]:
    def change(rows: Rows) -> bool:
        return bool(rows[name]) and rows[name].pop() is not None

    return change


def _in(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["state"] in states and row["held_reason"] is None


def _decided_by_inputs(rows: Rows) -> bool:
    for row in rows["transitions"]:
        if row["inputs"] is not None and row["reason"] == "step_activated":
            row["reason"] = "reactivated_from_wait"
            return True
    return False


WRONG: dict[str, tuple[Callable[[Rows], bool], str]] = {
    "a transition is gone": (_without("transitions"), "I1"),
    "a run is not what its audit says": (_first("runs", status_reason="made up"), "I1: the transitions"),
    "a visit has two deliveries": (_twice("deliveries"), "I2: one visit"),
    "a delivery of no visit": (_first("deliveries", visit=99), "I2: delivery of visit 99"),
    "an item is shown twice": (_twice("items"), "in-app items"),
    "an item is not shown": (_without("items"), "in-app items"),
    "an attempt is gone": (_without("attempts"), "I3: attempts"),
    "sent without attempt": (
        _where("deliveries", lambda row: row["channel"] != "in_app" and not row["attempt_count"],
               status="succeeded"),
        "without any attempt",
    ),
    "a stopped run has something to send": (
        _where("runs", _in("active", "waiting"), state="stopped"), "I4: visit",
    ),
    "a delivery is of another tenant": (_first("deliveries", tenant_id="umbrella2"), "I7: a delivery"),
    "a signal of another tenant is in a mailbox": (_first("signals", tenant_id="other"), "I7: mailbox row"),
    "a run is gone": (_without("runs"), "I8: event"),
    "an event is gone": (_without("events"), "I8: runs without"),
    "an event of another tenant": (_first("events", tenant_id="other"), "I7: event"),
    "a mailbox row is gone": (_without("mailbox"), "I9: mailbox rows"),
    "a mailbox row was consumed by nobody": (_first("mailbox", consumed_by="nobody"), "I10: a mailbox row"),
    "a run that waits wakes never": (_where("runs", _in("waiting"), wake_at=None), "nothing moves it"),
    "a run that waits wakes too late": (
        _where("runs", _in("waiting"), wake_at="2099-01-01T00:00:00+00:00"), "nothing moves it",
    ),
    "a message is sent never": (
        _where("deliveries", lambda row: row["status"] in ("pending", "failed"), next_attempt_at=None),
        "waits for no time",
    ),
    "a result leaves its message on its way": (
        _where("attempts", lambda row: row["outcome"] is None, outcome="failed"), "its attempt is over",
    ),
    "a decision is not what its inputs make": (_decided_by_inputs, "I10: decided again"),
    "a decision has no inputs": (
        _where("transitions", lambda row: row["inputs"] is not None, inputs=None), "bears no inputs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(sights: list[str], name: str) -> None:
    """In some state of some scenario, one thing is made wrong; it is among what is told."""
    change, told = WRONG[name]
    for text in sights:
        rows = json.loads(text)
        if change(rows) and any(told in each for each in breaches(NOTHING, rows, DEFINITIONS)):
            return
    raise AssertionError(f"nowhere was it told: {told}")


def test_a_run_that_nobody_was_to_touch_is_looked_at(sights: list[str]) -> None:
    """A statement that changes a run of which it has nothing to tell is found at once."""
    witness, before = Witness(DEFINITIONS), None
    for text in sights[: next(place for place, each in enumerate(sights) if json.loads(each)["runs"]) + 1]:
        witness.look(text)
        before = text
    assert not witness.problems
    rows = json.loads(str(before))
    rows["runs"][0]["held_reason"] = "held_by_request"
    witness.look(json.dumps(rows))
    assert any("held" in each for each in witness.problems)


@pytest.mark.parametrize("name", ["attempts", "mailbox", "events", "transitions", "signals"])
def test_what_was_written_stays(sights: list[str], name: str) -> None:
    """What is only ever added to loses no row without its being told."""
    text = next(each for each in sights if json.loads(each)[name])
    witness = Witness(DEFINITIONS)
    witness.rows = json.loads(text)
    rows = copy.deepcopy(witness.rows)
    rows[name] = []
    witness._check_kept(witness.rows, rows)
    assert any(each.startswith(name) for each in witness.problems)


def test_who_is_overdue_is_told(sights: list[str]) -> None:
    """A run that nobody evaluates for more than five seconds, with nothing else to do."""
    rows = next(rows for rows in map(json.loads, sights) if any(run["wake_at"] for run in rows["runs"]))
    due = max(datetime.fromisoformat(run["wake_at"]) for run in rows["runs"] if run["wake_at"])
    late = due + timedelta(seconds=6)
    assert [*overdue(rows, late, due)]
    assert not [*overdue(rows, due + timedelta(seconds=5), due)]
    assert not [*overdue(rows, late, late)]
    for run in rows["runs"]:
        run["held_reason"] = "held_by_request"
    assert not [*overdue(rows, late, due)]
