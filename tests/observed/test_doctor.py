"""`chimeway doctor`: real trouble is made, and it says what, how much, and what to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chimeway.client.diagnosis import Looked, diagnosed
from chimeway.client.finding import Finding
from chimeway.store.definitions import register
from chimeway.store.examining import Blocking, Index, Table, examine, examine_work
from chimeway.store.pool import open_database
from chimeway.store.schema import VERSION
from chimeway.workflow.parse import parse
from kit.bare import bare_database
from kit.clusters import Cluster, own_cluster
from kit.command import Answer, inside
from kit.daemon import running_daemon
from kit.home import GUIDE, home, in_app, workflow
from kit.pooler import pooler_to
from kit.rows import rows_of
from kit.waiting import wait_for

TRIGGER = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"
JOURNEY = workflow(in_app())
BY_MAIL = {"SMTP_URL": "smtp://127.0.0.1:1", "EMAIL_FROM": "no-reply@example.org"}
MANY_SIGNALS = """insert into chimeway.signals
           (id, shard, tenant_id, type, actor_id, payload, created_at, routed_at)
    select chimeway.new_id(0::smallint), 0, 'default', 'read', 'ada', '{}', chimeway.clock(), chimeway.clock()
      from generate_series(1, 12000) n"""
OLD_SIGNAL = """insert into chimeway.signals (id, shard, tenant_id, type, actor_id, payload, created_at)
    select chimeway.new_id(0::smallint), 0, 'default', 'read', 'ada', '{}', now() - interval '1 minute'"""
OF_TOMORROW = '{"key": "of_tomorrow", "version": 1, "steps": [{"id": "a", "action": {"type": "dream"}}]}'
LATER_DEFINITION = f"""
    insert into chimeway.workflow_definitions (key, version, digest, definition, signal_types, required_data)
    values ('of_tomorrow', 1, 'x', '{OF_TOMORROW}', '{{}}', '{{}}')"""
OPEN_CALL = """
    with d as (
        insert into chimeway.deliveries (id, shard, run_id, tenant_id, recipient_id, visit, step_id, channel,
                                         render_key, status, attempt_count, created_at)
        select chimeway.new_id(r.shard), r.shard, r.id, r.tenant_id, r.recipient_id, 1, 'tell', 'email',
               'x', 'dispatched', 1, chimeway.clock()
          from chimeway.workflow_runs r
        returning id, shard, run_id)
    insert into chimeway.delivery_attempts
           (delivery_id, shard, attempt_no, run_id, node, snapshot, started_at)
    select id, shard, 1, run_id, gen_random_uuid(), pg_current_snapshot(),
           chimeway.clock() - interval '20 minutes' from d"""


async def found_at(url: str, *, open_s: float = 300, attempt_s: float = 600) -> dict[str, Finding]:
    """Look once, without a command, and return what was found by what was looked at; each is there once."""
    async with open_database(url, size=4) as database:
        facts = await examine(database, open_s=open_s)
        looked = Looked(await examine_work(database, attempt_s=attempt_s), [], [])
    found = diagnosed(facts, looked)
    return {one.check: one for one in found}


def one_of(answer: Answer, check: str) -> dict[str, Any]:
    """Return what a command found of one thing, which it looked at once."""
    (found,) = [one for one in answer.json["findings"] if one["check"] == check]
    return dict(found)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Have a session of one's own."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "migration.py"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A server that keeps what it is told, with our schema."""
    async with own_cluster() as cluster:
        await cluster.set(fsync="on", full_page_writes="on", synchronous_commit="on")
        yield cluster


