"""An operator's "try again now": what it does to a failed message, and that it does nothing to any other."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway import Notify, Workflow, on_outcome
from chimeway.store import acting
from chimeway.store.acting import Operator
from chimeway.store.pool import Database
from chimeway.store.retrying import Retry, list_failed
from store.journey import Journey, journey
from store.plain_sql import blocked, contents, plain

EMAIL = Notify("step_email", channel="email", render_key="mention_email")
PATIENT = Workflow(key="patient", version=1, steps=[EMAIL])
EAGER = Workflow(
    key="eager",
    version=1,
    steps=[
        Notify(
            "step_email",
            channel="email",
            render_key="mention_email",
            progress=[on_outcome("temporary_failure", to_step="step_sms", keep_retrying=True)],
        ),
        Notify("step_sms", channel="sms", render_key="mention_sms"),
    ],
)
ADA = {"email": "ada@example.org"}


@pytest.fixture
async def ada(clock_database: Database) -> AsyncIterator[Journey]:
    """A run whose only e-mail failed once and is due again in a minute."""
    async with journey(clock_database, PATIENT, {}, **ADA) as played:
        await played.attempt(1, "failed", error_class="timeout")
        yield played


async def delivery(ada: Journey) -> UUID:
    """Return the id of the first delivery."""
    return (await ada.explain()).deliveries[0].id


async def retry(database: Database, tenant: str, delivery_id: UUID) -> Retry | None:
    """Ask for another attempt now, as somebody of a tenant."""
    who = Operator(None, "ops", tenant)
    return await acting.alone(database, lambda on: acting.try_again(on, who, delivery_id, None))


async def again(ada: Journey, of: UUID | None = None) -> Retry:
    """Ask for another attempt now."""
    found = await retry(ada.database, "default", of or await delivery(ada))
    assert found is not None
    return found


async def row(ada: Journey) -> Any:
    """Return the first delivery's row."""
    async with ada.database.acquire() as connection:
        sql = "select * from chimeway.deliveries where run_id = $1 order by visit"
        return await connection.fetchrow(sql, ada.run_id)


async def test_a_failed_message_is_due_now(ada: Journey) -> None:
    """Its time is now, its revision one more, and nothing else has changed; asked again it is the same."""
    before = await row(ada)
    found = await again(ada)
    after = await row(ada)
    assert (found.retried, found.status, found.next_attempt_at) == (True, "failed", before["next_attempt_at"])
    assert after["next_attempt_at"] == await ada.now()
    assert after["revision"] == before["revision"] + 1
    same = {"next_attempt_at", "revision"}
    assert {k: v for k, v in after.items() if k not in same} == {
        k: v for k, v in before.items() if k not in same
    }
    await ada.advance(seconds=-1)
    assert (await again(ada)).retried
    assert (await row(ada))["next_attempt_at"] == await ada.now()
    await ada.advance(seconds=30)
    assert (await again(ada)).retried
    assert (await row(ada))["next_attempt_at"] == await ada.now() - timedelta(seconds=30)


async def test_who_had_looked_before_is_told_to_look_again(ada: Journey) -> None:
    """A sender that holds the row of before the retry is refused as stale."""
    stale = (await row(ada))["revision"]
    await again(ada)
    async with ada.database.acquire() as connection:
        answer = await connection.fetchval(
            """select b.answer from chimeway.begin_attempts(null, null, $1, array[$2::uuid], array[$3::uuid],
                      array[$4::bigint], array[0], array['a@b.org'], array['{}'::jsonb], '{null}') b""",
            uuid4(), await delivery(ada), ada.run_id, stale,
        )  # fmt: skip
    assert answer == "stale"
    await ada.attempt(1, "succeeded")
    assert (await ada.explain()).state == "completed"


@pytest.mark.parametrize("what", ["sent", "ended", "under way", "held", "no node", "stopped under way"])
async def test_what_cannot_be_tried_is_left_as_it_is(ada: Journey, what: str) -> None:
    """It is returned as it stands, and no row is changed."""
    of = await delivery(ada)
    match what:
        case "sent":
            await ada.attempt(1, "succeeded")
        case "ended":
            await ada.client.cancel(ada.run_id)
        case "under way" | "stopped under way":
            await ada.begin(1)
            if what == "stopped under way":
                await ada.client.cancel(ada.run_id)
        case "held":
            async with ada.database.acquire() as connection:
                await connection.fetchval("select chimeway.hold_run($1, 'held_by_request')", ada.run_id)
        case "no node":
            async with ada.database.acquire() as connection:
                await connection.execute("update chimeway.deliveries set waiting_for_node = 'channel email'")
    async with plain(ada.database.url) as sql:
        before = await contents(sql)
        found = await again(ada, of)
        assert await contents(sql) == before
    assert not found.retried
    expected = {
        "sent": ("succeeded", None, None, False),
        "ended": ("cancelled", "run_stopped", None, False),
        "under way": ("dispatched", None, None, False),
        "stopped under way": ("dispatched", None, None, True),
        "held": ("failed", None, "held_by_request", False),
        "no node": ("failed", None, None, False),
    }
    assert (found.status, found.suppression_reason, found.held_reason, found.stop_requested) == expected[what]


async def test_a_delivery_of_another_tenant_is_none(ada: Journey) -> None:
    """An unknown id and another tenant's are the same: there is no such delivery."""
    before = await row(ada)
    assert await retry(ada.database, "other", await delivery(ada)) is None
    assert await retry(ada.database, "default", uuid4()) is None
    assert await row(ada) == before


async def test_it_waits_for_who_has_the_run_and_sees_what_he_did(ada: Journey) -> None:
    """A cancel that commits first wins: the message has ended then, and is not tried."""
    of = await delivery(ada)
    async with (
        plain(ada.database.url) as other,
        plain(ada.database.url) as sql,
        plain(ada.database.url) as eye,
    ):
        transaction = other.transaction()
        await transaction.start()
        await other.fetch("select * from chimeway.cancel($1)", ada.run_id)
        waiter = asyncio.ensure_future(
            sql.fetchrow("select t.retried, t.status from chimeway.retry_delivery($1) t", of)
        )
        await blocked(eye, sql)
        await transaction.commit()
        found = await waiter
    assert found is not None
    assert tuple(found) == (False, "cancelled")


async def test_a_message_that_its_run_has_left_is_tried_too(clock_database: Database) -> None:
    """With keep_retrying the run goes on, or ends; its message may still be hurried."""
    async with journey(clock_database, EAGER, {}, **ADA, phone="+44") as ada:
        await ada.attempt(1, "failed", error_class="transient")
        await ada.attempt(2, "succeeded")
        assert (await ada.explain()).state == "completed"
        assert (await again(ada)).retried
        assert (await row(ada))["next_attempt_at"] == await ada.now()


async def test_those_that_wait_are_listed_in_the_order_of_their_time(ada: Journey) -> None:
    """With what failed and when it is next; by tenant and channel; what keeps one is told."""
    found = await list_failed(ada.database, None, None, 10)
    assert [(one.step, one.channel, one.attempt_count, one.error_class) for one in found] == [
        ("step_email", "email", 1, "timeout")
    ]
    assert found[0].next_attempt_at == await ada.now() + timedelta(minutes=1)
    assert await list_failed(ada.database, "other", None, 10) == []
    assert await list_failed(ada.database, "default", "sms", 10) == []
    async with ada.database.acquire() as connection:
        await connection.fetchval("select chimeway.hold_run($1, 'held_by_request')", ada.run_id)
    assert (await list_failed(ada.database, "default", "email", 10))[0].held_reason == "held_by_request"
