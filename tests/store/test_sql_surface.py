"""Every function that producers and operators call, as SQL: the caller's transaction, errors that speak."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from store.plain_sql import (
    contents,
    deliver,
    plain,
    put_into_inbox,
    refused,
    register,
    trigger,
)


@dataclass(frozen=True, slots=True)
class World:
    """A connection on a database that holds one of everything."""

    connection: "asyncpg.Connection[Any]"
    run: UUID
    held: UUID
    item: UUID


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A workflow, a live run with a pending delivery and an inbox item, and a held run."""
    async with plain(database_url) as connection:
        await register(connection)
        run = await trigger(connection, "ada")
        item = await put_into_inbox(connection, run, visit=1)
        await deliver(connection, run, visit=2)
        held = await trigger(connection, "bob")
        await connection.execute("select chimeway.hold_run($1, 'held_by_request')", held)
        yield World(connection, run, held, item)


CALLS = {
    "trigger": "select chimeway.trigger('mention_escalation', recipient_id => 'eve')",
    "trigger_many": "select * from chimeway.trigger_many('mention_escalation', 't', array['eve', 'dan'])",
    "signal": "select chimeway.signal('notification_read', actor_id => 'ada')",
    "identify": """select chimeway.identify(recipient_id => 'ada', profile => '{"email": "a@b.org"}')""",
    "identify_many": """select chimeway.identify_many('t', '{"ada": {"email": "a@b.org"}, "bob": null}')""",
    "configure_tenant": """select chimeway.configure_tenant('t', '{"timezone": "Asia/Tokyo"}')""",
    "mark_inbox": "select * from chimeway.mark_inbox('default', 'ada', array['{item}']::uuid[], 'read')",
    "register_workflow": """select chimeway.register_workflow(
        '{{"key": "k", "version": 1, "steps": [{{"id": "s", "action": {{"type": "wait"}}}}]}}',
        digest => 'd')""",
    "hold_run": "select chimeway.hold_run('{run}', 'held_by_request', 'a note')",
    "resume_run": "select chimeway.resume_run('{held}', 'a note')",
    "pause_workflow": "select chimeway.pause_workflow('mention_escalation', true)",
    "cancel": "select * from chimeway.cancel('{run}')",
}


def _sql(world: World, name: str) -> str:
    text = CALLS[name]
    if "{{" not in text and '{"' in text:
        return text
    return text.format(run=world.run, held=world.held, item=world.item)


async def test_rolled_back_calls_leave_nothing(world: World) -> None:
    """The caller's rollback takes back all that a function wrote."""
    before = await contents(world.connection)
    for name in CALLS:
        transaction = world.connection.transaction()
        await transaction.start()
        await world.connection.fetch(_sql(world, name))
        assert await contents(world.connection) != before, name
        await transaction.rollback()
        assert await contents(world.connection) == before, name


async def test_savepoints_take_back_only_the_call(world: World) -> None:
    """A rollback to a savepoint takes back the call, and the caller's other work is committed."""
    await world.connection.execute("create table mine (n int)")
    before = await contents(world.connection)
    for name in CALLS:
        async with world.connection.transaction():
            await world.connection.execute("insert into mine values (1)")
            savepoint = world.connection.transaction()
            await savepoint.start()
            await world.connection.fetch(_sql(world, name))
            await savepoint.rollback()
        assert await contents(world.connection) == before, name
    assert await world.connection.fetchval("select count(*) from mine") == len(CALLS)


async def test_committed_calls_stay(world: World) -> None:
    """What a function wrote is there once the caller has committed."""
    for name in CALLS:
        before = await contents(world.connection)
        async with world.connection.transaction():
            await world.connection.fetch(_sql(world, name))
        assert await contents(world.connection) != before, name


