"""Journeys of all kinds, played by hand, for the explanations: why was this sent, or not sent?"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chimeway import (
    Notify,
    Wait,
    Workflow,
    from_data,
    hours,
    local_time,
    on_outcome,
    repeat,
    signal_received,
    stop_on,
    wait_until,
    working_days,
)
from store.journey import Journey

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


async def said_unrouted(ada: Journey) -> None:
    """What the run waits for is committed, with what it does not, and no node has routed either yet."""
    await ada.client.signal("notification_read", actor="ada", payload=DOC)
    await ada.client.signal("something_else", actor="ada", payload=DOC)
    await ada.client.signal("notification_read", actor="bob", payload=DOC)


async def said_and_left(ada: Journey) -> None:
    """It was said a while ago, and nobody routes it."""
    await said_unrouted(ada)
    await ada.sql("update chimeway.test_clock set at = at + interval '1 minute'")


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


async def early(ada: Journey) -> None:
    """She opens it before its sending has been recorded, so before anything waits for that."""
    await ada.begin(1)
    await ada.advance(minutes=1)
    await ada.signal("opened")
    await ada.advance(minutes=1)
    await ada.record(1, "succeeded")


async def opened(ada: Journey) -> None:
    """The e-mail is sent, and opened while the rule of its step waits."""
    await patient(ada)
    await ada.advance(hours=3)
    await ada.signal("opened")
    await ada.progress()


async def unopened(ada: Journey) -> None:
    """The e-mail is sent, and never opened."""
    await patient(ada)
    await ada.advance(days=1)


async def enough(ada: Journey) -> None:
    """A signal ends the wait before its time."""
    await ada.advance(minutes=20)
    await ada.signal("enough")
    await ada.progress()


async def with_note(ada: Journey) -> None:
    """Somebody cancels while a provider is being called, and says why."""
    await ada.advance(hours=2)
    await ada.begin(3)
    await ada.client.cancel(ada.run_id, note="document deleted")
    await ada.advance(seconds=2)


async def sent_all_the_same(ada: Journey) -> None:
    """That provider took the message."""
    await with_note(ada)
    await ada.record(3, "succeeded")


async def failed_then(ada: Journey) -> None:
    """That provider did not."""
    await with_note(ada)
    await ada.record(3, "failed", error_class="transient", note="connection reset")


async def forgotten_person(ada: Journey) -> None:
    """The person is forgotten."""
    await ada.sql("select chimeway.forget_recipient(recipient_id => 'ada')")


async def forgotten_waiting(ada: Journey) -> None:
    """The person is forgotten during the wait."""
    await ada.advance(minutes=10)
    await forgotten_person(ada)


async def forgotten_under_way(ada: Journey) -> None:
    """The person is forgotten while a provider is being called, which then fails."""
    await ada.advance(hours=2)
    await ada.begin(3)
    await forgotten_person(ada)
    await ada.record(3, "failed", error_class="transient", note="ada@example.org: connection reset")


async def forgotten_after_the_end(ada: Journey) -> None:
    """The person is forgotten when the run had been cancelled, with a note."""
    await failed_then(ada)
    await ada.advance(hours=1)
    await forgotten_person(ada)


def held_as(reason: str, note: str | None) -> Callable[[Journey], Awaitable[None]]:
    """The run is held, for this reason."""

    async def play(ada: Journey) -> None:
        await ada.advance(minutes=10)
        await ada.sql("select chimeway.hold_run($1, $2, $3)", ada.run_id, reason, note)

    return play


async def resumed(ada: Journey) -> None:
    """Held, given back ten minutes later, and read."""
    await held_as("held_by_request", "legal looks at it")(ada)
    await ada.advance(minutes=10)
    await ada.sql("select chimeway.resume_run($1, 'all right')", ada.run_id)
    await ada.signal("notification_read", **DOC)
    await ada.progress()


async def paused(ada: Journey) -> None:
    """The workflow is paused, and the wait's time comes."""
    await ada.advance(minutes=10)
    await ada.sql("select chimeway.pause_workflow('mention_escalation', true)")
    await ada.advance(hours=2)


