"""Why was this sent, or not sent? Journeys really played, against the golden texts of why.golden.txt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimeway import Notify, Wait, Workflow, from_data, on_outcome, signal_received, stop_on, wait_until
from chimeway.client.why import why
from chimeway.store.callers import run
from chimeway.store.pool import Database
from chimeway.store.reads import read_story
from store.journey import Journey, journey

READ = signal_received("notification_read", match={"document_id": from_data("document_id")})
IN_APP = Notify("step_in_app", channel="in_app", render_key="mention")
EMAIL = Notify("step_email", channel="email", render_key="mention_email")
MENTION = Workflow(
    key="mention_escalation",
    version=1,
    steps=[IN_APP, Wait("step_wait", duration="PT2H", stop_conditions=[READ]), EMAIL],
)
DOC = {"document_id": "doc_789"}
ADA = {"email": "ada@example.org", "timezone": "Europe/Berlin"}
GOLDEN = Path(__file__).with_name("why.golden.txt")


def golden() -> dict[str, str]:
    """Return the golden texts by name."""
    parts = GOLDEN.read_text(encoding="utf-8").split("=== ")[1:]
    return {name: text.strip() for name, _, text in (part.partition("\n") for part in parts)}


def mention(**email: Any) -> Workflow:
    """Return the journey with rules on its e-mail step, and a text message behind it."""
    steps = [
        Notify("step_email", channel="email", render_key="mention_email", **email),
        Notify("step_sms", channel="sms", render_key="mention_sms"),
    ]
    return Workflow(key="with_rules", version=1, steps=steps)


async def waiting(ada: Journey) -> None:
    """The run waits, and nothing has happened."""


async def stopped(ada: Journey) -> None:
    """One signal is about another document, the next one fits."""
    await ada.advance(minutes=30)
    await ada.signal("notification_read", document_id="other")
    await ada.advance(minutes=30)
    await ada.signal("notification_read", **DOC)
    await ada.progress()


async def late(ada: Journey) -> None:
    """The signal comes again after the end."""
    await stopped(ada)
    await ada.advance(minutes=30)
    await ada.signal("notification_read", **DOC)


async def unmet(ada: Journey) -> None:
    """A signal that fits nothing reaches a waiting run."""
    await ada.signal("notification_read", document_id="other")
    await ada.advance(minutes=1)


async def sent(ada: Journey) -> None:
    """The wait elapses; the first attempt fails, the second has no answer, the third succeeds."""
    await ada.advance(hours=2)
    await ada.attempt(3, "failed", error_class="timeout", note="no answer in 30 s")
    await ada.advance(minutes=1)
    await ada.attempt(3, "failed", error_class="unknown", outcome="unknown")
    await ada.advance(minutes=1)
    await ada.attempt(3, "succeeded")


async def failed(ada: Journey) -> None:
    """The wait elapses, and the first attempt fails."""
    await ada.advance(hours=2)
    await ada.attempt(3, "failed", error_class="timeout", note="no answer in 30 s")


async def exhausted(ada: Journey) -> None:
    """Both attempts fail, and then no more are made."""
    await failed(ada)
    await ada.advance(minutes=1)
    await ada.attempt(3, "cancelled", "retries_exhausted", error_class="transient")


async def elapsed(ada: Journey) -> None:
    """The wait elapses."""
    await ada.advance(hours=2)


async def overslept(ada: Journey) -> None:
    """Nobody was there when the wait was over."""
    await ada.advance(hours=30)


async def before_send(ada: Journey) -> None:
    """The signal comes after the wait, and before any provider was called."""
    await ada.advance(hours=2)
    await ada.signal("notification_read", **DOC)
    await ada.progress()


async def cancelled(ada: Journey) -> None:
    """Somebody cancels the waiting run."""
    await ada.advance(minutes=5)
    await ada.client.cancel(ada.run_id, note="document deleted")


async def cancelled_under_way(ada: Journey) -> None:
    """Somebody cancels while a provider is being called."""
    await ada.advance(hours=2)
    await ada.begin(3)
    await ada.client.cancel(ada.run_id)


async def held(ada: Journey) -> None:
    """An operator holds the waiting run."""
    async with ada.database.acquire() as connection:
        hold = "select chimeway.hold_run($1, 'held_by_request', 'customer asked')"
        assert await connection.fetchval(hold, ada.run_id)
        await connection.fetchval("select chimeway.pause_workflow('mention_escalation', true)")


async def bounced(ada: Journey) -> None:
    """The first attempt bounces."""
    await ada.attempt(1, "cancelled", "bounced", error_class="bounced", note="550 no such user")


async def temporarily(ada: Journey) -> None:
    """The first attempt fails for now."""
    await ada.attempt(1, "failed", error_class="rate_limited")


async def refused(ada: Journey) -> None:
    """The provider refuses the message for good."""
    await ada.attempt(1, "cancelled", "permanent_failure", error_class="permanent", note="blocked")


PATIENT = Workflow(
    key="patient",
    version=1,
    steps=[
        Notify(
            "step_email",
            channel="email",
            render_key="mention_email",
            progress=[
                wait_until(to_step="step_sms", delay="P1D", cancel_signals=[signal_received("opened")])
            ],
        ),
        Notify("step_sms", channel="sms", render_key="mention_sms"),
    ],
    stop_conditions=[signal_received("account_closed")],
)
BENT = Workflow(
    key="bent",
    version=1,
    steps=[
        IN_APP,
        Wait(
            "step_wait",
            duration="PT2H",
            stop_conditions=[
                signal_received("hurry", match={"level": 9}, then={"goto": "step_email"}),
                signal_received("enough", then="continue"),
            ],
        ),
        EMAIL,
    ],
)


async def patient(ada: Journey) -> None:
    """The e-mail is sent, and a wait_until begins."""
    await ada.attempt(1, "succeeded")


async def closed(ada: Journey) -> None:
    """The workflow's own condition is met before the e-mail is sent."""
    await ada.advance(minutes=1)
    await ada.signal("account_closed")
    await ada.progress()


