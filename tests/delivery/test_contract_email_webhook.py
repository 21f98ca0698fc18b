"""The built-in channels e-mail and webhook keep the channel contract, against servers that fail."""

import pytest

from chimeway.delivery.channels.email import EmailChannel
from chimeway.delivery.channels.webhook import WebhookChannel
from chimeway.delivery.channels.webhook_posting import Bounds, Reach
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets
from chimeway.testing import FaultyHttp, FaultySmtp, channel_contract
from kit.webhooks import LOOPBACK, SECRET

BOUNDS = Bounds(connect_timeout_s=0.2, reply_timeout_s=0.4)


async def test_email_keeps_the_contract() -> None:
    """Refused, hanging, slow, limited, failing, hanging up, talking rubbish: each is what the table says."""
    async with FaultySmtp() as provider:
        report = await channel_contract(
            lambda: EmailChannel(provider.url, "no-reply@example.org", 0.6), provider, timeout_s=3
        )
    assert report.broken == ()


@pytest.mark.parametrize("fixed", [False, True], ids=["addresses", "url"])
async def test_webhook_keeps_the_contract(*, fixed: bool) -> None:
    """The same, for URLs of recipients and for one of the settings."""
    async with FaultyHttp() as provider:
        url = f"{provider.url}/hooks/t0psecret"
        report = await channel_contract(
            lambda: WebhookChannel(
                Secrets(read_secrets(SECRET)),
                url=url if fixed else None,
                reach=Reach(LOOPBACK, http=True, ports=(provider.port,)),
                bounds=BOUNDS,
            ),
            provider,
            address=None if fixed else lambda: url,
            answers={"bounce": ["configuration"]} if fixed else None,  # that nobody is there is our own fault
            secrets=["t0psecret", SECRET, SECRET.removeprefix("whsec_")],
            timeout_s=3,
        )
    assert report.broken == ()