REFUSALS = [
    # trigger
    ("select chimeway.trigger('nobody', recipient_id => 'ada')", "CW002", "unknown_workflow", "register"),
    (
        "select chimeway.trigger('mention_escalation', recipient_id => 'ada', workflow_version => 9)",
        "CW002", 'unknown_workflow: workflow "mention_escalation" version 9', "register",
    ),
    ("select chimeway.trigger('mention_escalation')", "CW001", "recipient_id is null", "255"),
    ("select chimeway.trigger('mention_escalation', '', 'ada')", "CW001", "tenant_id is empty", "255"),
    ("select chimeway.trigger(null, recipient_id => 'ada')", "CW001", "workflow is null", "255"),
    (
        "select chimeway.trigger('mention_escalation', recipient_id => repeat('x', 256))",
        "CW001", "recipient_id is 256 characters long", "255",
    ),
    (
        "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => '[]')",
        "CW001", "data is a JSON array", "JSON object",
    ),
    (
        "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => null)",
        "CW001", "data is null", "JSON object",
    ),
    (
        "select chimeway.trigger('mention_escalation', recipient_id => 'ada', idempotency_key => '')",
        "CW001", "idempotency_key is empty", "255",
    ),
    (
        "select * from chimeway.trigger_many('mention_escalation', 't', '{}')",
        "CW001", "recipient_ids is empty", "at least one",
    ),
    (
        "select * from chimeway.trigger_many('mention_escalation', 't', array['a', null])",
        "CW001", "recipient_id is null", "255",
    ),
    # signal
    ("select chimeway.signal('', actor_id => 'ada')", "CW001", "type is empty", "255"),
    ("select chimeway.signal('t')", "CW001", "actor_id is null", "255"),
    (
        "select chimeway.signal('t', actor_id => 'ada', payload => '1')",
        "CW001", "payload is a JSON number", "JSON object",
    ),
    (
        "select chimeway.signal('t', actor_id => 'ada', dedupe_key => '')",
        "CW001", "dedupe_key is empty", "255",
    ),
    # identify
    ("select chimeway.identify(profile => '{}')", "CW001", "recipient_id is null", "255"),
    (
        """select chimeway.identify(recipient_id => 'ada', profile => '{"mail": "x"}')""",
        "CW001", 'unknown key "mail"', "email, phone",
    ),
    (
        """select chimeway.identify(recipient_id => 'ada', profile => '{"email": 1}')""",
        "CW001", "profile.email is a JSON number", "null to remove",
    ),
    (
        """select chimeway.identify(recipient_id => 'ada', profile => '{"data": null}')""",
        "CW001", "profile.data is a JSON null", "JSON object",
    ),
    (
        """select chimeway.identify(recipient_id => 'ada', profile => '{"timezone": "Mars/Olympus"}')""",
        "CW001", '"Mars/Olympus" is unknown', "IANA",
    ),
    (
        """select chimeway.identify(recipient_id => 'ada', profile => '{"timezone": "<+03>-03"}')""",
        "CW001", "is unknown", "IANA",
    ),
    # mark_inbox
    (
        "select * from chimeway.mark_inbox('default', 'ada', '{}', 'liked')",
        "CW001", 'mark is "liked"', "unseen, unread or unarchived",
    ),
    # register_workflow
    ("select chimeway.register_workflow('{}', digest => 'd')", "CW001", "definition.key is null", "255"),
    (
        """select chimeway.register_workflow('{"key": "k", "version": 0, "steps": [{}]}', digest => 'd')""",
        "CW007", "invalid_definition: version is 0", "from 1",
    ),
    *(
        (
            f"""select chimeway.register_workflow('{{"key": "k", "version": {version}}}', digest => 'd')""",
            "CW007", "invalid_definition: version is ", "to 2147483647",
        )
        for version in ('"1"', "1.5", "2147483648", "99999999999", "-1", "null", "{}")
    ),
    (
        """select chimeway.register_workflow('{"key": "k", "version": 1, "steps": []}', digest => 'd')""",
        "CW007", "steps is missing or empty", "workflow check",
    ),
    (
        """select chimeway.register_workflow(
               '{"key": "k", "version": 1, "steps": [{"id": "s", "action": {"type": "wait"}}]}', null)""",
        "CW001", "digest is null", "255",
    ),
    # cancel
    ("select * from chimeway.cancel()", "CW001", "needs run_id or cancellation_key", "run_id =>"),
    (
        "select * from chimeway.cancel(gen_random_uuid(), cancellation_key => 'k')",
        "CW001", "and not both", "run_id =>",
    ),
    (
        "select * from chimeway.cancel(gen_random_uuid())",
        "CW006", "workflow_run_not_found", "tenant",
    ),
    (
        "select * from chimeway.cancel(cancellation_key => 'k', note => repeat('x', 1001))",
        "CW001", "note is 1001 characters", "1000",
    ),
    # pause_workflow
    ("select chimeway.pause_workflow('nobody', true)", "CW002", "unknown_workflow", "list"),
]  # fmt: skip


