"""What became of a delivery, in the words that rules use.

Source: semantics §4. A pure function of the delivery row and its latest attempt, never of queue or
in-flight state (T-25-04); the rows' names are the source's.
"""

from typing import assert_never

from chimeway.progression.snapshot import TERMINAL, DeliveryStatus
from chimeway.workflow.definition import Json, Outcome

_CANCELLED_AS: dict[str, Outcome] = {
    "retries_exhausted": "retries_exhausted",
    "permanent_failure": "permanent_failure",
    "bounced": "bounced",
}


def outcome_of(
    status: DeliveryStatus, suppression_reason: str | None, failed_attempts: int
) -> Outcome | None:
    """Return the workflow outcome of a delivery, or None where it has none.

    Args:
        status: the delivery row's status.
        suppression_reason: why it was suppressed or cancelled, a word of the closed enum.
        failed_attempts: attempts of it that failed so far.

    Returns:
        the outcome. None has two meanings, told apart by `is_terminal`: nothing is known yet, or
        the delivery ended for a reason that is no outcome (`superseded`, `run_stopped`, ...).
    """
    match status:
        case "succeeded":
            return "delivered"
        case "suppressed":
            return "suppressed"
        case "cancelled":
            return _CANCELLED_AS.get(suppression_reason or "")
        case "pending" | "dispatched" | "deferred" | "digested" | "failed":
            return "temporary_failure" if failed_attempts > 0 else None
        case _:
            assert_never(status)


def is_terminal(status: DeliveryStatus) -> bool:
    """Return whether a delivery of this status has ended (semantics §4, column "terminal")."""
    return status in TERMINAL


def evidence(
    status: DeliveryStatus,
    suppression_reason: str | None,
    attempt_outcome: str | None,
    error_class: str | None,
) -> dict[str, Json]:
    """Return the facts kept beside an outcome (semantics §4, last paragraph).

    Args:
        status: the delivery row's status.
        suppression_reason: its reason.
        attempt_outcome: the outcome of the latest attempt, None without one.
        error_class: the error class of the latest attempt, None without one.

    Returns:
        plain JSON of enum words only.
    """
    return {
        "delivery_status": status,
        "suppression_reason": suppression_reason,
        "attempt_outcome": attempt_outcome,
        "error_class": error_class,
    }
