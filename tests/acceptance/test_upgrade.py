"""A node under its own role, and on the schema before: the guide's journey, as ever."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chimeway.store import migrating, schema
from chimeway.store.pool import open_database
from kit.bare import bare_database, run
from kit.daemon import Daemon, running_daemon
from kit.home import GUIDE, home
from kit.logins import as_role, logins
from kit.psql import psql
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

SHORT = GUIDE.replace("PT2S", "PT1S")
TRIGGER = """select chimeway.trigger('mention_escalation', tenant_id => 'org_456', recipient_id => '{0}',
    data => '{{"document_id": "doc_789"}}')"""
IDENTIFY = """select chimeway.identify('org_456', '{0}', '{{"email": "{0}@example.org"}}')"""
SIGNAL = "select chimeway.signal('notification_read', tenant_id => 'org_456', actor_id => '{0}')"


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def _play(url: str, rows: Rows, sink: Sink, reader: str, sleeper: str) -> None:
    """Start two journeys as a producer: one is read in time, one ends in an e-mail."""
    await psql(url, IDENTIFY.format(reader), IDENTIFY.format(sleeper))
    read, _ = await psql(url, TRIGGER.format(reader), SIGNAL.format(reader))
    (unread,) = await psql(url, TRIGGER.format(sleeper))
    await rows.until(read, "stopped")
    await rows.until(unread, "completed")
    assert (len(sink.to(sleeper)), len(sink.to(reader))) == (1, 0)


async def _put_off_and_let_go(url: str, rows: Rows, sink: Sink) -> None:
    """A third person has quiet hours now; once they are taken away, the e-mail goes at once."""
    now: datetime = await rows.value("select chimeway.clock()")
    began, ends = (f"{now.astimezone(UTC) + timedelta(hours=hours):%H:%M}" for hours in (-1, 2))
    quiet = f'{{"preferences": {{"quiet_hours": {{"from": "{began}", "to": "{ends}"}}}}}}'
    await psql(url, IDENTIFY.format("gus"), f"select chimeway.identify('org_456', 'gus', '{quiet}')")
    (run_id,) = (await psql(url, TRIGGER.format("gus")))[:1]
    sql = "select 1 from chimeway.deliveries where status = 'deferred'"
    await wait_for(lambda: rows.value(sql), "the e-mail is put off")
    taken_away = '{"preferences": {"quiet_hours": null}}'
    await psql(url, f"select chimeway.identify('org_456', 'gus', '{taken_away}')")
    await rows.until(run_id, "completed")
    assert len(sink.to("gus")) == 1


@asynccontextmanager
async def _node(url: str, folder: Path, sink: Sink) -> AsyncIterator[Daemon]:
    async with running_daemon(url, home(folder, SHORT), SMTP_URL=sink.url) as daemon:
        yield daemon
        assert not daemon.seen("daemon.failed")
        assert not daemon.seen("database.lost")
        assert await daemon.stopped() == 0


async def test_a_node_works_under_its_own_role(
    database_url: str, names: Mapping[str, str], tmp_path: Path
) -> None:
    """chimeway_daemon is enough for `serve`, chimeway_producer for those who call; no path is needed."""
    pinned = f"alter role {names['daemon']} set search_path = pg_catalog"
    await run(database_url, f"select chimeway.grant_roles(); {pinned}")
    producer = as_role(database_url, names["producer"])
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        _node(as_role(database_url, names["daemon"]), tmp_path, sink),
    ):
        await _play(producer, rows, sink, "ada", "bob")
        await _put_off_and_let_go(producer, rows, sink)
        assert await rows.value("select count(*) from chimeway.nodes") == 1
    async with rows_of(database_url) as rows:
        assert await rows.value("select count(*) from chimeway.nodes") == 0, "it took itself off the list"


async def test_a_node_works_on_the_schema_before_and_while_it_is_migrated(
    server_url: str, names: Mapping[str, str], tmp_path: Path
) -> None:
    """A new node plays the journey on the version before and through the migration; so do producers."""
    async with bare_database(server_url, version=schema.VERSION - 1) as url:
        async with smtp_sink() as sink, rows_of(url) as rows, _node(url, tmp_path, sink) as daemon:
            assert daemon.seen("schema.other", version=schema.VERSION - 1, known=schema.VERSION)
            await _play(url, rows, sink, "ada", "bob")
            (over,) = await psql(url, TRIGGER.format("eve"))
            await rows.until(over, "waiting")
            await asyncio.gather(*(migrating.migrate(url) for _ in range(2)))
            await rows.until(over, "completed")
            await _play(as_role(url, names["producer"]), rows, sink, "dan", "fay")
            await _put_off_and_let_go(as_role(url, names["producer"]), rows, sink)
        async with open_database(url, size=1) as database:
            assert await schema.require(database) == schema.Version(schema.VERSION, schema.VERSION - 1)
