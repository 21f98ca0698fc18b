"""What a provider told, and what it does to delivery, run and signals: each situation of the essay, once."""

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from chimeway import (
    Chimeway,
    FeedbackEvent,
    Notify,
    Wait,
    Workflow,
    on_outcome,
    signal_received,
    wait_until,
)
from chimeway.client import feedback
from chimeway.store import callers
from chimeway.store.pool import Database
from chimeway.store.verify import verify
from chimeway.workflow.build import from_delivery, stop_on
from store.door import locked
from store.journey import Journey, journey

ADA: Final = {"email": "ada@example.org", "phone": "+44"}
SMS: Final = Notify("step_sms", channel="sms", render_key="mention_sms", next="end")


def email(*progress: Any) -> Workflow:
    """Return an e-mail with these rules, and the message for when it does not arrive."""
    first = Notify(
        "step_email", channel="email", render_key="mention_email", progress=list(progress), next="end"
    )
    return Workflow(key="feedback", version=1, steps=[first, SMS])


PATIENT: Final = email(
    on_outcome("bounced", to_step="step_sms"), stop_on("permanent_failure"),
    wait_until(to_step="step_sms", delay="P1D"),
)  # fmt: skip


async def told(ada: Journey, kind: Any, *, visit: int = 1, event: str = "", **more: Any) -> str:
    """Tell of a visit's delivery, and evaluate."""
    found = await ada.explain()
    delivery = next(d.id for d in found.deliveries if d.visit == visit)
    event_id = event or f"{kind}-1"
    receipt = await ada.client.record_feedback(delivery, kind, source="postmark", event_id=event_id, **more)
    assert receipt.event_id == event_id
    await ada.progress()
    return receipt.answer


async def stands(ada: Journey) -> tuple[str, str | None, list[tuple[str, str | None]]]:
    """Return state and step of the run, and how its deliveries stand; all invariants hold."""
    assert await verify(ada.database) == []
    found = await ada.explain()
    return found.state, found.step, [(d.status, d.suppression_reason) for d in found.deliveries]


async def signals(ada: Journey) -> list[str]:
    """Return the types of the run's own signals, in their order."""
    async with ada.database.acquire() as connection:
        rows = await connection.fetch(
            "select type, payload from chimeway.signals where run_id = $1 order by arrival", ada.run_id
        )
    ids = {str(d.id) for d in (await ada.explain()).deliveries}
    assert all(
        set(row["payload"]) == {"delivery_id"} and row["payload"]["delivery_id"] in ids for row in rows
    )
    return [row["type"].removeprefix("chimeway.delivery.") for row in rows]


async def wake(ada: Journey) -> tuple[Any, Any]:
    """Return when the run is to be woken, and when its wait is over."""
    run = (await ada.explain()).run
    return run.wake_at, run.status_context.get("due_at")


async def test_a_bounce_after_success_leads_a_waiting_run_on(clock_database: Database) -> None:
    """Row 7: a rule is about the bounce, so the run goes on at once, and once, however often it comes."""
    async with journey(clock_database, PATIENT, **ADA) as ada:
        await ada.attempt(1, "succeeded")
        assert (await stands(ada))[:2] == ("waiting", "step_email")
        assert await told(ada, "bounced", detail="550 5.1.1 unknown") == "recorded"
        assert await stands(ada) == ("active", "step_sms", [("cancelled", "bounced"), ("pending", None)])
        for _ in range(4):
            assert await told(ada, "bounced") == "repeat"
        assert await told(ada, "delivered") == "recorded"
        assert await stands(ada) == ("active", "step_sms", [("cancelled", "bounced"), ("pending", None)])
        assert await signals(ada) == ["bounced"]
        row = (await ada.explain()).transitions[-2]
        assert (row.reason, row.context["workflow_outcome"]) == ("progressed_on_delivery_outcome", "bounced")
        assert row.context["evidence"] == {
            "delivery_status": "cancelled", "suppression_reason": "bounced",
            "attempt_outcome": "succeeded", "error_class": None,
        }  # fmt: skip