async def test_refusals_speak_and_write_nothing(world: World) -> None:
    """A refusal has its SQLSTATE, says what was given, hints at what would be right, and writes nothing."""
    before = await contents(world.connection)
    for sql, state, message, hint in REFUSALS:
        error = await refused(world.connection, sql)
        assert error.sqlstate == state, sql
        assert message in str(error), sql
        assert hint in (error.hint or ""), sql
    assert await contents(world.connection) == before


LARGE = "jsonb_build_object('k', repeat('x', $1))"


SIZED = [
    f"select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => {LARGE})",
    f"select chimeway.signal('t', actor_id => 'ada', payload => {LARGE})",
    f"select chimeway.identify(recipient_id => 'ada', profile => jsonb_build_object('data', {LARGE}))",
]


async def test_json_may_have_64_kibibytes(world: World) -> None:
    """JSON of 65,536 bytes is taken, one byte more is refused."""
    for call in SIZED:
        frame = len('{"data": {"k": ""}}') if "identify" in call else len('{"k": ""}')
        await world.connection.fetch(call, 65_536 - frame)
        error = await refused(world.connection, call, 65_537 - frame)
        assert error.sqlstate == "CW001"
        assert "65537 bytes" in str(error)


# Computed by another SHA-256: Python's.
VECTORS = [
    ("default", "ada"),
    ("org_456", "user_123"),
    ("", ""),
    ("ü", "日本"),
    ("a", "b\x1fc"),
    ("a\x1fb", "c"),
]


async def test_shard_of_is_the_first_byte_of_sha256(world: World) -> None:
    """shard_of is the first byte of SHA-256 over tenant, unit separator and recipient in UTF-8."""
    for tenant, recipient in VECTORS:
        wanted = hashlib.sha256(f"{tenant}\x1f{recipient}".encode()).digest()[0]
        assert (
            await world.connection.fetchval("select chimeway.shard_of($1, $2)", tenant, recipient) == wanted
        )


async def test_shards_have_known_values(world: World) -> None:
    """These shards are written in every database there is: they never change."""
    rows = await world.connection.fetch(
        "select chimeway.shard_of(t, r) s from (values ('default','ada'), ('org_456','user_123')) v(t, r)"
    )
    assert [row["s"] for row in rows] == [71, 78]


async def test_ids_carry_their_shard_and_sort_by_time(world: World) -> None:
    """new_id has version 7, the shard in its last byte, and the milliseconds first."""
    first = await world.connection.fetchval("select chimeway.new_id(200::smallint)")
    second = await world.connection.fetchval("select chimeway.new_id(7::smallint) from pg_sleep(0.002)")
    assert (first.version, first.bytes[15], second.bytes[15]) == (7, 200, 7)
    assert first.bytes[:6] < second.bytes[:6]
    assert await world.connection.fetchval("select chimeway.shard_of_id($1)", first) == 200


async def test_audit_is_append_only(world: World) -> None:
    """Transitions, attempts and results refuse UPDATE, DELETE and TRUNCATE."""
    await world.connection.execute(
        """with a as (
               insert into chimeway.delivery_attempts (delivery_id, shard, attempt_no, run_id, node, snapshot,
                   started_at)
               select d.id, d.shard, 1, d.run_id, gen_random_uuid(), pg_current_snapshot(), chimeway.clock()
                 from chimeway.deliveries d where d.run_id = $1 and d.visit = 2 returning *)
           insert into chimeway.delivery_attempt_results (delivery_id, shard, attempt_no, outcome,
               finished_at)
           select a.delivery_id, a.shard, 1, 'unknown', a.started_at from a""",
        world.run,
    )
    before = await contents(world.connection)
    for table in ("workflow_transitions", "delivery_attempts", "delivery_attempt_results"):
        for change in ("update {} set shard = shard", "delete from {}", "truncate {} cascade"):
            error = await refused(world.connection, change.format(f"chimeway.{table}"))
            assert error.sqlstate == "CW010"
            assert "append_only" in str(error)
    assert await contents(world.connection) == before
