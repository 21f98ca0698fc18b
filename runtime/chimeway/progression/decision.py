"""What a decision is: closed sets of frozen values, ready to be written by the ledger."""

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.progression.policy import Verdict
from chimeway.progression.snapshot import RunState
from chimeway.values import value
from chimeway.workflow.definition import Step

TransitionReason: TypeAlias = Literal[
    "workflow_started",
    "step_activated",
    "signal_received",
    "waiting_for_step_progression",
    "reactivated_from_wait",
    "progressed_on_delivery_outcome",
    "workflow_stopped",
    "workflow_completed",
    "cancelled_by_request",
    "recipient_forgotten",
    "failed_by_request",
    "run_held",
    "run_resumed",
    "wait_retimed",
]

NoopReason: TypeAlias = Literal[
    "run_not_active",
    "run_held",
    "workflow_paused",
    "wait_not_due",
    "wait_missing_due_at",
    "invalid_due_at",
    "wait_context_incomplete",
    "no_active_step_delivery",
    "no_progress_rules",
    "prior_delivery_not_converged",
    "no_matching_progress_rule",
    "unknown_to_step",
    "unknown_step",
]
STUCK_NOOPS: frozenset[NoopReason] = frozenset(
    {
        "wait_missing_due_at",
        "invalid_due_at",
        "wait_context_incomplete",
        "no_active_step_delivery",
        "unknown_to_step",
        "unknown_step",
    }
)
"""Noops after which the run cannot move by itself: it is listed as stuck."""


@value
class Birth:
    """How a delivery is born: what the courier answers when a step's message is planned.

    `pending` for what a provider must send, `deferred` for what policy lets out only later (`until`, and
    why), `succeeded` for a written in-app item, `suppressed` with a reason (`no_address`, `preference`,
    `cap`), `cancelled` with `permanent_failure` for a template's fault, or, by the decision itself, with
    `stopped_before_send` where what plans it also stops it. `verdict` is what policy said, where it had
    anything to say: for the trace, not for replay.
    """

    status: Literal["pending", "deferred", "succeeded", "suppressed", "cancelled"]
    reason: str | None = None
    error_class: str | None = None
    note: str | None = None
    until: datetime | None = None
    verdict: Verdict | None = None

    @property
    def suppression_reason(self) -> str | None:
        """The reason of one that has ended so; a deferred one's stands in a column of its own."""
        return None if self.status == "deferred" else self.reason


Births: TypeAlias = Callable[[Step, int], Birth]
"""Asked for (step, visit) when a notify step is entered. Must be pure: it is asked once a visit."""


@value
class Transition:
    """One row of the audit. It bears the run's whole state after it: a fold takes the last.

    `context` becomes the run's `status_context`, `status_reason` the run's, `to_state`, `to_step`
    and `visit` likewise. (Rows written by operators, `run_held`, `run_resumed`, carry them on
    unchanged.)
    """

    reason: TransitionReason
    from_state: RunState
    to_state: RunState
    from_step: str | None
    to_step: str | None
    visit: int
    status_reason: str
    context: Mapping[str, Any]
    signal_id: UUID | None = None
    signal_type: str | None = None


@value
class PlannedDelivery:
    """A delivery to be inserted; the ledger gives it its id."""

    visit: int
    step_id: str
    channel: str
    render_key: str
    birth: Birth
    terminal_at: datetime | None


@value
class CancelledDelivery:
    """A delivery that the decision ends without stopping the run's others."""

    visit: int
    reason: Literal["superseded", "stopped_before_send"]


@value
class Seen:
    """What the decision saw; if one of these is no longer so, it is refused (`stale`)."""

    revision: int
    mailbox: int
    delivery_id: UUID | None
    delivery_revision: int | None


@value
class RunAfter:
    """The run's row after the decision. `held_reason` is set when it holds itself."""

    state: RunState
    step: str | None
    visit: int
    status_reason: str
    status_context: Mapping[str, Any]
    pending_signals: tuple[str, ...]
    wake_at: datetime | None
    entered_at: datetime | None
    armed_step: str | None
    armed_entered_at: datetime | None
    held_reason: str | None = None


@value
class Decision:
    """What follows, to be written in one transaction; never empty.

    `elapsed` says whether it let a wait elapse. `inputs` is all that deciding again needs besides
    the definition and the transitions before (I10); plain JSON.
    """

    kind: Literal["advanced", "waiting", "completed", "stopped"]
    seen: Seen
    now: datetime
    transitions: tuple[Transition, ...]
    after: RunAfter
    planned: tuple[PlannedDelivery, ...] = ()
    cancelled: tuple[CancelledDelivery, ...] = ()
    consumed: tuple[int, ...] = ()
    elapsed: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)


@value
class Noop:
    """Nothing follows, and nothing is written."""

    reason: NoopReason
