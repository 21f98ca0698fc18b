"""Where the recipient of a message says that they want no more of these."""

from urllib.parse import quote

from chimeway.store.deliveries import Sendable
from chimeway.workflow.definition import Definition


def unsubscribe_url(form: str | None, delivery: Sendable, definition: Definition | None) -> str | None:
    """Return the URL for one message, its placeholders filled in and percent-encoded.

    Args:
        form: as the settings have it; None: nothing is set up.
        delivery: what is sent.
        definition: its workflow; nobody unsubscribes from what is critical.
    """
    if form is None or definition is None or definition.critical:
        return None
    values = {
        "delivery_id": str(delivery.id),
        "tenant_id": delivery.tenant_id,
        "recipient_id": delivery.recipient_id,
        "workflow": definition.key,
    }
    return form.format_map({name: quote(value, safe="") for name, value in values.items()})
