"""The state that one evaluation advances, row by row.

A row writes on a draft of the state, which is the next state where the row is whole, and dropped where it
is not; the state itself stays as it was. Only what was `examined` is kept of a dropped row, for the answer
depended on it.

A state knows how to write a transition and nothing about when: that is the table's (`decide`). Because
state and audit change only together, in `write` and `activate`, folding the transitions gives the
run's row (I1) by construction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from chimeway.progression.decision import (
    Birth,
    CancelledDelivery,
    NoopReason,
    PlannedDelivery,
    Transition,
    TransitionReason,
)
from chimeway.progression.outcome import evidence, is_terminal, outcome_of
from chimeway.progression.snapshot import Delivery, DeliveryStatus, Mail, RunState, Snapshot
from chimeway.values import value
from chimeway.workflow.calendar import WorkingCalendar
from chimeway.workflow.definition import Json, Outcome, Step


@value
class CurrentDelivery:
    """The delivery of the current visit, whether it has a row already or is born in this decision.

    `id` is the row's id as text, or `visit:<n>`, which the ledger replaces when it inserts the row.
    """

    id: str
    visit: int
    status: DeliveryStatus
    suppression_reason: str | None
    terminal_at: datetime | None
    attempts: int = 0
    failed_attempts: int = 0
    last_outcome: str | None = None
    last_error_class: str | None = None

    @classmethod
    def stored(cls, row: Delivery) -> "CurrentDelivery":
        """Return the delivery as its row has it; AssertionError when the row contradicts itself."""
        if is_terminal(row.status) is (row.terminal_at is None):
            raise AssertionError(f"delivery {row.id}: {row.status} with {row.terminal_at=}")
        return cls(
            id=str(row.id),
            visit=row.visit,
            status=row.status,
            suppression_reason=row.suppression_reason,
            terminal_at=row.terminal_at,
            attempts=row.attempts,
            failed_attempts=row.failed_attempts,
            last_outcome=row.last_outcome,
            last_error_class=row.last_error_class,
        )

    @classmethod
    def born(cls, visit: int, birth: Birth, now: datetime) -> "CurrentDelivery":
        """Return the delivery that is planned in this decision."""
        return cls(
            id=f"visit:{visit}",
            visit=visit,
            status=birth.status,
            suppression_reason=birth.suppression_reason,
            terminal_at=now if is_terminal(birth.status) else None,
            last_error_class=birth.error_class,
        )

    @property
    def outcome(self) -> Outcome | None:
        """Its outcome by semantics §4."""
        return outcome_of(self.status, self.suppression_reason, self.failed_attempts)

    @property
    def evidence(self) -> dict[str, Json]:
        """The facts kept beside the outcome."""
        return evidence(self.status, self.suppression_reason, self.last_outcome, self.last_error_class)


@dataclass
class Working:
    """Where the evaluation stands, and all it has written so far.

    `mail` is what is still unconsumed; `examined` maps the number of each mailbox row looked at to
    the path of the condition that it met, or None, and is the same in all drafts; `instants` are the data's
    instants used, `calendar` the days on which the tenant works, as far as they were asked for; `repeats`
    says how often each step that may lead back has done so. Values are never changed where they stand,
    only replaced, but for `examined`.
    """

    snapshot: Snapshot
    now: datetime
    state: RunState
    step_id: str | None
    visit: int
    status_reason: str
    context: Mapping[str, Any]
    entered_at: datetime | None
    armed_step: str | None
    armed_entered_at: datetime | None
    held_reason: str | None
    delivery: CurrentDelivery | None
    delivery_ids: Mapping[str, str]
    mail: tuple[Mail, ...]
    transitions: tuple[Transition, ...] = ()
    planned: tuple[PlannedDelivery, ...] = ()
    cancelled: tuple[CancelledDelivery, ...] = ()
    consumed: tuple[int, ...] = ()
    entered: int = 0
    examined: dict[int, str | None] = field(default_factory=dict)
    births: Mapping[int, Birth] = field(default_factory=dict)
    instants: Mapping[str, str | None] = field(default_factory=dict)
    calendar: WorkingCalendar | None = None
    repeats: Mapping[str, int] = field(default_factory=dict)

    @property
    def step(self) -> Step | None:
        """The current step; None before the first and where the definition does not have it."""
        return self.snapshot.definition.step(self.step_id)

    def draft(self) -> "Working":
        """Return a state to write a row on: this one until then."""
        draft = object.__new__(Working)
        draft.__dict__.update(self.__dict__)
        return draft

    def write(
        self,
        reason: TransitionReason,
        to_state: RunState,
        context: Mapping[str, Any],
        *,
        status_reason: str | None = None,
        mail: Mail | None = None,
    ) -> "Working":
        """Write a transition that stays on this step; return the state after it, which is this draft."""
        return self._after(
            Transition(
                reason=reason,
                from_state=self.state,
                to_state=to_state,
                from_step=self.step_id,
                to_step=self.step_id,
                visit=self.visit,
                status_reason=status_reason or reason,
                context=_with_repeats(context, self.repeats),
                signal_id=mail.signal_id if mail else None,
                signal_type=mail.type if mail else None,
            )
        )

    def activate(self, step_id: str, context: Mapping[str, Any]) -> "Working":
        """Write that a step is entered: a new visit, without delivery, nothing armed."""
        self._after(
            Transition(
                reason="step_activated",
                from_state=self.state,
                to_state="active",
                from_step=self.step_id,
                to_step=step_id,
                visit=self.visit + 1,
                status_reason="step_activated",
                context=_with_repeats(context, self.repeats),
            )
        )
        self.entered += 1
        self.entered_at = self.now
        self.armed_step = self.armed_entered_at = self.delivery = None
        return self

    def hold(self, reason: str) -> "Working":
        """Write `run_held`, which carries everything else on unchanged."""
        self.write("run_held", self.state, self.context, status_reason=self.status_reason)
        self.held_reason = reason
        return self

    def _after(self, transition: Transition) -> "Working":
        self.state = transition.to_state
        self.step_id = transition.to_step
        self.visit = transition.visit
        self.status_reason = transition.status_reason
        self.context = transition.context
        self.transitions = (*self.transitions, transition)
        return self


def repeats_in(context: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how often steps have led back, as a context bears it; none where other hands garbled it."""
    found = context.get("repeats")
    if not isinstance(found, Mapping):
        return {}
    return {step: gone for step, gone in found.items() if type(gone) is int}


def _with_repeats(context: Mapping[str, Any], repeats: Mapping[str, int]) -> Mapping[str, Any]:
    """Return what a transition bears: its own context, and the counts, which all of them carry on."""
    if repeats:
        return {**context, "repeats": dict(repeats)}
    if "repeats" not in context:
        return context
    return {key: value for key, value in context.items() if key != "repeats"}


@value
class Leave:
    """The current step ends and the run goes to `to`: a step id, or `end`.

    `working` is the draft with all that is written before the run arrives there; `context` says why, and is
    carried on; `completion` is the status reason where nothing follows; `armed` says that a wait
    was left, so that its stop conditions stay armed (§5 row 5a).
    """

    working: Working
    to: str
    context: Mapping[str, Any]
    completion: Literal["workflow_completed", "implicit_completion"] = "workflow_completed"
    armed: bool = False


@value
class Rest:
    """The evaluation ends here: the world must move first, or a limit is reached (`limit`)."""

    working: Working
    reason: NoopReason | Literal["limit"]


Move: TypeAlias = Working | Leave | Rest
