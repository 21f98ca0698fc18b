"""What a harness can hold: several people and tenants, zones, templates, apps, the test's own code."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chimeway import (
    App,
    Chimeway,
    Message,
    Notify,
    Recipient,
    RunBusy,
    Sent,
    Signal,
    Trigger,
    Wait,
    Workflow,
    rehearse,
)
from chimeway.errors import ChimewayError, DatabaseUnavailable
from chimeway.store.verify import verify
from chimeway.testing import Harness, RecordingChannel, player, server
from kit.guide import mention_escalation

DATA = {"document_id": "doc_789"}


async def test_each_recipient_has_a_journey() -> None:
    """Who reads is spared, who does not gets the mail."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger(recipients=["ada", "ben"], data=DATA)
        await journey.signal("notification_read", actor="ada", payload=DATA)
        await journey.advance("PT2H")
        assert [sent.recipient_id for sent in journey.sent] == ["ben"]
        assert (journey.run_of("ada").state, journey.run_of("ben").state) == ("stopped", "completed")
        assert [one.channel for one in journey.deliveries_of("ada")] == ["in_app"]


async def test_tenants_do_not_hear_each_other() -> None:
    """The same person in two tenants has two journeys; a signal reaches one."""
    async with Harness(mention_escalation, tenant="org_1") as journey:
        await journey.trigger(recipients=["ada"], data=DATA)
        await journey.trigger(recipients=["ada"], data=DATA, tenant="org_2")
        await journey.signal("notification_read", tenant="org_2", payload=DATA)
        await journey.advance("PT2H")
        assert [sent.tenant_id for sent in journey.sent] == ["org_1"]


async def test_calendar_waits_follow_the_recipients_zone() -> None:
    """A wait of a day over the change to summer time lasts 23 hours for somebody in London."""
    daily = Workflow(
        key="daily",
        version=1,
        steps=[Wait("step_wait", duration="P1D"), Notify("step_mail", channel="email", render_key="hello")],
    )
    async with Harness(daily, start="2026-03-28T12:00:00Z") as journey:
        await journey.trigger(recipients=[Recipient("ada", timezone="Europe/London"), "ben"])
        assert await journey.advance_to_next() == datetime(2026, 3, 29, 11, tzinfo=UTC)
        assert [sent.recipient_id for sent in journey.sent] == ["ada"]
        await journey.advance_to("2026-03-29T12:00:00Z")
        assert [sent.recipient_id for sent in journey.sent] == ["ada", "ben"]
        assert await journey.advance_to_next() is None


async def test_strict_is_as_on_a_node() -> None:
    """Strict, a missing template ends a delivery, and nobody has an address who was not identified."""
    templates = {
        "mention_email.email.j2": "{% block subject %}Hi {{ recipient.id }}{% endblock %}"
        "{% block body %}{{ document_id }}{% endblock %}"
    }
    async with Harness(mention_escalation, templates=templates, strict=True) as journey:
        await journey.identify("ada", email="ada@example.net")
        await journey.trigger(recipients=["ada", "ben"], data=DATA)
        await journey.advance("PT2H")
        assert [(sent.address, sent.subject, sent.body) for sent in journey.sent] == [
            ("ada@example.net", "Hi ada", "doc_789")
        ]
        in_app, mail = journey.deliveries_of("ben")
        assert (in_app.suppression_reason, in_app.last_error_class) == ("permanent_failure", "configuration")
        assert mail.suppression_reason == "no_address"


async def test_templates_come_from_a_folder(tmp_path: Path) -> None:
    """A folder's templates are used; a placeholder stands in for the others."""
    text = "{% block subject %}Read{% endblock %}{% block body %}it{% endblock %}"
    (tmp_path / "mention_notification.in_app.j2").write_text(text)
    async with Harness(mention_escalation, templates=tmp_path) as journey:
        await journey.trigger(data=DATA)
        (item,) = await journey.inbox().list()
        assert (item.subject, item.body) == ("Read", "it")
        await journey.advance("PT2H")
        assert journey.sent[0].subject == "mention_email"
        assert journey.sent[0].body == 'mention_email for recipient: {"document_id": "doc_789"}'


