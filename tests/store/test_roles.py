"""Roles: what each may do, and that it may do nothing else."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chimeway import Chimeway, InboxChange, NotPermitted, UnknownWorkflow
from chimeway.store import acting, definitions, roles, schema, verify
from chimeway.store.pool import Database, open_database
from kit.bare import bare_database, run
from kit.logins import as_role, logins
from store.mention import mention
from store.plain_sql import plain, put_into_inbox, refused, register, trigger

PRODUCERS = {"trigger", "trigger_many", "signal", "identify", "identify_many", "cancel"}
LISTS = {"list_inbox", "inbox_states"}
UNSUBSCRIBING = {"unsubscribe", "resubscribe"}
READ = {"clock", "shard_of", "shard_of_id", "is_instant", "is_stuck", "wake_again"}
MAY_CALL: Mapping[str, set[str]] = {
    "producer": PRODUCERS,
    "deployer": {"register_workflow", "register_workflow_and_schema"},
    "reader": READ | LISTS | {"export_recipient"},
    "operator": READ
    | LISTS
    | {"cancel", "hold_run", "resume_run", "pause_workflow", "retry_delivery", "record_feedback"}
    | {"configure_tenant", "forget_recipient", "export_recipient", "decide_restored"}
    | {"cancel_runs", "wake_runs", "retime_runs"}
    | {"prune_runs", "prune_bodies", "prune_events", "prune_signals", "prune_answers", "revoke_api_token"}
    | {"prune_actions", "prune_restored"}
    | UNSUBSCRIBING,
    "inbox": {"shard_of", "mark_inbox", "mark_all_inbox", "watch_inboxes", "unwatch_inboxes"}
    | LISTS
    | UNSUBSCRIBING,
}
"""What each role may call; the daemon may call all but `grant_roles`."""
DEFINERS = set().union(*MAY_CALL.values()) - READ | {
    "being_changed", "prune_next", "begin_restore", "hold_restored",
}  # fmt: skip
"""Functions that run with the rights of the schema's owner: nodes lock people, prune and hold by four."""
APPEND_ONLY = ("workflow_transitions", "delivery_attempts", "delivery_attempt_results", "delivery_feedback",
               "delivery_verdicts")  # fmt: skip


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


@pytest.fixture
async def url(database_url: str, names: Mapping[str, str]) -> str:
    """A database with the grants, whose template may be older than the roles."""
    await run(database_url, "select chimeway.grant_roles()")
    return database_url


async def test_every_function_is_locked_up(url: str) -> None:
    """What runs as owner has its search path pinned; nobody but the named roles may call anything."""
    async with plain(url) as connection:
        rows = await connection.fetch(
            """select p.proname as name, p.prosecdef as definer, p.proconfig as settings,
                      has_function_privilege('public', p.oid, 'execute') as open,
                      array(select r from unnest($1::text[]) r
                             where has_function_privilege('chimeway_' || r, p.oid, 'execute')) as may
                 from pg_proc p where p.pronamespace = 'chimeway'::regnamespace""",
            [*MAY_CALL, "daemon"],
        )
    assert len(rows) > 30
    for row in rows:
        name = row["name"]
        assert not row["open"], name
        assert row["definer"] == (name in DEFINERS), name
        if row["definer"]:
            assert "search_path=chimeway, pg_temp" in row["settings"], name
        expected = {role for role, calls in MAY_CALL.items() if name in calls}
        if name != "grant_roles":
            expected.add("daemon")
        assert set(row["may"]) == expected, name


async def _tables(connection: "asyncpg.Connection[Any]") -> list[str]:
    rows = await connection.fetch(
        "select relname from pg_class where relnamespace = 'chimeway'::regnamespace and relkind = 'r'"
    )
    return [row["relname"] for row in rows]


async def _may(url: str, part: str) -> set[tuple[str, str]]:
    """Return (table, privilege) of what a role may do to tables, or to some column of them."""
    async with plain(url) as connection:
        rows = await connection.fetch(
            """select c.relname, p from pg_class c, unnest($2::text[]) p
                where c.relnamespace = 'chimeway'::regnamespace and c.relkind = 'r'
                  and case when p in ('select','insert','update','references')
                           then has_any_column_privilege($1, c.oid, p)
                           else has_table_privilege($1, c.oid, p) end""",
            f"chimeway_{part}",
            ["select", "insert", "update", "delete", "truncate", "references", "trigger"],
        )
        return {(row["relname"], row["p"]) for row in rows}


