"""What policy is asked about a step's message: the journey's part of the question."""

from collections.abc import Sequence
from datetime import datetime

from chimeway.progression.policy import Asked
from chimeway.workflow.calendar import WorkingCalendar
from chimeway.workflow.definition import Definition, NotifyAction


def asked_of(
    definition: Definition,
    action: NotifyAction,
    *,
    zone: str,
    working: WorkingCalendar,
    sent: Sequence[datetime] = (),
) -> Asked:
    """Return the question.

    Args:
        definition: the journey.
        action: that of the step whose message it is.
        zone: the recipient's.
        working: the tenant's calendar.
        sent: when the recipient was sent something on the step's channel, as far as it is counted.
    """
    return Asked(
        channel=action.channel,
        workflow=definition.key,
        category=definition.category,
        critical=definition.critical,
        zone=zone,
        send_window=action.send_window,
        working=working,
        sent=tuple(sent),
    )