async def test_a_template_for_other_locales_is_no_placeholder() -> None:
    """A test must not be content with what a node cannot make for this reader."""
    text = "{% block subject %}Gelesen{% endblock %}{% block body %}es{% endblock %}"
    async with Harness(mention_escalation, templates={"mention_notification.in_app.de.j2": text}) as journey:
        await journey.trigger(data=DATA)
        assert not (await journey.inbox().list()).items
        assert journey.deliveries[0].last_error_class == "configuration"


async def test_reading_the_item_is_a_signal() -> None:
    """What follows from a mark on an inbox item is played at once."""
    read = {"type": "signal_received", "signal_type": "chimeway.notification.read"}
    journey_of_items = {
        "key": "items",
        "version": 1,
        "steps": [
            {"id": "item", "action": {"type": "notify", "channel": "in_app", "render_key": "item"}},
            {"id": "wait", "action": {"type": "wait", "duration": "PT1H", "stop_conditions": [read]}},
            {"id": "mail", "action": {"type": "notify", "channel": "email", "render_key": "item"}},
        ],
    }
    async with Harness(journey_of_items) as journey:
        await journey.trigger()
        (item,) = await journey.inbox().list()
        await journey.inbox().mark_read(item.id)
        assert journey.run.state == "stopped"


@pytest.mark.parametrize("verb", ["mark_read", "mark_interacted", "mark_all_read"])
async def test_who_reads_straight_away_has_seen(verb: str) -> None:
    """A wait for `seen` ends when the person reads or clicks at once, one for both goes by the stronger."""
    async with Harness(_waiting("one", seen=None), _waiting("both", seen="sms", read="push")) as journey:
        await journey.trigger("one", recipients="ada")
        await journey.trigger("both", recipients="bob")
        for who in ("ada", "bob"):
            inbox = journey.inbox(who)
            items = await inbox.list()
            await (inbox.mark_all_read() if verb == "mark_all_read" else getattr(inbox, verb)(items))
            await inbox.mark_unread(items)
            assert (await inbox.counts()).unread == 1
        assert journey.run_of("ada").state == "stopped"
        assert [(sent.recipient_id, sent.channel) for sent in journey.sent] == [("bob", "push")]


def _waiting(key: str, **conditions: str | None) -> dict[str, Any]:
    """Return a journey that waits for marks: each stops it, or leads to a step."""
    steps = {channel: {"type": "notify", "channel": channel, "render_key": "item"} for channel in CHANNELS}
    wait = [
        {"type": "signal_received", "signal_type": f"chimeway.notification.{mark}"}
        | ({} if to is None else {"then": {"goto": to}})
        for mark, to in conditions.items()
    ]
    return {
        "key": key,
        "version": 1,
        "steps": [
            {"id": "item", "action": steps["in_app"]},
            {"id": "wait", "action": {"type": "wait", "duration": "PT1H", "stop_conditions": wait}},
            {"id": "sms", "action": steps["sms"], "next": "end"},
            {"id": "push", "action": steps["push"]},
        ],
    }


CHANNELS = ("in_app", "sms", "push")


async def test_an_app_is_played_with_its_renderers_and_channels() -> None:
    """Its renderers make the messages; its channels record, or are really called."""
    app, called = App(workflows=[mention_escalation]), []

    @app.channel("email")
    async def send(message: Message) -> Sent:
        called.append(message.delivery_id)
        return Sent("ref-1")

    @app.render("mention_email", channel="email")
    def mention_email(context: Any) -> dict[str, str]:
        return {"subject": f"For {context.recipient.id}", "body": "<p>unread</p>"}

    for channels in ("recording", "real"):
        async with Harness(app, channels=channels) as journey:
            await journey.trigger(data=DATA)
            await journey.advance("PT2H")
            assert [(sent.subject, sent.text) for sent in journey.sent] == [("For recipient", "unread")]
            references = [attempt.provider_reference for attempt in journey.deliveries[1].attempts]
    assert (len(called), references) == (1, ["ref-1"])