async def test_without_a_rule_a_waiting_run_waits_on(clock_database: Database) -> None:
    """No rule is about the bounce: its wake is its time, so that nobody takes it for overdue."""
    async with journey(clock_database, email(wait_until(to_step="step_sms", delay="P1D")), **ADA) as ada:
        await ada.attempt(1, "succeeded")
        before = await wake(ada)
        await ada.sql("update chimeway.test_clock set at = at + interval '1 hour'")
        assert await told(ada, "bounced") == "recorded"
        assert await stands(ada) == ("waiting", "step_email", [("cancelled", "bounced")])
        assert await wake(ada) == before
        await ada.advance(days=1)
        assert (await stands(ada))[1] == "step_sms"


async def test_a_wake_for_what_was_corrected_is_taken_back(clock_database: Database) -> None:
    """A rule was about the failure, none is about the bounce that came before anybody looked."""
    rules = (stop_on("permanent_failure"), wait_until(to_step="step_sms", delay="P1D"))
    async with journey(clock_database, email(*rules), **ADA) as ada:
        await ada.attempt(1, "succeeded")
        before = await wake(ada)
        (delivery,) = (await ada.explain()).deliveries
        await ada.client.record_feedback(delivery.id, "failed", source="ses", event_id="1")
        assert (await wake(ada))[0] == await ada.now()
        await ada.client.record_feedback(delivery.id, "bounced", source="ses", event_id="2")
        assert await wake(ada) == before
        await ada.sql("update chimeway.test_clock set at = at + interval '1 minute'")
        assert await stands(ada) == ("waiting", "step_email", [("cancelled", "bounced")])


async def test_signal_outcome_time(clock_database: Database) -> None:
    """At one moment a signal goes before the outcome, and the outcome before the time."""
    async with journey(clock_database, PATIENT, **ADA) as ada:
        await ada.attempt(1, "succeeded")
        await ada.sql("update chimeway.test_clock set at = at + interval '2 days'")
        assert await told(ada, "failed") == "recorded"
        assert await stands(ada) == ("stopped", "step_email", [("cancelled", "permanent_failure")])


async def test_an_active_run_goes_on_when_a_retry_waits(clock_database: Database) -> None:
    """Delivered after all: no further attempt, and the run completes. Bounced: its rule leads on."""
    for number, (kind, end) in enumerate({"delivered": "completed", "bounced": "active"}.items()):
        async with journey(clock_database, email(on_outcome("bounced", to_step="step_sms")), **ADA) as ada:
            await ada.attempt(1, "failed", outcome="unknown", error_class="unknown")
            assert (await stands(ada))[0] == "active"
            assert await told(ada, kind, at=await ada.now() - timedelta(minutes=1)) == "recorded"
            assert (await stands(ada))[0] == end, number
            first = (await ada.explain()).deliveries[0]
            assert (first.next_attempt_at, first.attempt_count) == (None, 1)


async def test_feedback_before_the_result(clock_database: Database) -> None:
    """It moves at once; the result, whatever it says, is evidence and moves nothing."""
    async with journey(clock_database, email(on_outcome("bounced", to_step="step_sms")), **ADA) as ada:
        await ada.begin(1)
        assert await told(ada, "bounced") == "recorded"
        assert await stands(ada) == ("active", "step_sms", [("cancelled", "bounced"), ("pending", None)])
        await ada.record(1, "succeeded")
        assert await stands(ada) == ("active", "step_sms", [("cancelled", "bounced"), ("pending", None)])
        assert [a.outcome for a in (await ada.explain()).deliveries[0].attempts] == ["succeeded"]


async def test_what_was_given_up_arrived_after_all(clock_database: Database) -> None:
    """Superseded, and then delivered: the row says what is true, and nothing in the run changes."""
    async with journey(
        clock_database, email(on_outcome("temporary_failure", to_step="step_sms")), **ADA
    ) as ada:
        await ada.attempt(1, "failed", error_class="timeout")
        assert (await stands(ada))[2][0] == ("cancelled", "superseded")
        before = (await ada.explain()).transitions
        assert await told(ada, "delivered") == "recorded"
        assert await stands(ada) == ("active", "step_sms", [("succeeded", None), ("pending", None)])
        assert (await ada.explain()).transitions == before