async def test_tables_are_open_as_far_as_written(url: str) -> None:
    """Producers see no table; nobody may change or delete what is append-only, or own anything."""
    async with plain(url) as connection:
        tables = await _tables(connection)
    assert await _may(url, "producer") == set()
    assert await _may(url, "deployer") == {
        ("workflow_definitions", "select"),
        ("workflow_definitions", "update"),
    }
    assert await _may(url, "inbox") == {("inbox_items", "select")}
    reads = {(table, "select") for table in tables}
    assert await _may(url, "reader") == reads
    assert await _may(url, "operator") == reads | {("operator_actions", "insert")}
    daemon = await _may(url, "daemon")
    assert {table for table, right in daemon if right == "select"} == set(tables)
    deletes = {table for table, right in daemon if right in {"delete", "truncate"}}
    assert deletes == {"nodes", "leases", "console_sessions", "operator_plans"}
    for table in APPEND_ONLY:
        assert {right for each, right in daemon if each == table} == {"select", "insert"}


async def test_a_producer_does_its_five_things(url: str, names: Mapping[str, str]) -> None:
    """Trigger, trigger many, signal, identify and cancel, by id and by key, with no other right."""
    async with plain(url) as owner:
        await register(owner)
    async with plain(as_role(url, names["producer"])) as producer:
        run_id = await trigger(producer, "ada", cancellation_key="ck")
        many = await producer.fetch(
            "select * from chimeway.trigger_many('mention_escalation', 'default', array['eve','ada'])"
        )
        assert [(row["recipient_id"], row["known"]) for row in many] == [("eve", False), ("ada", False)]
        assert await producer.fetchval("select chimeway.signal('read', actor_id => 'ada')")
        await producer.execute(
            """select chimeway.identify(recipient_id => 'ada', profile => '{"locale": "en"}')"""
        )
        by_id = await producer.fetch("select * from chimeway.cancel($1)", many[0]["run_id"])
        by_key = await producer.fetch("select * from chimeway.cancel(cancellation_key => 'ck')")
        assert [row["outcome"] for row in (*by_id, *by_key)] == ["stopped", "stopped"]
        assert by_key[0]["stopped_run_id"] == run_id


def _null_call(row: Any) -> str:
    arguments = ", ".join(f"(select null::{kind})" for kind in row["arguments"])
    return f"select chimeway.{row['proname']}({arguments})"


async def test_a_producer_does_nothing_else(url: str, names: Mapping[str, str]) -> None:
    """Each table in each way, each other function, and each role above it: all refused as 42501."""
    async with plain(url) as owner:
        tables = await _tables(owner)
        functions = await owner.fetch(
            """select p.proname, array(select format_type(a, null) from unnest(p.proargtypes) a) as arguments
                 from pg_proc p where p.pronamespace = 'chimeway'::regnamespace and p.proname <> all($1)
                  and p.prorettype <> 'trigger'::regtype""",
            list(PRODUCERS),
        )
    attempts = [_null_call(row) for row in functions] + [
        "select nextval('chimeway.arrival')", "create table chimeway.mine (n int)",
        "set role chimeway_daemon", "set role chimeway_operator", "set role postgres",
        "set session authorization postgres", "set session_replication_role = replica",
        "alter role chimeway_producer createrole",
        "grant chimeway_daemon to current_user", "drop schema chimeway cascade",
        "alter function chimeway.hint() security definer",
    ]  # fmt: skip
    for table in tables:
        attempts += [
            f"select from chimeway.{table}", f"delete from chimeway.{table}", f"truncate chimeway.{table}",
            f"insert into chimeway.{table} default values", f"select from chimeway.{table} for update",
            f"create trigger t before insert on chimeway.{table} execute function tsvector_update_trigger()",
            f"alter table chimeway.{table} disable trigger all", f"copy chimeway.{table} to stdout",
        ]  # fmt: skip
    async with plain(as_role(url, names["producer"])) as producer:
        await producer.execute("set chimeway.retention = on")
        for attempt in attempts:
            assert (await refused(producer, attempt)).sqlstate == "42501", attempt


