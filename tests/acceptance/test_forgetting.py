"""Somebody is forgotten after a rich life: a whole dump holds none of her values, and the audit holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from chimeway import Chimeway
from kit.command import inside
from kit.daemon import running_daemon
from kit.dump import dumped, found_in
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

VALUES = {
    "id": "Ada Løvelace-1815",
    "email": "Ada.Lovelace+Notes@Example.ORG",
    "phone": "+44 20 7946 0958",
    "token": "apns-token-7F3A9D",
    "hook": "https://hooks.example.org/t/ada-hook-5521",
    "name": "Augusta Ada Кинг",
    "title": "Über die Analytical Engine №7",
    "locale": "en-Latn-GB",
    "category": "Babbage-Fanclub",
    "said": "Grüße aus Ockham Park",
    "type": "ada_opened_notebook_G",
    "dedupe": "ada-dedupe-4711",
    "key": "mention:Ada.Lovelace:doc-31",
    "cancellation": "user/ada/1815",
    "operator": "Ada rang twice about Byron",
    "provider": "mailbox of Countess full",
    "told": "550 5.1.1 no Countess here",
    "event": "bounce/Ada.Lovelace+Notes@Example.ORG/9",
    "subject": "Ada's own subject line",
    "later": "551 Countess moved to Horsley",
}
"""What is hers, each in a shape that nothing else has."""
ADA = VALUES["id"]
DATA = {"who": VALUES["name"], "title": VALUES["title"], "subject": VALUES["subject"]}
SAYS = (
    "{% block subject %}{{ subject }}, {{ recipient.id }}{% endblock %}\n"
    "{% block body %}<p>{{ who }}, {{ title }}</p>{% endblock %}\n"
)
TEXTS = {
    "mention_email.email.j2": SAYS,
    "mention_notification.in_app.j2": SAYS,
    "push.push.j2": "{% block body %}{{ who }}{% endblock %}",
}
WORKFLOWS = (
    workflow(email(), key="mail"),
    workflow(in_app(), wait(duration="P1D"), email(), key="mention"),
    workflow(email(), key="news", category="news"),
    workflow(email(), key="alarm", critical=True),
    workflow(
        {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "push"}}, key="push"
    ),
)
APP = """
from chimeway import App, Message, PermanentFailure, Sent

app = App()


@app.channel("push")
async def push(message: Message) -> Sent:
    raise PermanentFailure(f"{message.address} of {message.recipient_id} is not there any more")
