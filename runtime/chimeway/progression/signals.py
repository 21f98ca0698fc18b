"""What was said to the run: rows 3, 5, 5a and 6 of semantics §5, and §6 "Which one".

One scan serves the four rows, because they share one order: mailbox rows by number; for each, the
step's conditions as declared, then the workflow's. The first pair that fits wins, and only that
mailbox row is consumed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias, assert_never

from chimeway.limits import MAX_SIGNALS_PER_DECISION
from chimeway.progression.decision import Birth, CancelledDelivery
from chimeway.progression.outcome import is_terminal
from chimeway.progression.repeats import onward
from chimeway.progression.snapshot import LIVE, Mail
from chimeway.progression.working import Leave, Move, Rest, Working
from chimeway.workflow.conditions import matches
from chimeway.workflow.definition import (
    END,
    Condition,
    Goto,
    NotifyAction,
    Step,
    WaitAction,
    WaitUntil,
)

Fits: TypeAlias = Callable[[Mail, Condition, str], bool]
"""Asked for (mailbox row, condition, path) instead of type, `match` and `since`: replay answers
from the decision's inputs, since payloads are not kept."""


@dataclass(frozen=True, slots=True)
class Ear:
    """One condition that the run listens with now.

    `step_id` is the step that declares it, None for the workflow's own; `armed` marks those of the
    wait just left (row 5a); `since` is the moment that `since: entered` compares with.
    """

    condition: Condition
    path: str
    step_id: str | None
    since: datetime | None
    armed: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """The first pair that fits."""

    mail: Mail
    ear: Ear


def conditions_of(step: Step) -> tuple[tuple[str, Condition], ...]:
    """Return the conditions that hold while a run waits on `step`, each with its path there."""
    match step.action:
        case WaitAction(stop_conditions=conditions):
            return tuple((f"action.stop_conditions[{i}]", c) for i, c in enumerate(conditions))
        case NotifyAction():
            return tuple(
                (f"progress[{place}].cancel_signals[{i}]", condition)
                for place, rule in enumerate(step.progress)
                if isinstance(rule, WaitUntil)
                for i, condition in enumerate(rule.cancel_signals)
            )
        case _:
            assert_never(step.action)


def ears(working: Working) -> tuple[Ear, ...]:
    """Return what the run listens with, in the order in which one mailbox row is tried."""
    if working.state not in LIVE:
        return ()
    return (*_of_step(working), *_of_armed(working), *_of_workflow(working))


def _of_step(working: Working) -> Iterator[Ear]:
    if working.state == "waiting" and working.step is not None:
        for path, condition in conditions_of(working.step):
            yield Ear(
                condition,
                _full_path(working, working.step, path),
                working.step.id,
                working.entered_at,
            )


def _of_armed(working: Working) -> Iterator[Ear]:
    """Row 5a: the `stop` conditions of the wait just left, until the first attempt row exists."""
    armed = working.snapshot.definition.step(working.armed_step)
    delivery = working.delivery
    if working.state != "active" or armed is None or delivery is None:
        return
    if is_terminal(delivery.status) or delivery.attempts > 0:
        return
    for path, condition in conditions_of(armed):
        if condition.then == "stop":
            full = _full_path(working, armed, path)
            yield Ear(condition, full, armed.id, working.armed_entered_at, armed=True)


def _of_workflow(working: Working) -> Iterator[Ear]:
    for i, condition in enumerate(working.snapshot.definition.stop_conditions):
        yield Ear(condition, f"stop_conditions[{i}]", None, working.entered_at)


def _full_path(working: Working, step: Step, path: str) -> str:
    return f"steps[{working.snapshot.definition.steps.index(step)}].{path}"


def hear(working: Working, fits: Fits | None) -> tuple[Working, Heard | None]:
    """Return the state with what was looked at noted, and the first pair that fits."""
    listening = ears(working)
    examined: dict[int, str | None] = {}
    heard = None
    for mail in working.mail if listening else ():
        ear = next((ear for ear in listening if _fits(working, mail, ear, fits)), None)
        examined[mail.number] = ear.path if ear else None
        if ear is not None:
            heard = Heard(mail, ear)
            break
    return replace(working, examined={**working.examined, **examined}), heard


def _fits(working: Working, mail: Mail, ear: Ear, fits: Fits | None) -> bool:
    condition = ear.condition
    if fits is not None:
        return fits(mail, condition, ear.path)
    if mail.type != condition.signal_type:
        return False
    if condition.since == "entered" and (ear.since is None or mail.created_at <= ear.since):
        return False
    return matches(
        condition,
        payload=mail.payload,
        data=working.snapshot.data,
        delivery_ids=working.delivery_ids,
    )


def obey(working: Working, heard: Heard) -> Move:
    """Return what follows from a pair that fits.

    One place of the limit is kept for a `stop`: were it refused for the limit's sake, a message
    could leave between this evaluation and the next, against the promise of §6.
    """
    condition, ear = heard.ear.condition, heard.ear
    stops = ear.step_id is None or condition.then == "stop"
    if not stops and len(working.consumed) >= MAX_SIGNALS_PER_DECISION - 1:
        return Rest(working, "limit")
    to = END if stops else _target(working, condition)
    context: dict[str, Any] = {
        "from_step": working.step_id,
        "to_step": to,
        "step": ear.step_id,
        "condition": ear.path,
        "then": "stop" if stops else "goto" if isinstance(condition.then, Goto) else "continue",
    }
    consumed = replace(
        working.write("signal_received", "active", context, mail=heard.mail),
        mail=tuple(mail for mail in working.mail if mail.number != heard.mail.number),
        consumed=(*working.consumed, heard.mail.number),
    )
    if condition.then == "continue" and not stops and working.step is not None:
        counted = onward(consumed, working.step)
        return Leave(counted.working, to, {**context, **counted.note}, armed=True)
    if not stops:
        return Leave(consumed, to, context, armed=True)
    if ear.armed:
        consumed = _unsent(consumed)
    return consumed.write("workflow_stopped", "stopped", context)


def _unsent(working: Working) -> Working:
    """Row 5a: the current delivery ends unsent; one planned in this very decision is born ended."""
    if all(plan.visit != working.visit for plan in working.planned):
        cancelled = CancelledDelivery(working.visit, "stopped_before_send")
        return replace(working, cancelled=(*working.cancelled, cancelled))
    stillborn = Birth("cancelled", "stopped_before_send")
    return replace(
        working,
        planned=tuple(
            replace(plan, birth=stillborn, terminal_at=working.now) if plan.visit == working.visit else plan
            for plan in working.planned
        ),
    )


def _target(working: Working, condition: Condition) -> str:
    """Return where `continue` and `goto` lead. Only a wait step can have them (semantics §2.1)."""
    match condition.then:
        case Goto(step_id=step_id):
            return step_id
        case "continue" | "stop":
            step = working.step
            if step is None:
                raise AssertionError("a condition of a step fitted, and there is no step")
            return onward(working, step).to
        case _:
            assert_never(condition.then)