SHADOWS = """
create temp table events as select 1 as n;
create temp table nodes as select true as asleep;
create temp table workflow_definitions as select 'mention_escalation' as key;
create temp table pg_class as select 1 as n;
set search_path = pg_temp, evil, pg_catalog;
"""
EVIL = """
create function evil.format(text, text) returns text language sql as 'select ''evil''';
create function evil.sha256(bytea) returns bytea language sql as 'select ''''::bytea';
create function evil.yes(text, text) returns boolean language sql as 'select true';
create operator evil.= (leftarg = text, rightarg = text, function = evil.yes);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.yes);
create table evil.workflow_definitions (key text);
create function evil.clock() returns timestamptz language sql as 'select ''-infinity''::timestamptz';
"""


async def test_a_callers_names_do_not_lead_our_functions_astray(url: str, names: Mapping[str, str]) -> None:
    """Temporary tables and a search path full of traps change nothing of what a function does."""
    async with plain(url) as owner:
        await register(owner)
        await owner.execute(f"create schema evil authorization {names['producer']}")
    async with plain(as_role(url, names["producer"])) as producer:
        await producer.execute(EVIL)
        await producer.execute(SHADOWS)
        key = "chimeway.trigger('mention_escalation', recipient_id => 'ada', idempotency_key => $1)"
        first = await producer.fetchval(f"select {key}", "one")
        other = await producer.fetchval(f"select {key}", "two")
        await producer.fetch("select chimeway.signal('read', actor_id => 'ada')")
        await producer.execute("set escape_string_warning = off; set standard_conforming_strings = off")
        long = "select chimeway.signal('read', actor_id => 'ada', payload => $1)"
        assert "300 digits" in str(await refused(producer, long, f'{{"x": {"7" * 300}}}'))
        await producer.execute("set standard_conforming_strings = on")
        await producer.fetch(
            """select chimeway.identify('default', 'ada', '{"timezone": "Europe/London"}')"""
        )
        error = await refused(producer, "select chimeway.trigger('nobody', recipient_id => 'ada')")
        assert (error.sqlstate, "evil" in str(error)) == ("CW002", False)
        await producer.fetch("select outcome from chimeway.cancel($1)", other)
        assert await producer.fetchval("select count(*) from pg_temp.events") == 1
    async with plain(url) as owner:
        rows = await owner.fetch("select id, state from chimeway.workflow_runs order by id")
        assert [(row["id"], row["state"]) for row in rows] == [(first, "active"), (other, "stopped")]
        assert await owner.fetchval("select count(*) from chimeway.signals") == 1
        await owner.execute("drop schema evil cascade")


async def test_retention_is_no_key_to_what_is_append_only(url: str, names: Mapping[str, str]) -> None:
    """The setting that the trigger looks at opens nothing to the daemon: it lacks the right, too."""
    async with plain(url) as owner:
        await register(owner)
        await trigger(owner)
    async with plain(as_role(url, names["daemon"])) as daemon:
        await daemon.execute("set chimeway.retention = on")
        for table in APPEND_ONLY:
            column = "at" if table == "workflow_transitions" else "shard"
            for attempt in (
                f"delete from chimeway.{table}", f"truncate chimeway.{table}",
                f"update chimeway.{table} set {column} = {column}",
                f"alter table chimeway.{table} disable trigger all",
                f"drop trigger append_only on chimeway.{table}",
            ):  # fmt: skip
                assert (await refused(daemon, attempt)).sqlstate == "42501", attempt
        for attempt in (
            "set session_replication_role = replica", "select chimeway.grant_roles()",
            "create or replace function chimeway.hint() returns void language sql as 'select'",
        ):  # fmt: skip
            assert (await refused(daemon, attempt)).sqlstate == "42501", attempt


