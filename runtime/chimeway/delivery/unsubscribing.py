"""Where the recipient of a message says that they want no more of these.

Two places may be set up. A page of the application, whose URL has placeholders; and this node's own web door,
by signed links that unsubscribe with one click. Where both are, what machines use (the headers of a mail, the
payload of a webhook) is the signed link, and what people see (`unsubscribe_url` in a template) is the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from chimeway.log import Events
from chimeway.store.deliveries import Sendable
from chimeway.unsubscribe_tokens import PATH, Subscription, signed
from chimeway.workflow.definition import Definition

_log = Events()


@dataclass(frozen=True, slots=True)
class Unsubscribing:
    """All that is set up."""

    form: str | None = None
    """The URL of the application's page, with placeholders."""
    public_url: str | None = None
    """Where this node's web door is reached from outside."""
    keys: Sequence[bytes] = ()
    """The first signs."""

    def link(self, delivery: Sendable, definition: Definition | None) -> str | None:
        """Return the URL for machines: the signed link, else the application's page, else None.

        Args:
            delivery: what is sent.
            definition: its workflow; nobody unsubscribes from what is critical.
        """
        return self._signed(delivery, definition) or unsubscribe_url(self.form, delivery, definition)

    def page(self, delivery: Sendable, definition: Definition | None) -> str | None:
        """Return the URL for people: the application's page, else the signed link, else None."""
        return unsubscribe_url(self.form, delivery, definition) or self._signed(delivery, definition)

    def _signed(self, delivery: Sendable, definition: Definition | None) -> str | None:
        if self.public_url is None or not self.keys or definition is None or definition.critical:
            return None
        what = Subscription(
            delivery.tenant_id, delivery.recipient_id, definition.key, delivery.channel, delivery.id
        )
        token = signed(what, self.keys)
        if token is None:
            _tell_of_no_link(definition.key, delivery.channel)
            return None
        return f"{self.public_url}{PATH}{token}"


NOWHERE: Final = Unsubscribing()


@lru_cache(maxsize=1_000)
def _tell_of_no_link(workflow: str, channel: str) -> None:
    _log.warning("unsubscribe.no_link", workflow=workflow, channel=channel)


def unsubscribe_url(form: str | None, delivery: Sendable, definition: Definition | None) -> str | None:
    """Return the URL of the application's page for one message, its placeholders percent-encoded.

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
