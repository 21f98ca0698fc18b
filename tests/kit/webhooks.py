"""What the tests of the webhook channel share: a message, a channel that reaches loopback, its secrets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from chimeway.clock import ManualClock
from chimeway.delivery.channel import Message
from chimeway.delivery.channels.webhook import WebhookChannel
from chimeway.delivery.channels.webhook_posting import Reach
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets
from chimeway.delivery.outward.networks import Networks

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = Networks((ip_network("127.0.0.0/8"),))


def message(address: str | None, **changes: Any) -> Message:
    """Make a message to an address, with changes."""
    parts: dict[str, Any] = {
        "delivery_id": "0198b2c4-aaaa-7000-8000-000000000001", "run_id": "r1", "tenant_id": "org_456",
        "recipient_id": "ada", "channel": "webhook", "address": address, "subject": "You were mentioned",
        "body": "<p>Gr\u00fc\u00dfe</p>", "text": "Gr\u00fc\u00dfe", "data": {"document_id": "doc_789"},
        "workflow": "mention", "step": "tell", "render_key": "mention_webhook",
    }  # fmt: skip
    return Message(**(parts | changes))


def resolving(**names: list[str]) -> Callable[[str], Awaitable[list[str]]]:
    """Return who says the addresses of names; a dot in a name is written as two underscores."""
    known = {name.replace("__", "."): addresses for name, addresses in names.items()}

    async def resolve(host: str) -> list[str]:
        return known[host]

    return resolve


@asynccontextmanager
async def webhook(
    port: int, reach: Mapping[str, Any] | None = None, **changes: Any
) -> AsyncIterator[WebhookChannel]:
    """Open a channel that may reach loopback, by plain HTTP too, at this port."""
    parts = {"networks": LOOPBACK, "http": True, "ports": (port,), **(reach or {})}
    secrets = Secrets(read_secrets(SECRET))
    given = {"secrets": secrets, "reach": Reach(**parts), "clock": ManualClock(NOW), **changes}
    async with WebhookChannel(**given) as channel:
        yield channel