async def test_the_client_works_as_a_producer(url: str, names: Mapping[str, str]) -> None:
    """A definition given inline starts when the deploy step has registered it; else the error says so."""
    async with Chimeway.connect(as_role(url, names["producer"])) as client:
        with pytest.raises(UnknownWorkflow, match="is not registered") as caught:
            await client.trigger(mention(), {"document_id": "d"}, recipients="ada")
        assert "chimeway workflow register" in caught.value.details["hint"]
    async with Chimeway.connect(as_role(url, names["deployer"])) as deployer:
        assert await deployer.register(mention())
        with pytest.raises(NotPermitted):
            await deployer.trigger("mention_escalation", {"document_id": "d"}, recipients="ada")
    async with Chimeway.connect(as_role(url, names["producer"])) as client:
        receipt = await client.trigger(mention(), {"document_id": "d"}, recipients="ada")
        await client.identify("ada", email="ada@example.org")
        await client.signal("notification_read", actor="ada", payload={"document_id": "d"})
        for forbidden in (client.explain(receipt.run_ids[0]), client.list_runs(), client.waiting()):
            with pytest.raises(NotPermitted, match="this role may not do this"):
                await forbidden
        stopped = await client.cancel(receipt.run_ids[0])
        assert stopped


async def test_a_deployer_fixes_versions(url: str, names: Mapping[str, str]) -> None:
    """Register, list, show and activate; nothing else of a definition can be changed."""
    async with open_database(as_role(url, names["deployer"]), size=1) as database:
        for version in (1, 2):
            assert await definitions.register(database, mention(version=version).definition)
        await acting.activate(database, acting.Operator(None, "deployer", None), "mention_escalation", 1)
        current = [each.version for each in await definitions.list_definitions(database) if each.current]
        assert current == [1]
        assert (await definitions.fetch_definition(database, "mention_escalation")).version == 1
    async with plain(as_role(url, names["deployer"])) as connection:
        for column in ("definition", "digest", "paused_at", "signal_types"):
            attempt = f"update chimeway.workflow_definitions set {column} = {column}"
            assert (await refused(connection, attempt)).sqlstate == "42501", attempt


@pytest.fixture
async def lived(url: str) -> UUID:
    """A database in which something happened; its run."""
    async with plain(url) as owner:
        await register(owner)
        run_id = await trigger(owner, "ada")
        await put_into_inbox(owner, run_id)
        await owner.execute("select chimeway.signal('notification_read', actor_id => 'ada')")
    return run_id


async def test_a_reader_reads(url: str, lived: UUID, names: Mapping[str, str]) -> None:
    """Explain, list, waiting, overdue, inbox and verify, and not one change."""
    async with Chimeway.connect(as_role(url, names["reader"])) as client:
        assert (await client.explain(lived)).state == "active"
        assert len((await client.list_runs()).items) == 1
        await client.waiting()
        await client.overdue()
        assert len((await client.inbox("ada").list()).items) == 1
        with pytest.raises(NotPermitted):
            await client.cancel(lived)
        with pytest.raises(NotPermitted):
            await client.signal("read", actor="ada")
    async with open_database(as_role(url, names["reader"]), size=2) as database:
        found = await verify.verify(database)
        assert found is not None


async def test_an_operator_acts(url: str, lived: UUID, names: Mapping[str, str]) -> None:
    """Hold, resume, pause and cancel, by functions alone."""
    async with plain(as_role(url, names["operator"])) as operator:
        assert await operator.fetchval("select chimeway.hold_run($1, 'held_by_request', 'why')", lived)
        assert await operator.fetchval("select chimeway.resume_run($1)", lived)
        assert await operator.fetchval("select chimeway.pause_workflow('mention_escalation', true)") == 1
        rows = await operator.fetch("select outcome from chimeway.cancel($1)", lived)
        assert [row["outcome"] for row in rows] == ["stopped"]
        for attempt in ("update chimeway.workflow_runs set state = state", "select chimeway.signal('read')"):
            assert (await refused(operator, attempt)).sqlstate == "42501", attempt


