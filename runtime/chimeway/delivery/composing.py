"""What goes out: to which address, saying what. The same for every attempt of a delivery.

Both are settled at the first attempt and stand in the delivery's row from then on, so that a retry neither
follows a changed profile nor says anything else under the same key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chimeway.delivery.channel import Message
from chimeway.delivery.route import Route
from chimeway.delivery.unsubscribing import Unsubscribing
from chimeway.log import Events
from chimeway.render.message import RenderFault
from chimeway.render.renderers import Renderers
from chimeway.store.content import context_of
from chimeway.store.deliveries import Sendable
from chimeway.store.runs import Loaded

_log = Events()


@dataclass(frozen=True, slots=True)
class Sending:
    """A delivery and its run, as loaded."""

    delivery: Sendable
    run: Loaded


def address_of(sending: Sending, route: Route) -> str | None:
    """Return the address of the first attempt; before it, what the profile has for the channel, or None."""
    if sending.delivery.address is not None:
        return sending.delivery.address
    known = sending.run.recipient.addresses.get(route.name)
    return None if known is None else str(known)


def rendered(
    sending: Sending, renderers: Renderers, unsubscribing: Unsubscribing
) -> Mapping[str, Any] | RenderFault:
    """Return what was rendered before the first attempt, or render it now."""
    delivery, snapshot = sending.delivery, sending.run.snapshot
    if delivery.message is not None:
        return delivery.message
    step = snapshot.definition.step(delivery.step_id) if snapshot else None
    if snapshot is None or step is None:
        return RenderFault(f"the definition has no step {delivery.step_id}")
    context = context_of(sending.run, step, unsubscribing.page(delivery, snapshot.definition))
    made = renderers.render(delivery.render_key, delivery.channel, context)
    if isinstance(made, RenderFault):
        return made
    _log.debug(
        "delivery.rendered", delivery_id=str(delivery.id), run_id=str(delivery.run_id), locale=made.locale
    )
    return made.as_json()


def message_of(
    sending: Sending, address: str | None, message: Mapping[str, Any], unsubscribing: Unsubscribing
) -> Message:
    """Return the message for a channel.

    Args:
        sending: whose it is.
        address: where it goes; None: the channel needs none.
        message: what was rendered.
        unsubscribing: makes its link, if there is one.
    """
    delivery, snapshot = sending.delivery, sending.run.snapshot
    definition = snapshot.definition if snapshot else None
    return Message(
        delivery_id=str(delivery.id),
        run_id=str(delivery.run_id),
        tenant_id=delivery.tenant_id,
        recipient_id=delivery.recipient_id,
        channel=delivery.channel,
        address=address,
        subject=message["subject"],
        body=message["body"],
        text=message.get("text"),
        data=dict(snapshot.data) if snapshot else {},
        workflow=definition.key if definition else "",
        step=delivery.step_id,
        render_key=delivery.render_key,
        unsubscribe_url=unsubscribing.link(delivery, definition),
    )