async def kept_at_its_message(ada: Journey) -> None:
    """The e-mail is planned; then the workflow is paused, and an hour goes by."""
    await ada.advance(hours=2)
    await ada.sql("select chimeway.pause_workflow('mention_escalation', true)")
    await ada.advance(hours=1)


async def planned_and_left(ada: Journey) -> None:
    """The e-mail is planned, and for an hour nobody sends it: its provider's breaker is open, say."""
    await ada.advance(hours=2)
    await ada.advance(hours=1)


async def failed_and_left(ada: Journey) -> None:
    """The e-mail failed once, and for an hour nobody tries it again."""
    await failed(ada)
    await ada.advance(hours=1)


async def forgotten(ada: Journey) -> None:
    """The wait's time comes, and no node is there."""
    await ada.sql("update chimeway.test_clock set at = at + interval '3 hours'")


async def no_node(ada: Journey) -> None:
    """No node understands the definition."""
    await ada.sql("update chimeway.workflow_runs set waiting_for_node = 'definition_format'")


async def no_channel(ada: Journey) -> None:
    """No node has the channel."""
    await ada.advance(hours=2)
    await ada.sql("update chimeway.deliveries set waiting_for_node = 'email' where channel = 'email'")


async def unmade(ada: Journey) -> None:
    """The e-mail's template is at fault."""
    await ada.advance(hours=2)
    await ada.unmade(3, "mention_email.email.j2 line 3: 'title' is undefined")


def bent_by_other_hands(context: str) -> Callable[[Journey], Awaitable[None]]:
    """Somebody has written the run's context."""

    async def play(ada: Journey) -> None:
        sql = "update chimeway.workflow_runs set status_context = status_context || $1::text::jsonb"
        await ada.sql(sql, context)

    return play


UNTIL = Workflow(
    key="appointment",
    version=1,
    steps=[
        Wait("step_until", until=from_data("remind_at"), stop_conditions=[signal_received("called_off")]),
        Notify("step_email", channel="email", render_key="reminder"),
    ],
)
TOMORROW = Workflow(
    key="tomorrow",
    version=1,
    steps=[
        Wait("step_day", duration="P1D", stop_conditions=[signal_received("done")]),
        Notify("step_email", channel="email", render_key="reminder"),
    ],
)

REMINDERS = Workflow(
    key="reminders",
    version=1,
    steps=[
        Wait(
            "morning",
            until=local_time("09:00", on=working_days),
            stop_conditions=[signal_received("read"), signal_received("now", then="continue")],
            next=repeat("morning", times=2, then="step_email"),
        ),
        Notify("step_email", channel="email", render_key="reminder"),
    ],
)


async def one_round(ada: Journey) -> None:
    """The wait elapses once and leads back."""
    await ada.advance(days=1)


ONCE_MORE = Workflow(
    key="once_more",
    version=1,
    steps=[
        Wait("step_wait", duration="PT1H"),
        Notify(
            "step_email",
            channel="email",
            render_key="reminder",
            next=repeat("step_wait", times=1, then="end"),
        ),
    ],
)


async def cancelled_in_the_last_round(ada: Journey) -> None:
    """The message has led back as often as it may, and stands there again when somebody cancels."""
    await ada.advance(hours=1)
    await ada.attempt(2, "succeeded")
    await ada.advance(hours=1)
    await ada.client.cancel(ada.run_id)


async def all_rounds(ada: Journey) -> None:
    """The wait elapses, a signal ends the next one, and then it leads on."""
    await ada.advance(days=1)
    await ada.signal("now")
    await ada.progress()
    await ada.advance(days=1)


def at(*when: int) -> datetime:
    """Return an instant in UTC."""
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year to minute


NIGHT = {"quiet_hours": [{"from": "22:00", "to": "07:00", "days": ["mon", "tue"]}]}
LATE = at(2026, 3, 2, 22)
TWICE = Workflow(
    key="twice",
    version=1,
    category="news",
    steps=[
        Notify("step_one", channel="email", render_key="news"),
        Notify("step_two", channel="email", render_key="more_news", send_window=hours("09:00", "17:00")),
    ],
)
ALARM = Workflow(
    key="alarm", version=1, critical=True, steps=[Notify("step_one", channel="email", render_key="fire")]
)