@pytest.mark.parametrize(
    ("kind", "end"), [("bounced", ("cancelled", "bounced")), ("delivered", ("succeeded", None))]
)
async def test_a_stopped_run_is_not_moved(
    clock_database: Database, kind: str, end: tuple[str, str | None]
) -> None:
    """An attempt was under way when the run was stopped: the delivery ends as told, and the run stays so."""
    async with journey(clock_database, PATIENT, **ADA) as ada:
        await ada.begin(1)
        await ada.client.cancel(ada.run_id)
        assert await told(ada, kind) == "recorded"
        await ada.record(1, "failed", error_class="timeout")
        assert await stands(ada) == ("stopped", "step_email", [end])
        assert len(await signals(ada)) == 1
        assert await ada.client.explain(ada.run_id)


async def test_after_the_end_it_is_recorded(clock_database: Database) -> None:
    """A completed run hears nothing; delivery and signal say what was told."""
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.attempt(1, "succeeded")
        assert (await stands(ada))[0] == "completed"
        for kind in ("deferred", "delivered", "complained", "bounced", "complained"):
            assert await told(ada, kind, event=f"{kind}-{uuid4()}") == "recorded"
        assert await stands(ada) == ("completed", "step_email", [("cancelled", "bounced")])
        assert await signals(ada) == ["succeeded", "complained", "bounced"]


async def test_a_held_run_hears_it_when_it_is_given_back(clock_database: Database) -> None:
    """The wake stands while the run is held, and counts at resume."""
    async with journey(clock_database, PATIENT, **ADA) as ada:
        await ada.attempt(1, "succeeded")
        await ada.sql("select chimeway.hold_run($1, 'held_by_request')", ada.run_id)
        assert await told(ada, "bounced") == "recorded"
        assert (await stands(ada))[1] == "step_email"
        await ada.sql("select chimeway.resume_run($1)", ada.run_id)
        assert (await wake(ada))[0] is not None
        await ada.progress()
        assert (await stands(ada))[1] == "step_sms"


LISTENING: Final = Workflow(
    key="listening",
    version=1,
    steps=[
        Notify("step_email", channel="email", render_key="mention_email"),
        Wait(
            "step_wait",
            duration="P1D",
            stop_conditions=[
                signal_received(
                    "chimeway.delivery.bounced", match={"delivery_id": from_delivery("step_email")}
                ),
                signal_received("chimeway.delivery.complained"),
            ],
        ),
        SMS,
    ],
)


@pytest.mark.parametrize("kind", ["bounced", "complained"])
async def test_a_wait_hears_of_its_own_delivery(clock_database: Database, kind: str) -> None:
    """The signal reaches the run of the delivery and no other of the same person."""
    async with journey(clock_database, LISTENING, **ADA) as other, journey(clock_database, LISTENING) as ada:
        for one in (ada, other):
            await one.attempt(1, "succeeded")
        assert await told(ada, kind) == "recorded"
        await ada.sql("select * from chimeway.route_signals(100, 100)")
        await ada.progress()
        await other.progress()
        assert (await stands(ada))[:2] == ("stopped", "step_wait")
        assert (await stands(other))[:2] == ("waiting", "step_wait")


async def test_what_was_never_sent_takes_none(clock_database: Database) -> None:
    """No attempt was made: it cannot be true, nothing is written, and the answer says so."""
    in_app = Notify("step_in_app", channel="in_app", render_key="mention")
    mail = Notify("step_email", channel="email", render_key="mention_email")
    both = Workflow(key="both", version=1, steps=[in_app, mail])
    async with journey(clock_database, both, **ADA) as ada:
        for visit in (1, 2):
            assert await told(ada, "bounced", visit=visit) == "unsent"
        assert (await stands(ada))[2] == [("succeeded", None), ("pending", None)]
        assert await signals(ada) == []