"""
"""A channel whose words are about her."""
STATUS = "select d.status from chimeway.deliveries d where d.run_id = $1"


class Life:
    """What happens to Ada, by all means there are."""

    def __init__(self, client: Chimeway, rows: Rows, sink: Sink, url: str) -> None:
        """Take the hands that it needs."""
        self.client, self.rows, self.sink, self.url = client, rows, sink, url

    async def start(self, key: str, **more: Any) -> UUID:
        """Trigger one of the workflows for her."""
        receipt = await self.client.trigger(key, DATA, recipients=ADA, **more)
        return receipt.run_ids[0]

    async def until(self, run: UUID, status: str) -> None:
        """Wait until a run's message is so."""
        await wait_for(lambda: self._is(run, status), f"a message is {status}")

    async def _is(self, run: UUID, status: str) -> bool:
        return bool(await self.rows.value(STATUS, run) == status)

    async def is_known(self) -> None:
        """She is identified, on every channel."""
        await self.client.identify(
            ADA, email=VALUES["email"], phone=VALUES["phone"], locale=VALUES["locale"], data=DATA,
            timezone="Europe/London", addresses={"push": VALUES["token"], "webhook": VALUES["hook"]},
        )  # fmt: skip

    async def reads_and_says(self) -> UUID:
        """A mention waits; she marks its item, says things to it, and things that nobody listens to."""
        keys = {"idempotency_key": VALUES["key"], "cancellation_key": VALUES["cancellation"]}
        run = await self.start("mention", **keys)
        await self.rows.until(run, "waiting")
        (item,) = await self.client.inbox(ADA).list()
        await self.client.inbox(ADA).mark_interacted([item.id])
        payload, dedupe = {"said": VALUES["said"]}, VALUES["dedupe"]
        await self.client.signal(VALUES["type"], actor=ADA, payload=payload, dedupe_key=dedupe)
        await self.client.signal("chimeway.notification.seen", actor=ADA, payload=payload)
        assert (await inside("hold", str(run), "--note", VALUES["operator"], url=self.url)).code == 0
        return run

    async def gets_mail(self) -> UUID:
        """Mails are sent, fail and are refused for good, a push names her; of the first a webhook tells."""
        self.sink.refuse(f"250 2.0.0 queued for {VALUES['provider']}")
        sent = await self.start("mail")
        await self.until(sent, "succeeded")
        (delivery,) = await self.rows.deliveries(sent)
        await self.client.record_feedback(
            delivery["id"], "deferred", source="s", event_id=VALUES["event"], detail=VALUES["told"]
        )
        for words, status in (("451 4.2.2", "failed"), ("554 5.7.1", "cancelled")):
            self.sink.refuse(f"{words} <{VALUES['email']}> {VALUES['provider']}")
            await self.until(await self.start("mail"), status)
        await self.until(await self.start("push"), "cancelled")
        return UUID(str(delivery["id"]))

    async def is_left_alone(self) -> None:
        """She wants no news at all, and no other mail at this hour."""
        now = datetime.now(UTC)
        quiet = {
            "from": f"{now - timedelta(hours=3):%H:%M}",
            "to": f"{now + timedelta(hours=5):%H:%M}",
        }
        preferences = {"categories": {"news": False, VALUES["category"]: False}, "quiet_hours": quiet}
        await self.client.identify(ADA, preferences=preferences, timezone="UTC")
        for key, status in (("news", "suppressed"), ("mail", "deferred")):
            await self.until(await self.start(key), status)


async def test_nothing_of_a_rich_life_is_left(database_url: str, tmp_path: Path) -> None:
    """Known by all means before; forgotten by the command while a message is under way; unknown after it."""
    made = home(tmp_path, *WORKFLOWS, templates=TEXTS)
    (tmp_path / "hers.py").write_text(APP)
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        Chimeway.connect(database_url) as client,
        running_daemon(database_url, made, "--app", "hers:app", SMTP_URL=sink.url) as daemon,
    ):
        life = Life(client, rows, sink, database_url)
        await rows.put_retries_off()
        await life.is_known()
        waiting = await life.reads_and_says()
        sent = await life.gets_mail()
        await life.is_left_alone()
        gate = sink.hold()
        under_way = await life.start("alarm")
        await gate.reached.wait()
        sink.refuse(f"451 4.2.2 {VALUES['later']}")
        await _a_neighbour(client, rows)

        hers = {name for name in VALUES if name != "later"}
        assert set(found_in(await dumped(database_url), VALUES)) == hers
        file = tmp_path / "ada.jsonl"
        assert (await inside("recipients", "export", ADA, "--output", str(file), url=database_url)).code == 0
        assert set(found_in(file.read_text("utf-8"), VALUES)) == hers
        neighbours = await _his_rows(rows)

        told = await inside("recipients", "forget", ADA, "--yes", "--json", url=database_url)
        answer = {name: told.json[name] for name in ("known", "runs_cancelled", "on_their_way")}
        assert answer == {"known": True, "runs_cancelled": 4, "on_their_way": 1}
        gate.release()
        await life.until(under_way, "cancelled")
        later = await client.record_feedback(
            sent, "bounced", source="s", event_id=VALUES["event"] + "9", detail=VALUES["later"]
        )
        assert later.answer == "recorded"
        again = await client.trigger("mention", DATA, recipients=ADA, idempotency_key=VALUES["key"])
        assert (again.duplicate, again.run_ids) == (True, (waiting,))
        assert await daemon.stopped() == 0
        assert found_in(daemon.tail(100_000), VALUES) == {}

        assert found_in(await dumped(database_url), VALUES) == {}
        assert await _his_rows(rows) == neighbours
        await _still_told(client, under_way)
        await assert_invariants(database_url, rows)
        assert (await inside("verify", url=database_url)).code == 0
    told = await inside("recipients", "forget", ADA, url=database_url, stdin="y\n")
    assert told.out == f'nobody is known as "{ADA}" in tenant "default": there was nothing to forget\n'