def wants(**preferences: Any) -> dict[str, Any]:
    """Return Ada's profile with preferences."""
    return {**ADA, "preferences": preferences}


def one_cap(then: str) -> dict[str, Any]:
    """Return preferences with a cap of one e-mail a day."""
    return wants(caps=[{"channel": "email", "limit": 1, "per": "P1D", "then": then}])


async def in_the_morning(ada: Journey) -> None:
    """It waits until seven, and is sent."""
    await ada.advance(hours=8)
    await ada.judge(1)


async def sent_at_once(ada: Journey) -> None:
    """The first is sent."""
    await ada.judge(1)


async def put_off_again(ada: Journey) -> None:
    """The second waits for hours, then for quiet hours that were set meanwhile, again and again."""
    await ada.judge(1)
    for hour in (10, 11, 12, 13):
        quiet = [{"from": "08:00", "to": f"{hour}:59"}]
        await ada.client.identify("ada", preferences={"quiet_hours": quiet})
        await ada.advance(hours=9 if hour == 10 else 24)
        await ada.judge(2)


async def enough_after_one_attempt(ada: Journey) -> None:
    """The first attempt fails, and then she wants no more."""
    await ada.attempt(1, "failed", error_class="unknown", outcome="unknown")
    await ada.client.identify("ada", preferences={"categories": {"news": {"email": False}}})
    await ada.advance(minutes=1)
    await ada.judge(1)


async def tenant_says_no(ada: Journey) -> None:
    """The tenant wants none of these, before it is sent."""
    await ada.client.configure_tenant(preferences={"workflows": {"twice": False}})
    await ada.judge(1)


@dataclass(frozen=True, slots=True)
class Case:
    """A workflow, whom it is for, what happens, and when it begins."""

    workflow: Workflow
    profile: dict[str, Any]
    play: Callable[[Journey], Awaitable[None]]
    begins: dict[str, datetime] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=lambda: DOC)


