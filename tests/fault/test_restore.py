"""A database that is lost and restored from a dump: nothing that was sent since is sent again by itself."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from chimeway.errors import InvalidInput
from chimeway.store import nodes, restoring
from chimeway.store.embedded.account import account_for
from chimeway.store.embedded.binaries import choose_binaries
from chimeway.store.pool import Database
from kit.clusters import Cluster, own_cluster
from kit.command import inside
from kit.daemon import running_daemon
from kit.home import READ, email, home, in_app, wait, workflow
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

GO = {"type": "signal_received", "signal_type": "go", "then": "continue"}
WORKFLOWS = (
    workflow(email(), key="mail"),
    workflow(wait(until={"data": "due_at"}), email(), key="soon"),
    workflow(
        wait(until={"data": "due_at"}), in_app(), wait("again", duration="PT0.5S"), email(), key="chain"
    ),
    workflow(wait("until_go", GO, READ, duration="PT1H"), email(), key="later"),
)
START = """
select chimeway.trigger($1, recipient_id => $2,
           data => jsonb_build_object('due_at', clock_timestamp() + $3 * interval '1 second'))
  from chimeway.identify('default', $2, jsonb_build_object('email', $2 || '@example.org'))"""
SOON_S = 4.0
AT_ONCE = "update chimeway.deliveries set next_attempt_at = clock_timestamp() where status = 'failed'"
DOUBTED = {"calling", "failing", "soon", "chain"}
"""Who got a mail after the dump was taken, of which the dump does not know."""


def _run(program: str, *words: str) -> None:
    tools = choose_binaries(account_for()).folder
    subprocess.run([tools / program, *words], check=True, capture_output=True, timeout=60)


async def _dump(cluster: Cluster, file: Path) -> str:
    """Dump the database, and return when that was."""
    await asyncio.to_thread(_run, "pg_dump", "-Fc", "-f", str(file), cluster.url)
    return str((await cluster.value("select clock_timestamp()")).isoformat())


async def _restore(cluster: Cluster, file: Path) -> str:
    """Restore a dump into a database of its own, and return where that is."""
    await cluster.sql("create database restored")
    url = cluster.url.replace("/postgres?", "/restored?")
    await asyncio.to_thread(_run, "pg_restore", "--exit-on-error", "-d", url, str(file))
    return url


def _got(sink: Sink) -> Counter[str]:
    return Counter(mail.to.partition("@")[0] for mail in sink.mails)


def _all_got(sink: Sink, *people: str) -> Callable[[], bool]:
    return lambda: set(people) <= set(_got(sink))


async def _a_life(cluster: Cluster, sink: Sink, folder: Path) -> tuple[Path, str]:
    """Play until the database is lost: a dump is taken while much is under way, then all of it arrives."""
    file = folder / "dump"
    async with (
        running_daemon(cluster.url, home(folder, *WORKFLOWS), SMTP_URL=sink.url) as daemon,
        rows_of(cluster.url) as rows,
    ):
        await rows.value(START, "mail", "early", 0)
        await wait_for(_all_got(sink, "early"), "the first mail")
        gate = sink.hold()
        await rows.value(START, "mail", "calling", 0)
        await wait_for(gate.reached.is_set, "a call")
        sink.refuse_all("451 4.3.0 later")
        failing = await rows.value(START, "mail", "failing", 0)
        await wait_for(lambda: _failed(rows, failing), "one that failed")
        await rows.value(START, "later", "later", 0)
        for key in ("soon", "chain"):
            await rows.value(START, key, key, SOON_S)
        taken_at = await _dump(cluster, file)
        assert not DOUBTED & set(_got(sink)), "a slow machine: the dump must come first"

        sink.refuse_all(None)
        gate.release()
        await rows.all(AT_ONCE)
        await rows.value(START, "mail", "lost", 0)
        await wait_for(_all_got(sink, "lost", *DOUBTED), "what the dump does not know of")
        daemon.kill()
    assert set(_got(sink).values()) == {1}
    return file, taken_at


async def _failed(rows: Rows, run_id: str) -> bool:
    return [row["status"] for row in await rows.deliveries(run_id)] == ["failed"]


async def _held(url: str) -> dict[str, str]:
    answer = await inside("deliveries", "restored", "--json", url=url)
    return {one["recipient_id"]: one["delivery_id"] for one in answer.json["items"]}


@pytest.mark.big
async def test_nothing_is_sent_twice_after_a_restore(tmp_path: Path) -> None:
    """Four messages that were sent after the dump are held, over a crash, by every node; what is new goes."""
    (tmp_path / "then").mkdir()
    (tmp_path / "now").mkdir()
    async with own_cluster() as cluster, smtp_sink() as sink:
        file, taken_at = await _a_life(cluster, sink, tmp_path / "then")
        url = await _restore(cluster, file)
        made, flag = home(tmp_path / "now", *WORKFLOWS), ("--after-restore", taken_at)
        async with running_daemon(url, made, *flag, SMTP_URL=sink.url) as daemon:
            told = await daemon.event("restore.held")
            assert (told["deliveries"], told["runs"], told["again"]) == (2, 4, False)
            await wait_for(lambda: _all_held(url), f"{DOUBTED} are held")
            daemon.kill()
        async with (
            running_daemon(url, made, *flag, name="one", SMTP_URL=sink.url) as daemon,
            running_daemon(url, made, name="two", SMTP_URL=sink.url),
            rows_of(url) as rows,
        ):
            assert (await daemon.event("restore.held"))["again"]
            await rows.value("select chimeway.signal('go', actor_id => 'later')")
            await rows.value(START, "mail", "new", 0)
            await wait_for(_all_got(sink, "later", "new"), "what the dump cannot know of goes")
            unknown = "select count(*) from chimeway.delivery_attempt_results where outcome = 'unknown'"
            await wait_for(
                lambda: rows.value(unknown), "the call under way in the dump is recorded as unknown"
            )
            assert _got(sink) == Counter(["early", "lost", "later", "new", *DOUBTED])
            held = await _held(url)
            assert set(held) == DOUBTED

            explained = await inside("explain", "--recipient", "soon", "--workflow", "soon", url=url)
            assert "It has been held back since" in explained.out, explained.out + explained.err
            assert (await inside("deliveries", "release", held["failing"], url=url)).out == "1 released\n"
            await wait_for(lambda: _got(sink)["failing"] == 2, "what was released goes")
            explained = await inside("explain", "--recipient", "failing", "--workflow", "mail", url=url)
            assert "(command line) released it at" in explained.out, explained.out + explained.err
            again = await inside("deliveries", "drop", held["failing"], url=url)
            assert (again.code, "decided before" in again.err) == (3, True)
            for refused in (("--all",), ("--all", "--dry-run")):  # nobody says yes; nobody means it
                told = await inside("deliveries", "drop", *refused, url=url)
                assert "3 messages" in told.out + told.err
            assert (await inside("deliveries", "drop", "--all", "--yes", url=url)).out == "3 dropped\n"
            live = "select count(*) from chimeway.workflow_runs where ended_at is null"
            await wait_for(lambda: _none(rows, live), "all journeys come to their end")
            assert (await inside("verify", url=url)).code == 0
            assert _got(sink) == Counter(["early", "lost", "later", "new", "failing", *DOUBTED])
            sql = (
                "select decision, count(*) from chimeway.restored_deliveries where decided_by > '' group by 1"
            )
            decided = [tuple(row) for row in await rows.all(sql)]
            assert dict(decided) == {"released": 1, "dropped": 3}


async def _all_held(url: str) -> bool:
    return set(await _held(url)) == DOUBTED


async def _none(rows: Rows, sql: str) -> bool:
    return await rows.value(sql) == 0


async def test_an_instant_that_cannot_be_is_refused(database: Database) -> None:
    """One to come, and one after which a node has worked here: then it is too late; nothing is held."""
    now = await nodes.database_now(database)
    with pytest.raises(InvalidInput, match="in the past"):
        await restoring.begin(database, now + timedelta(minutes=1), "test")
    await nodes.enrol(database, uuid4(), "somebody", "1", [])
    with pytest.raises(InvalidInput, match="a node worked here at"):
        await restoring.begin(database, now - timedelta(minutes=1), "test")
    async with database.acquire() as connection:
        assert await connection.fetchval("select count(*) from chimeway.restores") == 0