async def test_who_is_meant(clock_database: Database) -> None:
    """By id, else by the provider's reference if one delivery bears it; another tenant's is unknown."""
    async with journey(clock_database, email(), **ADA) as ada, journey(clock_database, email()) as eve:
        await ada.attempt(1, "succeeded", provider_reference="Ok 0100")
        await eve.attempt(1, "succeeded", provider_reference="queued")
        (delivery,) = (await ada.explain()).deliveries
        client = ada.client
        by_name = FeedbackEvent("1", "delivered", references=("0100", "Ok 0100"))
        assert await _asked(client, by_name) == ("recorded", delivery.id)
        both = FeedbackEvent("2", "delivered", uuid4(), ("Ok 0100",))
        assert await _asked(client, both) == ("recorded", delivery.id)
        named = {"id": "3", "type": "delivered", "provider_reference": "Ok 0100"}
        assert await _asked(client.for_tenant("default"), named) == ("recorded", delivery.id)
        assert await _asked(client.for_tenant("org_456"), named) == ("unknown", None)
        assert await _asked(client.for_tenant("org_456"), FeedbackEvent("4", "bounced", delivery.id)) == (
            "unknown", None,
        )  # fmt: skip
        assert await _asked(client, FeedbackEvent("5", "bounced", uuid4())) == ("unknown", None)
        async with journey(clock_database, email()) as third:
            await third.attempt(1, "succeeded", provider_reference="queued")
        assert await _asked(client, FeedbackEvent("6", "bounced", references=("queued",))) == (
            "unknown",
            None,
        )
        assert await verify(clock_database) == []


async def test_a_name_that_many_bear_is_nobodys(clock_database: Database) -> None:
    """However many of other tenants bear it, too: not the one that happens to be found among the first."""
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.attempt(1, "succeeded", provider_reference="queued")
        await ada.sql(_MANY_BEAR_ITS_NAME)
        named = FeedbackEvent("1", "bounced", references=("queued",))
        for tenant in ("default", "org_456"):
            assert await _asked(ada.client.for_tenant(tenant), named) == ("unknown", None)


_MANY_BEAR_ITS_NAME: Final = """
with d as (
    insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
                render_key, status, attempt_count, terminal_at, created_at)
    select chimeway.new_id(o.shard), o.shard, o.run_id, 1 + n,  o.step_id,
           case when n < 110 then 'org_456' else o.tenant_id end, o.recipient_id, o.channel, o.render_key,
           'succeeded', 1, o.created_at, o.created_at
      from chimeway.deliveries o, generate_series(1, 120) n
    returning *
), a as (
    insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot,
                started_at)
    select d.id, d.shard, 1, d.run_id, d.run_id, pg_current_snapshot(), d.created_at from d
)
insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome, provider_reference,
            finished_at)
select d.id, d.shard, 1, 'succeeded', 'queued', d.created_at from d"""


async def _asked(client: Chimeway, event: Any) -> tuple[str, UUID | None]:
    (receipt,) = await client.record_feedback_many("ses", [event])
    return receipt.answer, receipt.delivery_id


async def test_whoever_is_not_patient_is_told(clock_database: Database) -> None:
    """While somebody has the run locked, one answer is `busy`, the others' runs are not held up."""
    async with journey(clock_database, email(), **ADA) as ada, journey(clock_database, email()) as eve:
        await ada.attempt(1, "succeeded")
        await eve.attempt(1, "succeeded")
        events = [
            FeedbackEvent("1", "bounced", each.id)
            for one in (ada, eve)
            for each in (await one.explain()).deliveries
        ]
        call = feedback.record_many(None, "ses", events, patient=False)
        async with locked(clock_database, ada.run_id):
            found = await callers.run(clock_database, call)
        assert [each.answer for each in found] == ["busy", "recorded"]
        assert [each.answer for each in await callers.run(clock_database, call)] == ["recorded", "repeat"]


