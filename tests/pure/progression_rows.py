"""Rows for the tests of the core: one definition with every kind of step, and snapshots."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision, Noop
from chimeway.progression.instants import written
from chimeway.progression.snapshot import Delivery, Mail, Run, Snapshot
from chimeway.workflow.definition import (
    Condition,
    Definition,
    Goto,
    NotifyAction,
    OnOutcome,
    Step,
    StopOn,
    WaitAction,
    WaitUntil,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
RUN_ID = UUID(int=7)
DELIVERY_ID = UUID(int=8)

EVERYTHING = Definition(
    key="everything",
    version=1,
    steps=(
        Step("plain", NotifyAction("email", "plain")),
        Step(
            "wait",
            WaitAction(
                duration="PT2H",
                stop_conditions=(
                    Condition("read"),
                    Condition("skip", then="continue"),
                    Condition("jump", then=Goto("target")),
                    Condition("lost", then=Goto("nowhere")),
                ),
            ),
        ),
        Step("target", NotifyAction("email", "target")),
        Step(
            "ruled",
            NotifyAction("email", "ruled"),
            progress=(
                OnOutcome("temporary_failure", "target"),
                OnOutcome("bounced", "target"),
                StopOn("permanent_failure"),
            ),
        ),
        Step("routed", NotifyAction("email", "routed"), (OnOutcome("bounced", "wait"),), "target"),
        Step(
            "until",
            NotifyAction("email", "until"),
            progress=(
                OnOutcome("bounced", "target"),
                WaitUntil("target", delay="PT1H", cancel_signals=(Condition("read"),)),
            ),
        ),
        Step("stray", NotifyAction("email", "stray"), (OnOutcome("bounced", "nowhere"),)),
        Step("last", NotifyAction("email", "last")),
    ),
    stop_conditions=(Condition("halt"),),
)


def born(step: Step, visit: int) -> Birth:
    """Let in-app items be written at once, and all else be pending."""
    del visit
    assert isinstance(step.action, NotifyAction)
    return Birth("succeeded") if step.action.channel == "in_app" else Birth("pending")


def delivery(status: str, reason: str | None = None, **more: Any) -> Delivery:
    """Return the delivery of visit 3, ended an hour ago when it has ended."""
    row: dict[str, Any] = {
        "id": DELIVERY_ID,
        "visit": 3,
        "step_id": "any",
        "status": status,
        "revision": 5,
        "suppression_reason": reason,
        "terminal_at": NOW - HOUR if status in ("succeeded", "suppressed", "cancelled") else None,
    }
    return Delivery(**{**row, **more})


def mail(number: int, signal_type: str, payload: Any = None, *, ago: timedelta = HOUR) -> Mail:
    """Return an unconsumed mailbox row."""
    return Mail(number, UUID(int=100 + number), signal_type, payload or {}, NOW - ago)


def waiting_context(due_at: datetime, **more: Any) -> dict[str, Any]:
    """Return what a waiting run needs in its context."""
    context = {"rule_kind": "wait", "due_at": written(due_at), "to_step": "target"}
    return {**context, "from_step": "wait", **more}


def run(state: str, step: str | None, **more: Any) -> Run:
    """Return a run at visit 3 of a step (0 before the first), entered two hours ago."""
    row: dict[str, Any] = {
        "id": RUN_ID,
        "tenant_id": "org_456",
        "recipient_id": "user_123",
        "state": state,
        "step": step,
        "visit": 0 if step is None else 3,
        "revision": 9,
        "mailbox_count": 4,
        "status_reason": "before",
        "status_context": {},
        "entered_at": None if step is None else NOW - 2 * HOUR,
    }
    return Run(**{**row, **more})


def snapshot(of: Run, **more: Any) -> Snapshot:
    """Return the rows that a decision looks at."""
    rows: dict[str, Any] = {"definition": EVERYTHING, "data": {}, "zone": "UTC"}
    return Snapshot(run=of, **{**rows, **more})


def waiting(step: str = "wait", *, due: timedelta = HOUR, **more: Any) -> Snapshot:
    """Return a run that waits on a step, due so long after now."""
    kind = "wait_until" if step == "until" else "wait"
    context = waiting_context(NOW + due, rule_kind=kind)
    if step == "until":
        context |= {"anchor_delivery_status": "succeeded", "workflow_outcome": "delivered"}
    return snapshot(run("waiting", step, status_context=context), **more)


def decided(rows: Snapshot, now: datetime = NOW) -> Decision:
    """Decide, and expect a decision."""
    answer = decide(rows, now, born)
    assert isinstance(answer, Decision), answer
    return answer


def noop(rows: Snapshot, now: datetime = NOW) -> str:
    """Decide, and expect a noop; return its reason."""
    answer = decide(rows, now, born)
    assert isinstance(answer, Noop), answer
    return answer.reason


def reasons(decision: Decision) -> list[str]:
    """Return the transitions' reasons."""
    return [transition.reason for transition in decision.transitions]


def but(rows: Snapshot, **more: Any) -> Snapshot:
    """Return the same rows with a change of the run."""
    return replace(rows, run=replace(rows.run, **more))


def without(context: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a context that lacks a key."""
    return {name: value for name, value in context.items() if name != key}