async def test_an_export_is_in_its_file_as_a_whole_or_not_at_all(database_url: str, tmp_path: Path) -> None:
    """What breaks half-way leaves the file before as it was, and nothing beside; "-" is standard output."""
    async with Chimeway.connect(database_url) as client, rows_of(database_url) as rows:
        await client.identify("ada", locale="de")
        await client.signal("said", actor="ada")
        file = tmp_path / "ada.jsonl"
        file.write_text("before")
        file.chmod(0o600)
        export = ("recipients", "export", "ada", "--output")
        await rows.connection.execute("alter table chimeway.signals rename to elsewhere")
        assert (await inside(*export, str(file), url=database_url)).code != 0
        assert (file.read_text(), _names(tmp_path)) == ("before", [file.name])
        await rows.connection.execute("alter table chimeway.elsewhere rename to signals")
        told = await inside(*export, str(file), url=database_url)
        assert told.out == f"{file}: 2 documents\n"
        assert (file.stat().st_mode & 0o777, _names(tmp_path)) == (0o600, [file.name])
        assert (await inside(*export, "-", url=database_url)).out == file.read_text()
        told = await inside("recipients", "export", "\x1b[2J", url=database_url)
        assert "\x1b" not in told.err


async def test_a_node_that_dies_while_it_sends_to_who_was_forgotten(
    database_url: str, tmp_path: Path
) -> None:
    """Another takes over and ends what nobody answered for; a retry that waited comes no more."""
    made = home(tmp_path, workflow(email(), key="mail"), templates=TEXTS)
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        Chimeway.connect(database_url) as client,
    ):
        life = Life(client, rows, sink, database_url)
        await rows.put_retries_off()
        await client.identify(ADA, email=VALUES["email"])
        settings = {"SMTP_URL": sink.url, "LEASE_TTL": "PT2S"}
        async with running_daemon(database_url, made, name="first", **settings) as first:
            sink.refuse(f"451 4.2.2 {VALUES['provider']}")
            retried = await life.start("mail")
            await life.until(retried, "failed")
            gate = sink.hold()
            under_way = await life.start("mail")
            await gate.reached.wait()
            assert (await client.forget(ADA)).on_their_way == 1
            first.kill()
        async with running_daemon(database_url, made, name="second", **settings) as second:
            await life.until(under_way, "cancelled")
            gate.release()
            assert await second.stopped() == 0
            assert found_in(second.tail(10_000), VALUES) == {}
        reason = "select suppression_reason from chimeway.deliveries where run_id = $1"
        for run in (retried, under_way):
            assert await rows.value(reason, run) == "recipient_forgotten"
        assert found_in(await dumped(database_url), VALUES) == {}
        assert (await inside("verify", url=database_url)).code == 0


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def _a_neighbour(client: Chimeway, rows: Rows) -> None:
    """Let another person live beside her."""
    await client.identify("bob", email="bob@example.org")
    receipt = await client.trigger("mention", {"title": "x"} | dict.fromkeys(DATA, "x"), recipients="bob")
    await rows.until(receipt.run_ids[0], "waiting")


async def _his_rows(rows: Rows) -> list[Any]:
    """Return what the neighbour's rows hold."""
    found: list[Any] = []
    for table in ("recipients", "workflow_runs", "deliveries", "inbox_items"):
        sql = f"select x::text from chimeway.{table} x where x.recipient_id = 'bob' order by 1"
        found += [row[0] for row in await rows.all(sql)]
    assert len(found) == 4
    return found


async def _still_told(client: Chimeway, under_way: UUID) -> None:
    """What happened is still told of each run, of this person."""
    runs = [run.id for run in await client.list_runs() if run.recipient_id != "bob"]
    assert len(runs) == 8
    for run in runs:
        why = " ".join((await client.explain(run)).why)
        assert "This person was forgotten" in why
        assert found_in(why, VALUES) == {}
    assert "attempt failed" in " ".join((await client.explain(under_way)).why)