async def test_files_and_authors_are_workflows_too(tmp_path: Path) -> None:
    """A file of definitions, and a class that writes its workflow, are taken as `trigger` takes them."""
    file = tmp_path / "mail.yaml"
    file.write_text(
        "key: mail\nversion: 1\nsteps:\n"
        "  - {id: mail, action: {type: notify, channel: email, render_key: hello}}\n"
    )

    class Author:
        def workflow(self, args: Any) -> Workflow:
            return Workflow(
                key="written", version=1, steps=[Notify("s", channel=args["channel"], render_key="x")]
            )

    async with Harness(file) as journey:
        await journey.trigger("mail")
        await journey.trigger(Author, {"channel": "sms"}, recipients="ben")
        assert [sent.channel for sent in journey.sent] == ["email", "sms"]


async def test_the_tests_own_code_takes_part() -> None:
    """What other clients, connections and the seed's forms write is played by `settle`."""
    async with Harness(mention_escalation) as journey:
        async with Chimeway.connect(journey.url) as own:
            await own.trigger(mention_escalation, DATA, recipients=["ada"])
        assert journey.runs == ()
        await journey.settle()
        assert journey.run.state == "waiting"
        await Trigger.trigger(mention_escalation, {"actor_id": "ben", **DATA}, tenant_id="default")
        await journey.settle()
        await Signal.track("ben", "default", "notification_read", DATA)
        await journey.settle()
        assert [run.state for run in journey.runs] == ["waiting", "stopped"]


async def test_a_transaction_left_open_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgets to commit what holds a run is told so, and the journey goes on when it is committed."""
    monkeypatch.setattr(player, "_PATIENCE_S", 0.2)
    async with Harness(mention_escalation) as journey:
        await journey.trigger(data=DATA)
        connection = await asyncpg.connect(journey.url)
        await connection.execute("begin; select from chimeway.workflow_runs for update")
        with pytest.raises(RunBusy, match="commit or roll back the transaction"):
            await journey.advance("PT2H")
        await connection.execute("rollback")
        await connection.close()
        await journey.settle()
        assert len(journey.sent) == 1


async def test_verbs_at_once_do_not_lose_each_other() -> None:
    """Verbs of several tasks are played one after the other, and none is forgotten."""
    async with Harness(mention_escalation) as journey:
        async with asyncio.TaskGroup() as group:
            for recipient in ("ada", "ben", "cem"):
                group.create_task(journey.trigger(recipients=recipient, data=DATA))
        assert {run.state for run in journey.runs} == {"waiting"}


async def test_cancel_and_explain() -> None:
    """The one run is meant where no other is named."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger(data=DATA, tenant="org_2")
        done = await journey.cancel(note="by hand")
        assert (len(done.stopped), journey.run.state) == (1, "stopped")
        assert (await journey.explain()).run.status_reason == "cancelled_by_request"


SCRIPTS: list[list[dict[str, Any]]] = [
    [],
    [{"at": "PT1H", "signal": "notification_read", "payload": DATA}],
    [{"at": "PT1H", "signal": "notification_read", "payload": {"document_id": "another"}}],
]


@pytest.mark.parametrize("events", SCRIPTS, ids=["unread", "read", "another"])
async def test_harness_and_paper_agree(events: list[dict[str, Any]]) -> None:
    """The same journey, played by the harness and on paper, gives the same transitions at the same times."""
    on_paper = rehearse(mention_escalation, {"start": "2026-01-05T09:00:00Z", "data": DATA, "events": events})
    async with Harness(mention_escalation) as journey:
        await journey.trigger(data=DATA)
        for event in events:
            await journey.advance(event["at"])
            await journey.signal(event["signal"], payload=event["payload"])
        await journey.advance("P1D")
        told = await journey.explain()
        assert await verify(journey.client.database) == []
    got = [(one.reason, one.from_step, one.to_step, one.to_state, one.visit) for one in told.transitions]
    want = [(one.reason, one.from_step, one.to_step, one.to_state, one.visit) for one in on_paper.transitions]
    assert got == want
    stamps = [line.at for line in on_paper.timeline if line.what in {one.reason for one in told.transitions}]
    assert [one.at for one in told.transitions] == stamps


