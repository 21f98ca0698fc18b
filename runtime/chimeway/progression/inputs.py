"""What a decision depended on, as plain JSON: the `inputs` of semantics I10.

Written into the first transition of the decision; read by `replay`. No value of data, payload or
profile is among them: only ids, types, enum words and instants (§8).
"""

from datetime import datetime
from typing import Any

from chimeway.progression.decision import Birth
from chimeway.progression.instants import written
from chimeway.progression.snapshot import Delivery
from chimeway.progression.working import Working
from chimeway.workflow.calendar import WorkingCalendar, in_order


def inputs_of(working: Working) -> dict[str, Any]:
    """Return the inputs of the decision that `working` has become.

    `mailbox` has a row for each mailbox row examined, `fit` being the path of the condition that it
    met; `births` how each planned delivery was born, without its note, which is free text, and without what
    policy said of it, which is personal (`until` only where it is deferred);
    `instants` the data's instants used, null where the data had none; `working` is there where the
    tenant's working days were asked for, with the holidays that lay on the way.
    """
    run, delivery = working.snapshot.run, working.snapshot.delivery
    return {
        "now": written(working.now),
        "zone": working.snapshot.zone,
        "paused": working.snapshot.workflow_paused,
        "mailbox": [
            {
                "n": mail.number,
                "fit": working.examined[mail.number],
                "signal_id": str(mail.signal_id),
                "type": mail.type,
            }
            for mail in working.snapshot.mail
            if mail.number in working.examined
        ],
        "delivery": None if delivery is None else _delivery(delivery),
        "births": {str(visit): _birth(birth) for visit, birth in working.births.items()},
        "instants": dict(working.instants),
        "entered_at": _or_none(run.entered_at),
        "armed_step": run.armed_step,
        "armed_entered_at": _or_none(run.armed_entered_at),
        **_calendar(working.calendar),
    }


def _calendar(used: WorkingCalendar | None) -> dict[str, Any]:
    if used is None:
        return {}
    return {
        "working": {
            "days": in_order(used.working_days),
            "holidays": [day.isoformat() for day in sorted(used.holidays)],
        }
    }


def _delivery(row: Delivery) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "visit": row.visit,
        "step": row.step_id,
        "status": row.status,
        "reason": row.suppression_reason,
        "terminal_at": _or_none(row.terminal_at),
        "attempts": row.attempts,
        "failed": row.failed_attempts,
        "last_outcome": row.last_outcome,
        "last_error_class": row.last_error_class,
    }


def _birth(birth: Birth) -> dict[str, Any]:
    known = {"status": birth.status, "reason": birth.reason, "error_class": birth.error_class}
    return known if birth.until is None else {**known, "until": written(birth.until)}


def _or_none(at: datetime | None) -> str | None:
    return None if at is None else written(at)
