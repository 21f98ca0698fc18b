"""What readers get: runs, deliveries, attempts, mail, items, as frozen values. No SQL here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from chimeway.progression.snapshot import DeliveryStatus, RunState
from chimeway.workflow.definition import Definition

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list; `cursor` leads to the next one, None at the end."""

    items: tuple[Item, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[Item]:
        """Go through the items."""
        return iter(self.items)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def __getitem__(self, place: int) -> Item:
        """Return the item at this place."""
        return self.items[place]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run's row. `held_reason` and `waiting_for_node` say what keeps a live run from moving."""

    id: UUID
    tenant_id: str
    recipient_id: str
    workflow_key: str
    workflow_version: int
    state: RunState
    step: str | None
    visit: int
    status_reason: str
    status_context: Mapping[str, Any]
    pending_signals: tuple[str, ...]
    wake_at: datetime | None
    held_reason: str | None
    held_at: datetime | None
    waiting_for_node: str | None
    cancellation_key: str | None
    event_id: UUID
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class TransitionView:
    """One row of the audit."""

    seq: int
    decision_id: UUID
    reason: str
    from_state: str | None
    to_state: str
    from_step: str | None
    to_step: str | None
    visit: int
    status_reason: str
    context: Mapping[str, Any]
    signal_id: UUID | None
    signal_type: str | None
    note: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One provider call; `outcome` None: no result was recorded (yet)."""

    number: int
    node: UUID
    started_at: datetime
    outcome: Literal["succeeded", "failed", "unknown"] | None
    error_class: str | None
    note: str | None
    provider_reference: str | None
    finished_at: datetime | None
    provider: str | None = None
    """Which of its channel's was called; None: it was not written down (by a program of schema version 2)."""


@dataclass(frozen=True, slots=True)
class FeedbackView:
    """What a provider told after it had taken a message; `at` is when it happened, as the source says."""

    source: str
    event_id: str
    kind: str
    at: datetime
    detail: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class VerdictView:
    """What policy said of a delivery, when it was planned or before it was sent, and what it went by.

    `inputs` is plain JSON (whose statements, in which zone, what was counted); empty once the person was
    forgotten.
    """

    stage: Literal["planned", "before_send"]
    verdict: Literal["send", "defer", "suppress"]
    reason: str | None
    until: datetime | None
    inputs: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class RestoredView:
    """That a message was held back after a restore: it may have been sent after the backup was taken.

    `decision` None: nobody has decided yet. "ended": it came to its end otherwise before anybody did.
    """

    taken_at: datetime
    held_at: datetime
    decision: Literal["released", "dropped", "ended"] | None
    decided_at: datetime | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery, its attempts, and what its provider told later."""

    id: UUID
    visit: int
    step_id: str
    channel: str
    render_key: str
    status: DeliveryStatus
    suppression_reason: str | None
    attempt_count: int
    failed_count: int
    stop_requested: bool
    next_attempt_at: datetime | None
    waiting_for_node: str | None
    last_outcome: str | None
    last_error_class: str | None
    note: str | None
    created_at: datetime
    terminal_at: datetime | None
    attempts: tuple[AttemptView, ...]
    feedback: tuple[FeedbackView, ...] = ()
    deferred_reason: str | None = None
    """Why it waits until `next_attempt_at`, while it is `deferred`: quiet_hours, send_window, cap."""
    verdicts: tuple[VerdictView, ...] = ()
    restored: RestoredView | None = None


@dataclass(frozen=True, slots=True)
class MailView:
    """A signal in a run's mailbox; `number` None: in none, it came after the end or waits to be routed."""

    number: int | None
    signal_id: UUID
    type: str
    created_at: datetime
    consumed_by: UUID | None


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a run, read in one snapshot. `definition` None: not understood here."""

    run: RunView
    zone: str
    now: datetime
    definition: Definition | None
    paused_at: datetime | None
    transitions: tuple[TransitionView, ...]
    deliveries: tuple[DeliveryView, ...]
    mail: tuple[MailView, ...]
    forgotten_at: datetime | None = None
    """Since when whoever it was for is forgotten."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run in the waiting room: for which signals, until when, and where it then goes.

    `zone` is the recipient's; `paused_at` is since when its workflow is paused, if it is; `repeats` says
    how often each step that may lead back has done so.
    """

    run_id: UUID
    tenant_id: str
    recipient_id: str
    workflow_key: str
    workflow_version: int
    step: str | None
    signals: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    then: str | None
    held_reason: str | None
    zone: str
    paused_at: datetime | None
    repeats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run that people should look at: `kind` says why it is listed, `reason` is its enum word.

    `zone` is the recipient's; `then` is where the run goes after the wait in which it is, if it is in one.
    """

    run_id: UUID
    kind: Literal["overdue", "stuck", "held", "waiting_for_node"]
    tenant_id: str
    recipient_id: str
    workflow_key: str
    workflow_version: int
    state: RunState
    step: str | None
    reason: str
    since: datetime
    then: str | None
    zone: str


@dataclass(frozen=True, slots=True)
class InboxItem:
    """An in-app item: what it says, which marks it bears, where it came from.

    `data` is the data of the trigger, whole: absent when that is forgotten, or longer than 16 KiB of JSON.
    """

    id: UUID
    run_id: UUID
    render_key: str
    subject: str
    body: str
    created_at: datetime
    seen_at: datetime | None
    read_at: datetime | None
    archived_at: datetime | None
    interacted_at: datetime | None = None
    workflow_key: str | None = None
    workflow_version: int | None = None
    step_id: str | None = None
    data: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How many items are unseen, and unread, at one moment; what is put away counts as neither."""

    unseen: int
    unread: int


@dataclass(frozen=True, slots=True)
class InboxChange:
    """An inbox as it is now: its counts (up to 10,000) and its newest item that is not put away.

    `mode` is `hinted` while the database calls when something changes, `polling` while it is asked from
    time to time.
    """

    unseen: int
    unread: int
    newest: UUID | None
    mode: Literal["hinted", "polling"]
