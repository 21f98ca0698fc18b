"""The verbs of unsubscribing, from what callers give to what is asked. Pure; the web door asks them, too."""

from collections.abc import Sequence
from uuid import UUID

from chimeway.client import checks
from chimeway.store import statements
from chimeway.store.call import Call, Row, one


def unsubscribe(
    tenant: str, recipient: str, workflow: str, channel: str, *, delivery_id: UUID | None = None
) -> Call[bool]:
    """Ask for the writing of a preference: no more of a workflow, and of its category, on a channel.

    The answer says whether there is such a recipient: there may be none for a link, which names its delivery.
    """
    what = _checked(recipient, workflow, channel)
    return one(statements.unsubscribe(tenant, *what, delivery_id), _known)


def resubscribe(
    tenant: str, recipient: str, workflow: str, channel: str, *, delivery_id: UUID | None = None
) -> Call[bool]:
    """Ask for the taking back of what `unsubscribe` wrote, with the same answer."""
    what = _checked(recipient, workflow, channel)
    return one(statements.resubscribe(tenant, *what, delivery_id), _known)


def _checked(recipient: str, workflow: str, channel: str) -> tuple[str, str, str]:
    return (
        checks.identifier("recipient", recipient),
        checks.identifier("workflow", workflow),
        checks.identifier("channel", channel),
    )


def _known(rows: Sequence[Row]) -> bool:
    return bool(rows[0]["known"])
