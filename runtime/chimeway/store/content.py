"""What messages may be made of: the trigger's data, with recipient, tenant, run and step."""

from chimeway.render.message import RenderContext, RenderRecipient, RenderRun, RenderStep
from chimeway.store.runs import Loaded
from chimeway.workflow.definition import NotifyAction, Step


def context_of(loaded: Loaded, step: Step, unsubscribe_url: str | None = None) -> RenderContext:
    """Return what a message is made of; the step's data is merged over the trigger's.

    Args:
        loaded: the run.
        step: the step that sends it.
        unsubscribe_url: where its recipient says that they want no more of these, if there is such a place.
    """
    if loaded.snapshot is None:
        raise AssertionError("a run that is not understood renders nothing")
    own = step.action.data if isinstance(step.action, NotifyAction) else {}
    recipient = loaded.recipient
    return RenderContext(
        data={**loaded.snapshot.data, **own},
        recipient=RenderRecipient(
            id=recipient.id,
            locale=recipient.locale,
            timezone=recipient.timezone,
            addresses=dict(recipient.addresses),
            data=dict(recipient.data),
        ),
        tenant=recipient.tenant_id,
        run=RenderRun(str(loaded.id), *loaded.workflow),
        step=RenderStep(step.id),
        unsubscribe_url=unsubscribe_url,
    )