@pytest.mark.parametrize("kind", ["bounced", "complained"])
async def test_an_older_snapshot_does_not_weigh_against_what_it_cannot_see(
    clock_database: Database, kind: Any
) -> None:
    """A caller in REPEATABLE READ is told to begin again, also where what came meanwhile moved nothing."""
    ended = {"outcome": "failed", "error_class": "bounced", "reason": "bounced"}
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.attempt(1, "cancelled", **ended)
        (delivery,) = (await ada.explain()).deliveries
        say = partial(ada.client.record_feedback, delivery.id, source="s")
        async with clock_database.acquire() as lent, lent.transaction(isolation="repeatable_read"):
            await lent.execute("select from chimeway.deliveries")
            await say(kind, event_id="1")
            with pytest.raises(asyncpg.SerializationError):
                async with lent.transaction():
                    await say("delivered", event_id="2", connection=lent)
        assert await verify(clock_database) == []


async def test_feedback_is_never_changed(clock_database: Database) -> None:
    """Its rows are append-only, as attempts are; the caller's rollback takes all of it back."""
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.attempt(1, "succeeded")
        (delivery,) = (await ada.explain()).deliveries
        async with clock_database.acquire() as lent:
            with suppress(ZeroDivisionError):
                async with lent.transaction():
                    await ada.client.record_feedback(
                        delivery.id, "bounced", source="s", event_id="1", connection=lent
                    )
                    raise ZeroDivisionError
        assert (await stands(ada))[2] == [("succeeded", None)]
        await told(ada, "bounced")
        for change in ("update %s set kind = 'delivered'", "delete from %s", "truncate %s"):
            with pytest.raises(asyncpg.PostgresError, match="append_only"):
                await ada.sql(change % "chimeway.delivery_feedback")


async def test_explain_tells_it(clock_database: Database) -> None:
    """Why: what was told, when the message had been sent, what was told beside it; and the timeline."""
    async with journey(clock_database, PATIENT, **ADA) as ada:
        await ada.attempt(1, "succeeded")
        await told(ada, "delivered", at=await ada.now())
        assert (
            (await ada.explain())
            .why[1]
            .endswith("Of it postmark told: delivered at 2026-01-05 09:00:00 UTC.")
        )
        await ada.sql("update chimeway.test_clock set at = at + interval '1 hour'")
        await told(ada, "bounced", detail='550 <"5.1.1"> & ü')
        await told(ada, "complained", detail="abuse")
        found = await ada.explain()
    assert found.why[1] == (
        'The email "mention_email" of step_email bounced at 2026-01-05 10:00:00 UTC, as postmark told '
        '(550 <"5.1.1"> & ü): the address is wrong. It had been sent at 2026-01-05 09:00:00 UTC, with '
        "attempt 1. Of it postmark also told: delivered at 2026-01-05 09:00:00 UTC and complained at "
        "2026-01-05 10:00:00 UTC (abuse)."
    )
    assert [(each.what, each.detail) for each in found.timeline if each.kind == "feedback"] == [
        ("delivered", "postmark"),
        ("bounced", 'postmark: 550 <"5.1.1"> & ü'),
        ("complained", "postmark: abuse"),
    ]


async def test_explain_tells_of_what_no_call_had_said(clock_database: Database) -> None:
    """Given up, or delivered after all: each is told with what the calls had said."""
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.begin(1)
        await told(ada, "failed", detail="mailbox full")
        assert (await ada.explain()).why[1] == (
            'The email "mention_email" of step_email was given up by its provider at 2026-01-05 09:00:00 '
            "UTC, as postmark told (mailbox full). Of its last attempt no result had been recorded."
        )
    async with journey(clock_database, email(), **ADA) as ada:
        await ada.attempt(1, "failed", outcome="unknown", error_class="unknown")
        await told(ada, "delivered")
        assert (await ada.explain()).why[1] == (
            'The email "mention_email" of step_email was delivered at 2026-01-05 09:00:00 UTC, as postmark '
            "told. Its last attempt had ended as unknown."
        )
