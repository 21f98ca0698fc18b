"""What a provider asks to wait, in a running engine: honoured, within reason, and rubbish does no harm."""

from datetime import timedelta

import pytest

from chimeway.delivery.channel import RateLimited, TransientFailure
from kit.home import workflow
from kit.machine import Provider, running_machine

ONE = workflow(
    {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}, key="push"
)


@pytest.mark.parametrize("asked", [float("nan"), -5.0, "soon"])
async def test_rubbish_is_tried_again_as_if_nothing_was_said(asked: object, database_url: str) -> None:
    """No number, or a negative one: the usual pause, and the message goes out."""
    provider = Provider("push", RateLimited(asked), TransientFailure(retry_after=asked))  # type: ignore[arg-type]
    async with running_machine(database_url, provider, definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await on.rows.until(run_id, "completed")
        assert [one["error_class"] for one in await on.rows.attempts(run_id)] == [
            "rate_limited", "transient", None,
        ]  # fmt: skip


@pytest.mark.parametrize("asked", [31_536_000.0, float("inf"), 10**400])
async def test_a_wait_beyond_its_age_ends_a_delivery_at_once(asked: float, database_url: str) -> None:
    """Who must not be asked for a year will not be in time: the end is now, when a rule can still help."""
    provider = Provider("push", TransientFailure(retry_after=asked))
    async with running_machine(database_url, provider, definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await on.rows.until(run_id, "completed")
        (delivery,) = await on.rows.deliveries(run_id)
        assert (delivery["suppression_reason"], delivery["attempt_count"]) == ("retries_exhausted", 1)
        assert delivery["terminal_at"] - delivery["created_at"] < timedelta(seconds=10)


async def test_a_wait_that_was_asked_for_is_kept(database_url: str) -> None:
    """The next attempt comes after it, also where the pause itself would be over sooner."""
    provider = Provider("push", TransientFailure(retry_after=1.0))
    async with running_machine(database_url, provider, definitions=(ONE,)) as on:
        run_id = await on.start(workflow="push")
        await on.rows.until(run_id, "completed")
        first, second = await on.rows.attempts(run_id)
        assert second["started_at"] - first["started_at"] >= timedelta(seconds=1)
