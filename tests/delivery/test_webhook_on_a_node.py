"""Webhooks on a whole engine: what a customer's endpoint does is in the rows, and of that customer alone."""

import json

from chimeway.clock import SystemClock
from chimeway.delivery.channels.webhook import WebhookChannel
from chimeway.delivery.channels.webhook_posting import Reach
from chimeway.delivery.channels.webhook_signing import Secrets, read_secrets
from chimeway.delivery.pacing import ChannelLimits
from kit.home import workflow
from kit.machine import Running, running_machine
from kit.receiver import receiving, reply
from kit.waiting import wait_for
from kit.webhooks import LOOPBACK, SECRET

HOOK = workflow(
    {"id": "tell", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}, key="hook"
)


async def identify(on: Running, recipient: str, tenant: str, url: str) -> None:
    """Give a recipient an address, as a producer would."""
    profile = json.dumps({"addresses": {"push": url}})
    await on.rows.value("select chimeway.identify($1, $2, $3::text::jsonb)", tenant, recipient, profile)


async def test_a_customers_outage_stops_nobody_else(database_url: str) -> None:
    """After three failures of one endpoint it is left alone, while what is for others goes out at once."""
    alone = "127.0.0.3"  # where nobody else may take the port meanwhile
    async with receiving(host=alone) as dead:
        pass
    async with receiving(reply(200, "X-Request-Id: r-1"), reply(410)) as alive:
        reach = Reach(LOOPBACK, http=True, ports=(dead.port, alive.port))
        channel = WebhookChannel(Secrets(read_secrets(SECRET)), name="push", reach=reach, clock=SystemClock())
        channel.limits = ChannelLimits(breaker_failures=3)
        async with channel, running_machine(database_url, channel, definitions=(HOOK,)) as on:
            await identify(on, "down", "a", f"http://{alone}:{dead.port}/t0ken")
            await identify(on, "up", "b", f"http://127.0.0.1:{alive.port}/")
            failing = await on.start("down", "hook", "a")
            gate = on.node.channels["push"].providers[0].gate
            await wait_for(lambda: gate.closed_for(f"{alone}:{dead.port}") > 0, "the endpoint is left alone")
            first, second = [await on.start("up", "hook", "b") for _ in range(2)]
            for run in (first, second):
                await on.rows.until(run, "completed")
            (failed, *_), attempts = await on.rows.attempts(first), await on.rows.attempts(failing)
            assert [attempt["error_class"] for attempt in attempts] == ["transient"] * 3
            answers = {row["outcome"]: row for row in [failed, *await on.rows.attempts(second)]}
            assert answers["succeeded"]["provider_reference"] == "r-1"
            assert answers["failed"]["error_class"] == "bounced"
            sql = "select string_agg(x::text, ' ') from chimeway.delivery_attempt_results x"
            assert "t0ken" not in await on.rows.value(sql)
    assert len(alive.requests) == 2