KEPT = mention(progress=[on_outcome("temporary_failure", to_step="step_sms", keep_retrying=True)])
REMINDED = {"remind_at": "2026-01-05T16:30:00Z"}
CASES: dict[str, Case] = {
    "in-app delivered, waiting": Case(MENTION, ADA, waiting),
    "waiting, a signal about something else": Case(MENTION, ADA, unmet),
    "stopped by a signal at the wait": Case(MENTION, ADA, stopped),
    "a signal after the end": Case(MENTION, ADA, late),
    "e-mail about to be sent": Case(MENTION, ADA, elapsed),
    "e-mail failed, to be tried again": Case(MENTION, ADA, failed),
    "e-mail sent after the wait": Case(MENTION, ADA, sent),
    "going on late": Case(MENTION, ADA, overslept),
    "led on, or stopped, by nothing": Case(BENT, ADA, elapsed),
    "no address": Case(MENTION, {"timezone": "Asia/Tokyo"}, elapsed),
    "retries exhausted": Case(MENTION, ADA, exhausted),
    "cancelled by request": Case(MENTION, ADA, cancelled),
    "cancelled while under way": Case(MENTION, ADA, cancelled_under_way),
    "stopped before send": Case(MENTION, ADA, before_send),
    "held and paused": Case(MENTION, {}, held),
    "bounced, with a rule": Case(mention(progress=[on_outcome("bounced", to_step="step_sms")]), ADA, bounced),
    "bounced, with a rule to stop": Case(mention(progress=[stop_on("bounced")]), ADA, bounced),
    "superseded": Case(
        mention(progress=[on_outcome("temporary_failure", to_step="step_sms")]), ADA, temporarily
    ),
    "refused, and no rule is about it": Case(mention(progress=[stop_on("bounced")]), ADA, refused),
    "refused, and there is no rule": Case(mention(), ADA, refused),
    "wait_until": Case(PATIENT, ADA, patient),
    "stopped by the workflow's condition": Case(PATIENT, ADA, closed),
    "led on by a signal": Case(BENT, ADA, hurried),
    "waiting for the second of some mornings": Case(REMINDERS, ADA, one_round),
    "as often as it may": Case(REMINDERS, ADA, all_rounds),
    "cancelled in the last round": Case(ONCE_MORE, ADA, cancelled_in_the_last_round),
    "a signal that waits to be routed": Case(MENTION, ADA, said_unrouted),
    "a signal that nobody routes": Case(MENTION, ADA, said_and_left),
    "waiting for several signals": Case(BENT, {}, waiting),
    "a template at fault": Case(BROKEN, {}, waiting),
    "a signal before the wait": Case(PATIENT, ADA, early),
    "wait_until, stopped by its signal": Case(PATIENT, ADA, opened),
    "wait_until, over": Case(PATIENT, ADA, unopened),
    "a wait ended by a signal": Case(BENT, ADA, enough),
    "two messages, of which one is tried on": Case(KEPT, {**ADA, "phone": "+44"}, temporarily),
    "cancelled with a note, under way": Case(MENTION, ADA, with_note),
    "cancelled under way, sent all the same": Case(MENTION, ADA, sent_all_the_same),
    "cancelled under way, and failed": Case(MENTION, ADA, failed_then),
    "forgotten while it waited": Case(MENTION, ADA, forgotten_waiting),
    "forgotten under way, and failed": Case(MENTION, ADA, forgotten_under_way),
    "forgotten after the end": Case(MENTION, ADA, forgotten_after_the_end),
    "held: the decision fails": Case(MENTION, ADA, held_as("poison_decision", "AssertionError: no such row")),
    "held: three strikes": Case(MENTION, ADA, held_as("three_strikes", "nodes died with it, three times")),
    "held: too many steps": Case(MENTION, ADA, held_as("too_many_steps", None)),
    "held, given back, and read": Case(MENTION, ADA, resumed),
    "paused, and due": Case(MENTION, ADA, paused),
    "due, and nobody there": Case(MENTION, ADA, forgotten),
    "paused, with a message planned": Case(MENTION, ADA, kept_at_its_message),
    "planned, and nobody sends it": Case(MENTION, ADA, planned_and_left),
    "failed, and nobody tries it again": Case(MENTION, ADA, failed_and_left),
    "no node for the run": Case(MENTION, ADA, no_node),
    "no node for the channel": Case(MENTION, ADA, no_channel),
    "an e-mail's template at fault": Case(MENTION, ADA, unmade),
    "no step yet": Case(MENTION, ADA, waiting, {"at": at(2026, 1, 6, 8)}),
    "until a moment of the data": Case(UNTIL, ADA, waiting, data=REMINDED),
    "a day that has no half past two": Case(TOMORROW, ADA, waiting, {"start": at(2026, 3, 28, 1, 30)}),
    "a day that has it twice": Case(TOMORROW, ADA, waiting, {"start": at(2026, 10, 24, 0, 30)}),
    "quiet hours: put off": Case(TWICE, wants(**NIGHT), waiting, {"start": LATE}),
    "quiet hours: sent at their end": Case(TWICE, wants(**NIGHT), in_the_morning, {"start": LATE}),
    "outside the hours of its step": Case(TWICE, ADA, sent_at_once, {"start": LATE}),
    "put off again and again": Case(TWICE, ADA, put_off_again, {"start": LATE}),
    "a no": Case(TWICE, wants(channels={"email": False}, categories={"news": False}), waiting),
    "a no of the tenant's": Case(TWICE, ADA, tenant_says_no),
    "a no after an attempt": Case(TWICE, ADA, enough_after_one_attempt),
    "a cap that drops": Case(TWICE, one_cap("drop"), sent_at_once),
    "a cap that delays": Case(TWICE, one_cap("delay"), sent_at_once),
    "critical, in spite of a no": Case(ALARM, wants(channels={"email": False}), sent_at_once),
    "critical, in quiet hours": Case(ALARM, wants(**NIGHT), sent_at_once, {"start": LATE}),
    "hours that exclude each other": Case(
        TWICE, wants(quiet_hours=[{"from": "08:00", "to": "18:00"}]), sent_at_once, {"start": LATE}
    ),
    "stuck: no moment": Case(MENTION, ADA, bent_by_other_hands('{"due_at": null}')),
    "stuck: an unreadable moment": Case(MENTION, ADA, bent_by_other_hands('{"due_at": "soon"}')),
    "stuck: a step that is not there": Case(MENTION, ADA, bent_by_other_hands('{"to_step": "gone"}')),
}
