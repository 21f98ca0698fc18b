"""Chimeway: durable notification journeys on PostgreSQL."""

from chimeway.client.chimeway import Chimeway
from chimeway.client.explanation import Explanation, Moment
from chimeway.client.inbox import Inbox
from chimeway.client.recipient import Recipient
from chimeway.client.rehearsing import rehearse
from chimeway.client.results import Cancellation, EndedRun, Receipt, StoppedRun
from chimeway.client.seed_forms import Signal, Trigger
from chimeway.delivery.channel import (
    Bounced,
    Channel,
    Message,
    PermanentFailure,
    RateLimited,
    Sent,
    TransientFailure,
)
from chimeway.engine.progress import Advanced, Completed, Engine, Noop, Stopped, Waiting
from chimeway.errors import (
    ChimewayError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidDataReference,
    InvalidDefinition,
    InvalidInput,
    InvalidSettings,
    NowInFuture,
    SchemaMismatch,
    UnknownWorkflow,
    WorkflowDefinitionVersionConflict,
    WorkflowRunNotFound,
)
from chimeway.progression.rehearse import Rehearsal
from chimeway.store.views import InboxItem, ListedRun, Page, RunView, WaitingRun
from chimeway.workflow.build import (
    Notify,
    Wait,
    Workflow,
    from_data,
    from_delivery,
    goto,
    on_outcome,
    signal_received,
    stop_on,
    wait_until,
)
from chimeway.workflow.definition import Definition

__all__ = [
    "Advanced",
    "Bounced",
    "Cancellation",
    "Channel",
    "Chimeway",
    "ChimewayError",
    "Completed",
    "DatabaseUnavailable",
    "Definition",
    "EndedRun",
    "Engine",
    "Explanation",
    "IdempotencyConflict",
    "Inbox",
    "InboxItem",
    "InvalidDataReference",
    "InvalidDefinition",
    "InvalidInput",
    "InvalidSettings",
    "ListedRun",
    "Message",
    "Moment",
    "Noop",
    "Notify",
    "NowInFuture",
    "Page",
    "PermanentFailure",
    "RateLimited",
    "Receipt",
    "Recipient",
    "Rehearsal",
    "RunView",
    "SchemaMismatch",
    "Sent",
    "Signal",
    "Stopped",
    "StoppedRun",
    "TransientFailure",
    "Trigger",
    "UnknownWorkflow",
    "Wait",
    "Waiting",
    "WaitingRun",
    "Workflow",
    "WorkflowDefinitionVersionConflict",
    "WorkflowRunNotFound",
    "from_data",
    "from_delivery",
    "goto",
    "on_outcome",
    "rehearse",
    "signal_received",
    "stop_on",
    "wait_until",
]
