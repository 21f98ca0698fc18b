"""What policy is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from chimeway.workflow.calendar import USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import Hours

Kind: TypeAlias = Literal["send", "defer", "suppress"]
Reason: TypeAlias = Literal["preference", "quiet_hours", "send_window", "cap"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One message, as far as policy cares.

    Attributes:
        channel: on which it would go.
        workflow: the key of its workflow.
        category: of the workflow, if it has one.
        critical: whether the workflow passes preferences, quiet hours and caps.
        zone: the recipient's, an IANA name; one that this machine does not know counts as UTC.
        send_window: hours of the step, if it has any.
        working: the tenant's working days and holidays, for a send window on working days.
        sent: when this recipient was sent something on this channel, as far as it is counted.
    """

    channel: str
    workflow: str
    category: str | None = None
    critical: bool = False
    zone: str = "UTC"
    send_window: Hours | None = None
    working: WorkingCalendar = USUAL_DAYS
    sent: tuple[datetime, ...] = ()


def suppressed_as(verdict: "Verdict") -> str:
    """Return the word for a delivery that policy ends: hours that never allow it are all `quiet_hours`."""
    return "quiet_hours" if verdict.reason == "send_window" else verdict.reason or "preference"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        kind: send it, defer it, or suppress it.
        reason: why not now; None where it is sent.
        until: of what is deferred: when to ask again, later than now, in UTC.
        inputs: plain JSON: which statements, whose, in which zone, what was counted.
        counts: a cap looks at this channel, so that a send must be counted.
        silent: nothing that was set concerns the message; there is nothing to trace.
    """

    kind: Kind
    reason: Reason | None
    until: datetime | None
    inputs: Mapping[str, Any]
    counts: bool
    silent: bool
