"""Chimeway: durable notification journeys on PostgreSQL.

The public names. Each is imported when it is first used: the light install has no template engine, no
command line and no server, and who only triggers need not wait for theirs.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from chimeway.extras import imported

if TYPE_CHECKING:
    from chimeway.app import App
    from chimeway.client.chimeway import Chimeway
    from chimeway.client.explanation import Explanation, Moment
    from chimeway.client.feedback import FeedbackReceipt
    from chimeway.client.inbox import Inbox
    from chimeway.client.preferences import Cap, QuietHours
    from chimeway.client.recipient import Recipient
    from chimeway.client.rehearsing import rehearse
    from chimeway.client.results import (
        Cancellation,
        EndedRun,
        Receipt,
        StoppedRun,
    )
    from chimeway.client.seed_forms import Signal, Trigger
    from chimeway.delivery.channel import (
        Bounced,
        Channel,
        ConfigurationFailure,
        Message,
        PermanentFailure,
        RateLimited,
        Sent,
        TransientFailure,
        UnknownOutcome,
    )
    from chimeway.delivery.channels.webhook_signing import webhook_secret
    from chimeway.delivery.pacing import ChannelLimits
    from chimeway.engine.progress import (
        Advanced,
        Completed,
        Engine,
        Noop,
        Stopped,
        Waiting,
    )
    from chimeway.errors import (
        ChimewayError,
        DatabaseUnavailable,
        FeedbackRefused,
        IdempotencyConflict,
        InvalidDataReference,
        InvalidDefinition,
        InvalidInput,
        InvalidSettings,
        MissingExtra,
        NotPermitted,
        NowInFuture,
        RecipientNotFound,
        RunBusy,
        SchemaMismatch,
        UnknownWorkflow,
        WorkflowDefinitionVersionConflict,
        WorkflowRunNotFound,
    )
    from chimeway.feedback.event import FeedbackEvent
    from chimeway.progression.rehearse import Rehearsal
    from chimeway.render.functions import Content
    from chimeway.render.message import RenderContext
    from chimeway.store.forgetting import Forgotten
    from chimeway.store.profiles import RecipientView, TenantView
    from chimeway.store.views import (
        InboxChange,
        InboxCounts,
        InboxItem,
        ListedRun,
        Page,
        RunView,
        WaitingRun,
    )
    from chimeway.workflow.build import (
        Notify,
        Wait,
        Workflow,
        from_data,
        from_delivery,
        goto,
        on_outcome,
        repeat,
        signal_received,
        stop_on,
        wait_until,
    )
    from chimeway.workflow.build_times import (
        hours,
        local_time,
        within,
        working_days,
    )
    from chimeway.workflow.definition import Definition

_HOMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chimeway.app": ("App",),
        "chimeway.client.chimeway": ("Chimeway",),
        "chimeway.client.explanation": (
            "Explanation",
            "Moment",
        ),
        "chimeway.client.feedback": ("FeedbackReceipt",),
        "chimeway.client.inbox": ("Inbox",),
        "chimeway.client.preferences": (
            "Cap",
            "QuietHours",
        ),
        "chimeway.client.recipient": ("Recipient",),
        "chimeway.client.rehearsing": ("rehearse",),
        "chimeway.client.results": (
            "Cancellation",
            "EndedRun",
            "Receipt",
            "StoppedRun",
        ),
        "chimeway.client.seed_forms": (
            "Signal",
            "Trigger",
        ),
        "chimeway.delivery.channel": (
            "Bounced",
            "Channel",
            "ConfigurationFailure",
            "Message",
            "PermanentFailure",
            "RateLimited",
            "Sent",
            "TransientFailure",
            "UnknownOutcome",
        ),
        "chimeway.delivery.channels.webhook_signing": ("webhook_secret",),
        "chimeway.delivery.pacing": ("ChannelLimits",),
        "chimeway.engine.progress": (
            "Advanced",
            "Completed",
            "Engine",
            "Noop",
            "Stopped",
            "Waiting",
        ),
        "chimeway.errors": (
            "ChimewayError",
            "DatabaseUnavailable",
            "FeedbackRefused",
            "IdempotencyConflict",
            "InvalidDataReference",
            "InvalidDefinition",
            "InvalidInput",
            "InvalidSettings",
            "MissingExtra",
            "NotPermitted",
            "NowInFuture",
            "RecipientNotFound",
            "RunBusy",
            "SchemaMismatch",
            "UnknownWorkflow",
            "WorkflowDefinitionVersionConflict",
            "WorkflowRunNotFound",
        ),
        "chimeway.feedback.event": ("FeedbackEvent",),
        "chimeway.progression.rehearse": ("Rehearsal",),
        "chimeway.render.functions": ("Content",),
        "chimeway.render.message": ("RenderContext",),
        "chimeway.store.forgetting": ("Forgotten",),
        "chimeway.store.profiles": (
            "RecipientView",
            "TenantView",
        ),
        "chimeway.store.views": (
            "InboxChange",
            "InboxCounts",
            "InboxItem",
            "ListedRun",
            "Page",
            "RunView",
            "WaitingRun",
        ),
        "chimeway.workflow.build": (
            "Notify",
            "Wait",
            "Workflow",
            "from_data",
            "from_delivery",
            "goto",
            "on_outcome",
            "repeat",
            "signal_received",
            "stop_on",
            "wait_until",
        ),
        "chimeway.workflow.build_times": (
            "hours",
            "local_time",
            "within",
            "working_days",
        ),
        "chimeway.workflow.definition": ("Definition",),
    }
)
"""Module → the public names that live there."""
_HOME_OF: Final = MappingProxyType({name: module for module, names in _HOMES.items() for name in names})

__all__ = [
    "Advanced",
    "App",
    "Bounced",
    "Cancellation",
    "Cap",
    "Channel",
    "ChannelLimits",
    "Chimeway",
    "ChimewayError",
    "Completed",
    "ConfigurationFailure",
    "Content",
    "DatabaseUnavailable",
    "Definition",
    "EndedRun",
    "Engine",
    "Explanation",
    "FeedbackEvent",
    "FeedbackReceipt",
    "FeedbackRefused",
    "Forgotten",
    "IdempotencyConflict",
    "Inbox",
    "InboxChange",
    "InboxCounts",
    "InboxItem",
    "InvalidDataReference",
    "InvalidDefinition",
    "InvalidInput",
    "InvalidSettings",
    "ListedRun",
    "Message",
    "MissingExtra",
    "Moment",
    "Noop",
    "NotPermitted",
    "Notify",
    "NowInFuture",
    "Page",
    "PermanentFailure",
    "QuietHours",
    "RateLimited",
    "Receipt",
    "Recipient",
    "RecipientNotFound",
    "RecipientView",
    "Rehearsal",
    "RenderContext",
    "RunBusy",
    "RunView",
    "SchemaMismatch",
    "Sent",
    "Signal",
    "Stopped",
    "StoppedRun",
    "TenantView",
    "TransientFailure",
    "Trigger",
    "UnknownOutcome",
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
    "hours",
    "local_time",
    "on_outcome",
    "rehearse",
    "repeat",
    "signal_received",
    "stop_on",
    "wait_until",
    "webhook_secret",
    "within",
    "working_days",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'chimeway' has no attribute {name!r}")
    with imported():
        found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, imported yet or not."""
    return sorted({*globals(), *__all__})
