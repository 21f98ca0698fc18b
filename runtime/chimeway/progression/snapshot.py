"""What a decision looks at: one run's rows, as read in one statement."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.values import value
from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import Definition

RunState: TypeAlias = Literal["active", "waiting", "completed", "stopped", "failed"]
LIVE: tuple[RunState, ...] = ("active", "waiting")
ENDED: tuple[RunState, ...] = ("completed", "stopped", "failed")

DeliveryStatus: TypeAlias = Literal[
    "pending",
    "dispatched",
    "deferred",
    "digested",
    "failed",
    "succeeded",
    "suppressed",
    "cancelled",
]
TERMINAL: tuple[DeliveryStatus, ...] = ("succeeded", "suppressed", "cancelled")


@value
class Run:
    """The run's row.

    `entered_at` is when the current step was entered. `armed_step` names the wait (or the notify
    step with a `wait_until`) that the run has just left, waiting, towards a notify step,
    `armed_entered_at` when that wait had been entered: its `stop` conditions hold until the first
    attempt row exists (semantics §5 row 5a, §6 b). `mailbox_count` is the highest number in the
    run's mailbox, consumed or not.
    """

    id: UUID
    tenant_id: str
    recipient_id: str
    state: RunState
    step: str | None
    visit: int
    revision: int
    mailbox_count: int
    status_reason: str
    status_context: Mapping[str, Any]
    pending_signals: tuple[str, ...] = ()
    wake_at: datetime | None = None
    entered_at: datetime | None = None
    armed_step: str | None = None
    armed_entered_at: datetime | None = None
    held_reason: str | None = None


@value
class Mail:
    """One unconsumed mailbox row and its signal."""

    number: int
    signal_id: UUID
    type: str
    payload: Any
    created_at: datetime


@value
class Delivery:
    """The delivery of a visit, with its latest attempt."""

    id: UUID
    visit: int
    step_id: str
    status: DeliveryStatus
    revision: int
    suppression_reason: str | None = None
    terminal_at: datetime | None = None
    attempts: int = 0
    failed_attempts: int = 0
    last_outcome: str | None = None
    last_error_class: str | None = None


@value
class Snapshot:
    """Everything a decision may depend on, besides `now`.

    `zone` is the IANA name of the recipient's zone, else his tenant's, else "UTC"; one unknown here
    counts as UTC. `working` says on which days the tenant works.
    `mail` holds the unconsumed mailbox rows in number order. `delivery` is that of the current
    visit, or None. `delivery_ids` maps a step's id to the id of its latest delivery, as text.
    """

    run: Run
    definition: Definition
    data: Mapping[str, Any]
    zone: str
    mail: tuple[Mail, ...] = ()
    delivery: Delivery | None = None
    delivery_ids: Mapping[str, str] | None = None
    workflow_paused: bool = False
    working: WorkingCalendar = USUAL_DAYS
