"""What was said to the run: rows 3, 5, 5a and 6 of semantics §5, and §6 "Which one".

One scan serves the four rows, because they share one order: mailbox rows by number; for each, the
step's conditions as declared, then the workflow's. The first pair that fits wins, and only that
mailbox row is consumed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias, assert_never

from chimeway.limits import MAX_SIGNALS_PER_DECISION
from chimeway.progression.decision import Birth, CancelledDelivery
from chimeway.progression.outcome import is_terminal
from chimeway.progression.repeats import counted, onward
from chimeway.progression.snapshot import LIVE, Mail
from chimeway.progression.working import Leave, Move, Rest, Working
from chimeway.values import value
from chimeway.workflow.conditions import matches
from chimeway.workflow.definition import (
    END,
    Condition,
    Definition,
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
    """One condition that the run listens with.

    `step_id` is the step that declares it, None for the workflow's own; `armed` marks those of the
    wait just left (row 5a).
    """

    condition: Condition
    path: str
    step_id: str | None
    armed: bool = False

    def since(self, working: Working) -> datetime | None:
        """Return the moment that `since: entered` compares with."""
        return working.armed_entered_at if self.armed else working.entered_at


@dataclass(frozen=True, slots=True)
class Listening:
    """With what a run listens, in the order in which one mailbox row is tried; `types`: for which signals."""

    ears: tuple[Ear, ...]
    types: tuple[str, ...]


_DEAF: Final = Listening((), ())


@value
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


def listening(working: Working) -> Listening:
    """Return with what the run listens now; worked out once for each place of a definition."""
    if working.state not in LIVE:
        return _DEAF
    waits_on = working.step_id if working.state == "waiting" else None
    armed = working.armed_step if _is_armed(working) else None
    definition = working.snapshot.definition
    found: Listening | None = definition.kept.get((waits_on, armed))
    if found is None:
        ears = (*_of_step(definition, waits_on), *_of_armed(definition, armed), *_of_workflow(definition))
        found = Listening(ears, tuple(sorted({ear.condition.signal_type for ear in ears})))
        definition.kept[waits_on, armed] = found
    return found


def _is_armed(working: Working) -> bool:
    """Row 5a: the `stop` conditions of the wait just left hold until the first attempt row exists."""
    delivery = working.delivery
    if working.state != "active" or working.armed_step is None or delivery is None:
        return False
    return not is_terminal(delivery.status) and delivery.attempts == 0


def _of_step(definition: Definition, waits_on: str | None) -> Iterator[Ear]:
    step = definition.step(waits_on)
    if step is not None:
        for path, condition in conditions_of(step):
            yield Ear(condition, f"steps[{definition.place(step)}].{path}", step.id)


def _of_armed(definition: Definition, armed: str | None) -> Iterator[Ear]:
    for ear in _of_step(definition, armed):
        if ear.condition.then == "stop":
            yield replace(ear, armed=True)


def _of_workflow(definition: Definition) -> Iterator[Ear]:
    for i, condition in enumerate(definition.stop_conditions):
        yield Ear(condition, f"stop_conditions[{i}]", None)


def hear(working: Working, fits: Fits | None) -> Heard | None:
    """Return the first pair that fits; what was looked at is noted."""
    if not working.mail:
        return None
    ears = listening(working).ears
    for mail in working.mail if ears else ():
        for ear in ears:
            if _fits(working, mail, ear, fits):
                working.examined[mail.number] = ear.path
                return Heard(mail, ear)
        working.examined[mail.number] = None
    return None


def _fits(working: Working, mail: Mail, ear: Ear, fits: Fits | None) -> bool:
    condition = ear.condition
    if fits is not None:
        return fits(mail, condition, ear.path)
    if mail.type != condition.signal_type:
        return False
    if condition.since == "entered":
        since = ear.since(working)
        if since is None or mail.created_at <= since:
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
    consumed = working.draft().write("signal_received", "active", context, mail=heard.mail)
    consumed.mail = tuple([mail for mail in working.mail if mail.number != heard.mail.number])
    consumed.consumed = (*working.consumed, heard.mail.number)
    if condition.then == "continue" and not stops and working.step is not None:
        return Leave(consumed, to, {**context, **counted(consumed, working.step)}, armed=True)
    if not stops:
        return Leave(consumed, to, context, armed=True)
    if ear.armed:
        _unsent(consumed)
    return consumed.write("workflow_stopped", "stopped", context)


def _unsent(draft: Working) -> None:
    """Row 5a: the current delivery ends unsent; one planned in this very decision is born ended."""
    if all(plan.visit != draft.visit for plan in draft.planned):
        cancelled = CancelledDelivery(draft.visit, "stopped_before_send")
        draft.cancelled = (*draft.cancelled, cancelled)
        return
    stillborn = Birth("cancelled", "stopped_before_send")
    draft.planned = tuple(
        replace(plan, birth=stillborn, terminal_at=draft.now) if plan.visit == draft.visit else plan
        for plan in draft.planned
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
            return onward(working, step)
        case _:
            assert_never(condition.then)