async def hurried(ada: Journey) -> None:
    """A signal leads on before the time."""
    await ada.advance(minutes=1)
    await ada.signal("hurry", level=9)
    await ada.progress()


BROKEN = Workflow(
    key="broken", version=1, steps=[Notify("step_in_app", channel="in_app", render_key="broken")]
)

CASES: dict[str, tuple[Workflow, dict[str, Any], Any]] = {
    "in-app delivered, waiting": (MENTION, ADA, waiting),
    "waiting, a signal about something else": (MENTION, ADA, unmet),
    "stopped by a signal at the wait": (MENTION, ADA, stopped),
    "a signal after the end": (MENTION, ADA, late),
    "e-mail about to be sent": (MENTION, ADA, elapsed),
    "e-mail failed, to be tried again": (MENTION, ADA, failed),
    "e-mail sent after the wait": (MENTION, ADA, sent),
    "going on late": (MENTION, ADA, overslept),
    "led on, or stopped, by nothing": (BENT, ADA, elapsed),
    "no address": (MENTION, {"timezone": "Asia/Tokyo"}, elapsed),
    "retries exhausted": (MENTION, ADA, exhausted),
    "cancelled by request": (MENTION, ADA, cancelled),
    "cancelled while under way": (MENTION, ADA, cancelled_under_way),
    "stopped before send": (MENTION, ADA, before_send),
    "held and paused": (MENTION, {}, held),
    "bounced, with a rule": (mention(progress=[on_outcome("bounced", to_step="step_sms")]), ADA, bounced),
    "bounced, with a rule to stop": (mention(progress=[stop_on("bounced")]), ADA, bounced),
    "superseded": (mention(progress=[on_outcome("temporary_failure", to_step="step_sms")]), ADA, temporarily),
    "refused, and no rule is about it": (mention(progress=[stop_on("bounced")]), ADA, refused),
    "refused, and there is no rule": (mention(), ADA, refused),
    "wait_until": (PATIENT, ADA, patient),
    "stopped by the workflow's condition": (PATIENT, ADA, closed),
    "led on by a signal": (BENT, ADA, hurried),
    "waiting for several signals": (BENT, {}, waiting),
    "a template at fault": (BROKEN, {}, waiting),
}


@pytest.mark.parametrize("name", CASES)
async def test_why(clock_database: Database, name: str) -> None:
    """The sentences are the golden ones; an unknown definition or zone costs words, not the explanation."""
    workflow, profile, play = CASES[name]
    async with journey(clock_database, workflow, DOC, **profile) as ada:
        await play(ada)
        story = await run(clock_database, read_story("default", ada.run_id))
    assert "\n".join(why(story)) == golden()[name]
    poorer = why(replace(story, definition=None, zone="No/Where"))
    assert poorer[0].endswith("at 2026-01-05 09:00:00 UTC.")
    assert all(sentence.endswith(".") for sentence in poorer)


async def test_the_timeline_is_in_the_order_of_causes(clock_database: Database) -> None:
    """At one instant a step is entered, its message planned, attempted, ended; then the run goes on."""
    async with journey(clock_database, mention(), DOC, **ADA, phone="+44") as ada:
        await ada.attempt(1, "succeeded")
        await ada.attempt(2, "cancelled", "permanent_failure", error_class="permanent", note="blocked")
        found = await ada.explain()
    assert [(each.kind, each.what, each.step) for each in found.timeline] == [
        ("transition", "workflow_started", None),
        ("transition", "step_activated", "step_email"),
        ("delivery", "planned", "step_email"),
        ("attempt", "attempt_started", "step_email"),
        ("attempt", "succeeded", "step_email"),
        ("delivery", "succeeded", "step_email"),
        ("transition", "progressed_on_delivery_outcome", "step_email"),
        ("transition", "step_activated", "step_sms"),
        ("delivery", "planned", "step_sms"),
        ("attempt", "attempt_started", "step_sms"),
        ("attempt", "failed", "step_sms"),
        ("delivery", "cancelled", "step_sms"),
        ("transition", "workflow_completed", "step_sms"),
    ]
    assert found.timeline[-2].detail == "sms mention_sms: permanent_failure"
    assert [attempt.outcome for attempt in found.attempts] == ["succeeded", "failed"]


def test_no_golden_text_is_left_over() -> None:
    """Each golden text belongs to a case."""
    assert set(golden()) == set(CASES)