REFUSALS = {
    "back": ("advance", (-1,), "by: given -1; time goes forward only"),
    "text": ("advance", ("2 hours",), "by: given '2 hours'"),
    "negative": ("advance", (timedelta(seconds=-1),), "time goes forward only"),
    "nan": ("advance", (float("nan"),), "by: given nan; wanted a duration"),
    "true": ("advance", (True,), "by: given True; wanted a duration"),
    "past": ("advance_to", ("2026-01-05T08:00:00Z",), "is before 2026-01-05T09:00:00"),
    "naive": ("advance_to", (datetime(2027, 1, 1),), "wanted an aware datetime"),  # noqa: DTZ001
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_time_goes_forward_only(name: str) -> None:
    """A wrong step in time is refused, and time stands where it stood."""
    verb, args, told = REFUSALS[name]
    async with Harness() as journey:
        before = journey.now
        with pytest.raises(ChimewayError, match=told):
            await getattr(journey, verb)(*args)
        assert journey.now == before


async def test_misuse_says_what_would_be_right() -> None:
    """Each verb in the wrong place names what is there instead."""
    harness = Harness(mention_escalation)
    async with harness as journey:
        with pytest.raises(ChimewayError, match="there is no run yet: trigger first"):
            _ = journey.run
        with pytest.raises(ChimewayError, match='no workflow here sends on "sms"; channels are: email'):
            journey.fail_next("sms", RuntimeError())
        with pytest.raises(ChimewayError, match="name at least one failure"):
            journey.fail_next("email")
        with pytest.raises(ChimewayError, match="this harness is in use"):
            await harness.__aenter__()
        await journey.trigger(recipients=["ada", "ben"])
        with pytest.raises(ChimewayError, match=r"there are 2 runs: use journey.runs, or journey.run_of"):
            _ = journey.run
        with pytest.raises(ChimewayError, match="could be ada of default, ben of default"):
            await journey.signal("notification_read")
        with pytest.raises(ChimewayError, match='"cem" has no such run; there are runs of: ada, ben'):
            journey.run_of("cem")
    with pytest.raises(ChimewayError, match="the harness is closed"):
        await journey.trigger()
    with pytest.raises(AttributeError, match="async with Harness"):
        _ = harness.trigger
    with pytest.raises(ChimewayError, match="is a key, and nothing is registered yet"):
        Harness("mention_escalation")
    with pytest.raises(ChimewayError, match="channels: given 'rea'"):
        Harness(channels="rea")  # type: ignore[arg-type]
    with pytest.raises(ChimewayError, match="templates: there is no folder"):
        Harness(templates="nowhere")
    with pytest.raises(TypeError, match="int is no workflow"):
        Harness(7)


async def test_a_missing_server_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any PostgreSQL the error names the extra and the variable."""
    monkeypatch.setenv("CHIMEWAY_POSTGRES_BIN", "/nowhere")
    monkeypatch.delenv(server.VARIABLE, raising=False)
    monkeypatch.setattr(server, "_here", server._Here())
    with pytest.raises(DatabaseUnavailable, match=r"or name a server by CHIMEWAY_TEST_DATABASE_URL"):
        async with Harness(mention_escalation):
            pass


async def test_a_part_that_fails_fails_the_test() -> None:
    """What breaks under a journey is raised by the verb that plays it, not kept behind the test's back."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger(data=DATA)
        connection = await asyncpg.connect(journey.url)
        await connection.execute("alter table chimeway.deliveries rename to gone")
        await connection.close()
        with pytest.raises(asyncpg.UndefinedTableError):
            await journey.advance("PT2H")


async def test_a_recording_channel_works_by_itself() -> None:
    """Outside of a harness it is a channel like any other."""
    channel = RecordingChannel("sms")
    message = Message("d1", "r1", "default", "ada", "sms", "+1", "", "hello")
    channel.fail_next(TimeoutError)
    with pytest.raises(TimeoutError):
        await channel.send(message)
    await channel.send(message)
    assert [(sent.body, sent.attempt) for sent in channel.sent] == [("hello", 2)]
