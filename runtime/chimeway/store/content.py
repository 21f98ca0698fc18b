"""What templates may name: the trigger's data, with recipient, tenant, run and step."""

from typing import Any

from chimeway.render import template_names
from chimeway.store.runs import Loaded
from chimeway.workflow.definition import NotifyAction, Step


def context_of(loaded: Loaded, step: Step) -> dict[str, Any]:
    """Return the names of a message's template; the step's data is merged over the trigger's."""
    if loaded.snapshot is None:
        raise AssertionError("a run that is not understood renders nothing")
    own = step.action.data if isinstance(step.action, NotifyAction) else {}
    recipient = loaded.recipient
    return template_names(
        {**loaded.snapshot.data, **own},
        recipient={
            "id": recipient.id,
            "locale": recipient.locale,
            "timezone": recipient.timezone,
            "addresses": dict(recipient.addresses),
            "data": dict(recipient.data),
        },
        tenant=recipient.tenant_id,
        run={"id": str(loaded.id), "workflow": loaded.workflow[0], "version": loaded.workflow[1]},
        step={"id": step.id},
    )