@pytest.mark.big
async def test_a_node_at_work_is_well_until_its_server_is_not(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing fails or warns and the exit code is 0; then fsync goes off, and a slot is left behind."""
    async with running_daemon(cluster.url, home(tmp_path, GUIDE), **BY_MAIL):
        answer = await inside("doctor", "--json", url=cluster.url)
        assert [one for one in answer.json["findings"] if one["level"] != "ok"] == []
        assert (answer.code, answer.json["level"]) == (0, "ok")
        assert one_of(answer, "hints")["figures"]["round_trip_s"] < 1
        assert one_of(answer, "nodes")["figures"]["working"] == 1
        await cluster.set(fsync="off")
        await cluster.sql("select pg_create_physical_replication_slot('left_behind', true)")
        told = await inside("doctor", url=cluster.url)
        assert told.code == 1
        lines = told.out.splitlines()
        assert "fail  durability: fsync is off" in lines
        after = lines[lines.index("fail  durability: fsync is off") + 1]
        assert after.startswith("      a power cut may ruin the whole database: set fsync = on")
        assert "slot left_behind (physical), inactive" in told.out
        assert "select pg_drop_replication_slot('left_behind')" in told.out
        assert lines[-1].endswith(" looked at: 1 fail, 1 warn")
        await cluster.sql("select pg_drop_replication_slot('left_behind')")


async def test_no_node_is_a_failure(database_url: str) -> None:
    """Nobody works: it fails, and says what to start."""
    answer = await inside("doctor", "--json", url=database_url)
    nodes = one_of(answer, "nodes")
    assert (answer.code, nodes["level"], nodes["told"]) == (1, "fail", "no node works (none)")
    assert "chimeway serve" in nodes["remedy"]


async def test_a_channel_that_nodes_lack_is_told(database_url: str, tmp_path: Path) -> None:
    """Nobody has e-mail, by which a workflow sends: it fails. One of two has it: the other is warned of."""
    async with running_daemon(database_url, home(tmp_path, GUIDE), name="plain"):
        answer = await inside("doctor", "--json", url=database_url)
        channels = one_of(answer, "channels")
        assert (answer.code, channels["level"]) == (1, "fail")
        assert channels["told"] == "no node can send by email (mention_escalation)"
        assert "CHIMEWAY_SMTP_URL" in channels["remedy"]
        (tmp_path / "other").mkdir()
        async with running_daemon(database_url, home(tmp_path / "other", GUIDE), name="mailer", **BY_MAIL):
            answer = await inside("doctor", "--json", url=database_url)
            channels = one_of(answer, "channels")
            assert channels["told"].endswith("that others have: email (plain)")
            assert (channels["level"], channels["figures"]) == ("warn", {"lacked": {"email": ["plain"]}})


async def test_who_blocks_is_named(database_url: str) -> None:
    """A session that locked a table and idles, and one behind it: its pid, its name, and how to end it."""
    async with connected(database_url) as holder, connected(database_url) as other:
        await holder.execute("begin; lock table chimeway.deliveries in access exclusive mode")
        pid = holder.get_server_pid()
        async with asyncio.TaskGroup() as group:
            waits = group.create_task(other.execute("select 1 from chimeway.deliveries"))
            answer = await until_told(database_url)
            await holder.execute("rollback")
            await waits
    blocking, snapshots = one_of(answer, "blocking"), one_of(answer, "snapshots")
    assert (answer.code, one_of(answer, "tables")["level"]) == (1, "fail")
    assert f' for pid {pid} ("migration.py", role ' in blocking["told"]
    assert "idle in transaction" in blocking["told"]
    assert f"select pg_terminate_backend({pid})" in blocking["remedy"]
    assert blocking["figures"]["pids"] == [pid]
    assert f"session {pid} (migration.py), idle in transaction" in snapshots["told"]


async def test_who_blocks_and_may_not_be_seen_is_named(database_url: str) -> None:
    """Another role's session, for who has no pg_read_all_stats: its pid and role, and no gaps."""
    async with open_database(database_url, size=2) as database:
        facts = await examine(database, open_s=300)
    stranger = Blocking(7, "node", 20.0, pid=8, name="psql", role="eve", state="", open_s=None)
    found = {one.check: one.told for one in diagnosed(replace(facts, blocking=[stranger]), None)}
    assert found["blocking"] == 'since 20 s: 1 session for pid 8 ("psql", role eve)'


async def until_told(url: str) -> Answer:
    """Ask until somebody is seen to wait for a lock."""

    async def told() -> Answer | None:
        answer = await inside("doctor", "--json", "--open-for", "0", "--wait", "0.5", url=url)
        return answer if one_of(answer, "blocking")["level"] != "ok" else None

    return await wait_for(told, "the blocking session is told")


async def test_a_pinned_snapshot_is_told(database_url: str) -> None:
    """A transaction that only reads, and stays: rows that have gone cannot be removed."""
    async with connected(database_url) as reader:
        await reader.execute("begin isolation level repeatable read; select 1 from chimeway.signals")
        pid = reader.get_server_pid()
        found = (await found_at(database_url, open_s=0))["snapshots"]
        assert found.level == "warn"
        assert f"session {pid} (migration.py), idle in transaction, open for " in found.told
        assert (await found_at(database_url, open_s=300))["snapshots"].level == "ok"


async def test_what_is_wrong_with_tables(database_url: str) -> None:
    """Dead rows that nobody removes, autovacuum off for a table, an index whose making was cut off."""
    async with connected(database_url) as own:
        await own.execute("alter table chimeway.signals set (autovacuum_enabled = false)")
        await own.execute(MANY_SIGNALS)
        with pytest.raises(asyncpg.UniqueViolationError):
            await own.execute("create unique index concurrently cut_off on chimeway.signals (tenant_id)")
        await own.execute("delete from chimeway.signals")
        await own.execute("select pg_stat_force_next_flush()")

        async def told() -> dict[str, Finding] | None:
            found = await found_at(database_url)
            return found if "dead beside" in found["dead_rows"].told else None

        found = await wait_for(told, "dead rows are counted")
        dead = found["dead_rows"]
        assert (dead.level, dead.figures) == ("warn", {"dead": {"signals": 12000}})
        assert "vacuum (analyze) chimeway.signals" in str(dead.remedy)
        assert found["indexes"].level == "fail"
        assert "drop index concurrently chimeway.cut_off" in str(found["indexes"].remedy)
        async with open_database(database_url, size=2) as database:
            all_of = diagnosed(await examine(database, open_s=300), None)
        assert Finding(
            "dead_rows", "fail", "autovacuum is off for signals",
            "alter table chimeway.signals reset (autovacuum_enabled)",
        ) in all_of  # fmt: skip


async def test_work_that_stands_is_told(database_url: str) -> None:
    """A signal that nobody hears, a call that nobody ended, a definition that this program cannot read."""
    async with rows_of(database_url) as rows, open_database(database_url) as database:
        await register(database, parse(JOURNEY))
        await rows.all(TRIGGER)
        await rows.all(OLD_SIGNAL)
        await rows.all(LATER_DEFINITION)
        await rows.all(OPEN_CALL)
        await rows.all(
            """with r as (insert into chimeway.restores (taken_at, began_at, until)
                             values (now(), now(), now()) returning id)
               insert into chimeway.restored_deliveries (delivery_id, restore_id, held_at)
               select gen_random_uuid(), id, now() from r"""
        )
        found = await found_at(database_url)
    assert found["restored"].told == "held back after a restore: 1 message, until somebody decides"
    assert found["signals"].level == "fail"
    assert found["signals"].told.startswith("1 signal wait to be heard, the oldest since 60 s")
    assert (found["attempts"].level, found["attempts"].figures) == ("warn", {"many": 1})
    assert "1 call to providers began 20 min ago" in found["attempts"].told
    assert found["definitions"].told == "this program does not understand of_tomorrow 1"


async def test_messages_that_are_late_are_told(database_url: str) -> None:
    """A provider is down: no run is overdue, and `explain` of a message sends people here."""
    late = """update chimeway.deliveries
                 set status = 'failed', failed_count = 1, last_error_class = 'transient',
                     next_attempt_at = chimeway.clock() - interval '1 minute'"""
    async with rows_of(database_url) as rows, open_database(database_url) as database:
        await register(database, parse(JOURNEY))
        await rows.all(TRIGGER)
        assert "messages" not in await found_at(database_url)
        await rows.all(OPEN_CALL)
        await rows.all(late)
        found = (await found_at(database_url))["messages"]
    assert found.told == "past their time: 1 by email (1 retried, mostly transient)"
    assert (found.level, found.figures) == ("warn", {"late": {"email": 1}})


async def test_messages_that_failed_for_good_are_told(database_url: str) -> None:
    """Of the last hour, by channel; they are listed with why, and are neither overdue nor stuck."""
    failed = """update chimeway.deliveries
                   set status = 'suppressed', suppression_reason = 'permanent_failure',
                       note = 'no such template', terminal_at = chimeway.clock()"""
    listing = ("deliveries", "list", "--given-up", "--json")
    async with rows_of(database_url) as rows, open_database(database_url) as database:
        await register(database, parse(JOURNEY))
        await rows.all(TRIGGER)
        await rows.all(OPEN_CALL)
        assert "failed" not in await found_at(database_url)
        assert (await inside(*listing, url=database_url)).json["items"] == []
        await rows.all(failed)
        found = (await found_at(database_url))["failed"]
    assert found.told == "failed for good, of those of the last hour: 1 of 1 message by email"
    assert (found.level, "chimeway deliveries list --given-up" in str(found.remedy)) == ("warn", True)
    (listed,) = (await inside(*listing, url=database_url)).json["items"]
    assert [listed[name] for name in ("recipient_id", "reason", "note")] == [
        "ada", "permanent_failure", "no such template",
    ]  # fmt: skip
    assert (await inside(*listing, "--channel", "sms", url=database_url)).json["items"] == []


async def test_a_paused_workflow_is_told(database_url: str) -> None:
    """What it keeps is neither overdue nor stuck, so nothing else would say why nobody gets anything."""
    async with rows_of(database_url) as rows, open_database(database_url) as database:
        await register(database, parse(JOURNEY))
        assert "paused" not in await found_at(database_url)
        await rows.all("select chimeway.pause_workflow(key, true) from chimeway.workflow_definitions")
        key = await rows.value("select key from chimeway.workflow_definitions")
        found = (await found_at(database_url))["paused"]
    assert (found.level, found.told) == ("warn", f"1 workflow paused by somebody: {key}")
    assert "chimeway workflow resume" in str(found.remedy)


async def test_an_older_schema_is_told(server_url: str) -> None:
    """It works, and says what brings it up."""
    async with bare_database(server_url, version=VERSION - 1) as url:
        schema = (await found_at(url))["schema"]
    assert (schema.level, schema.told) == ("warn", f"version {VERSION - 1}, this program's is {VERSION}")
    assert "chimeway db migrate" in str(schema.remedy)


async def test_a_pooler_is_told(database_url: str, tmp_path: Path) -> None:
    """Behind one no hint is heard; whoever names a way beside it is told nothing."""
    with pooler_to(database_url, tmp_path) as pooler:
        found = await found_at(pooler.url)
        assert found["pooler"].level == found["hints"].level == "warn"
        assert "CHIMEWAY_DIRECT_DATABASE_URL" in str(found["pooler"].remedy)
        async with open_database(pooler.url, size=2, direct_url=database_url) as database:
            beside = {one.check: one for one in diagnosed(await examine(database, open_s=300), None)}
        assert beside["pooler"].level == beside["hints"].level == "ok"


async def test_what_would_take_a_day_to_make(database_url: str) -> None:
    """Bloat, a table read from end to end, one never analyzed, a wrong clock, no TLS, no place left."""
    async with open_database(database_url, size=2) as database:
        facts = await examine(database, open_s=300)
    gib, big = 2**30, {"scans": 9, "fetched": 5, "unvacuumed": False, "vacuumed_at": None}
    fat = Table("runs", live=90_000, dead=0, analyzed_at=None, scanned=10**7, bytes=gib, needed=10**8, **big)
    index = Index("runs_due", "runs", whole=True, bytes=gib, entries=90_000, scans=1)
    server = replace(facts.server, connections=95, places=100, local=False, tls=False, sees_all=False)
    wrong = replace(facts, server=server, offset_s=-60, tables=[fat], indexes=[index], hint_s=2.0)
    found = {one.told: one.level for one in diagnosed(wrong, None)}
    for told in (
        "95 of 100 connections are in use",
        "the connection crosses a network unencrypted",
        "this machine's clock is 60 s behind the database's",
        "a hint takes 2 s",
        "never analyzed: runs",
        "runs: 1,024 MiB, about 95 MiB needed",
        "runs_due: 1,024 MiB for 90,000 entries",
        "runs: 10,000,000 rows by reading all of it, 5 by index",
        f"{server.role} does not see what other roles' sessions do",
    ):
        assert found[told] == "warn"