async def test_an_inbox_shows_and_marks(url: str, lived: UUID, names: Mapping[str, str]) -> None:
    """A recipient's items are read, marked and shown live, by a role that sees no other table."""
    async with Chimeway.connect(as_role(url, names["inbox"])) as client:
        inbox, changes = client.inbox("ada"), client.inbox("ada").changes()
        (item,) = (await inbox.list(workflow="mention_escalation")).items
        assert (item.run_id, item.data) == (lived, {})
        assert (await anext(changes)).unseen == await inbox.unseen_count() == 1
        await inbox.mark_all_read()
        while (await anext(changes)).unseen:
            pass
        assert await inbox.mark_unread(item) == await inbox.mark_interacted(item) == (item.id,)
        assert (await inbox.counts()).unread == 0
        with pytest.raises(NotPermitted):
            await client.explain(lived)
        await changes.aclose()


async def test_a_reader_lists_an_inbox(url: str, lived: UUID, names: Mapping[str, str]) -> None:
    """And marks nothing, and is on no list of watchers."""
    async with Chimeway.connect(as_role(url, names["reader"])) as client:
        inbox = client.inbox("ada")
        assert [item.run_id for item in await inbox.list()] == [lived]
        assert await inbox.unread_count() == 1
        for forbidden in (inbox.mark_read([]), inbox.mark_all_read(), _last(inbox.changes())):
            with pytest.raises(NotPermitted):
                await forbidden


async def _last(changes: AsyncGenerator[InboxChange, None]) -> InboxChange:
    return [change async for change in changes][-1]


async def test_what_a_database_grants_by_default_does_not_open_us(server_url: str) -> None:
    """Default privileges that give everything to PUBLIC give it nothing of ours."""
    async with bare_database(server_url) as url:
        for kind in ("tables", "sequences", "functions", "schemas"):
            await run(url, f"alter default privileges grant all on {kind} to public")
        async with open_database(url, size=1) as database:
            await schema.install(database)
        async with plain(url) as connection:
            assert await connection.fetchval(
                """select count(*) from pg_proc p where p.pronamespace = 'chimeway'::regnamespace
                    and has_function_privilege('public', p.oid, 'execute')"""
            ) == 0  # fmt: skip
            assert await connection.fetchval(
                """select count(*) from pg_class c where c.relnamespace = 'chimeway'::regnamespace
                    and exists (select from aclexplode(c.relacl) a where a.grantee = 0)"""
            ) == 0  # fmt: skip
            assert not await connection.fetchval("select has_schema_privilege('public', 'chimeway', 'usage')")


async def test_roles_need_a_schema(server_url: str) -> None:
    """Before there is a schema that knows roles, the error names the command that comes first."""
    for version, verb in ((None, "init"), (1, "migrate")):
        async with bare_database(server_url, version=version) as url, open_database(url, size=1) as database:
            with pytest.raises(schema.SchemaMismatch, match=f"first: chimeway db {verb}"):
                await roles.make(database)


async def test_an_ordinary_owner_is_enough(
    server_url: str, names: Mapping[str, str], database: Database
) -> None:
    """The schema needs CREATE on the database and nothing more; its owner then may grant, not make roles."""
    async with bare_database(server_url) as url:
        name = url.partition("?")[0].rpartition("/")[2]
        await run(url, f'grant create on database "{name}" to {names["plain"]}')
        async with open_database(as_role(url, names["plain"]), size=2) as owned:
            assert await schema.install(owned)
            assert set((await roles.make(owned)).granted) == set(roles.ROLES)
            assert await definitions.register(owned, mention().definition)
        async with plain(as_role(url, names["producer"])) as producer:
            data = '{"document_id": "d"}'
            assert await trigger(producer, "ada", data=data)
            error = await refused(producer, "select chimeway.forget_recipient(recipient_id => 'ada')")
            assert error.sqlstate == "42501"
        async with plain(as_role(url, names["operator"])) as operator:
            run_id = await operator.fetchval("select id from chimeway.workflow_runs")
            await operator.execute("select chimeway.hold_run($1, 'held_by_request', 'ada rang')", run_id)
            assert await operator.fetchval(
                "select known from chimeway.forget_recipient(recipient_id => 'ada')"
            )
            notes = "select count(*) from chimeway.workflow_transitions where note like '%ada%'"
            assert await operator.fetchval(notes) == 0
