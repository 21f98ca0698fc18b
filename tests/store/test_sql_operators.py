"""Registration, and what operators call: hold, resume, pause; which runs are stuck."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from chimeway.workflow.definition import Definition
from chimeway.workflow.durations import parse_instant
from chimeway.workflow.encode import digest, encode, required_data, signal_types
from property.definitions import definitions
from store.plain_sql import (
    MENTION,
    blocked,
    contents,
    deliver,
    plain,
    refused,
    register,
    run_row,
    trigger,
)


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database where MENTION is registered."""
    async with plain(database_url) as connection:
        await register(connection)
        yield connection


async def test_registering_the_same_again_does_nothing(sql: "asyncpg.Connection[Any]") -> None:
    """The same digest again is false and writes nothing."""
    before = await contents(sql)
    assert await register(sql) is False
    assert await contents(sql) == before


async def test_another_content_of_a_version_is_refused(sql: "asyncpg.Connection[Any]") -> None:
    """A registered version never changes: another digest is a conflict that names both."""
    before = await contents(sql)
    call = "select chimeway.register_workflow($1, digest => 'another')"
    error = await refused(sql, call, json.dumps(MENTION))
    assert (error.sqlstate, str(error).partition(":")[0]) == ("CW005", "workflow_definition_version_conflict")
    assert "higher version" in (error.hint or "")
    assert await contents(sql) == before


@pytest.mark.parametrize("same", [True, False])
async def test_two_registrations_at_once(
    sql: "asyncpg.Connection[Any]", database_url: str, same: bool
) -> None:
    """The second waits for the first; then it is the same, or in conflict."""
    call = "select chimeway.register_workflow($1, digest => $2)"
    text = json.dumps(MENTION | {"version": 2})
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        assert await one.fetchval(call, text, "d1") is True
        if same:
            again = group.create_task(two.fetchval(call, text, "d1"))
            await blocked(sql, two)
            await transaction.commit()
            assert await again is False
        else:
            other = group.create_task(refused(two, call, text, "d2"))
            await blocked(sql, two)
            await transaction.commit()
            assert (await other).sqlstate == "CW005"


async def test_sql_and_python_extract_the_same_from_a_definition(sql: "asyncpg.Connection[Any]") -> None:
    """signal_types and required_data, taken from the JSON by SQL, are those that Python finds."""
    drawn: list[Definition] = []

    @settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(definitions())
    def draw(definition: Definition) -> None:
        drawn.append(definition)

    draw()
    for number, definition in enumerate(drawn):
        form = encode(definition) | {"key": f"drawn_{number}"}
        await sql.execute(
            "select chimeway.register_workflow($1, digest => $2)", json.dumps(form), digest(definition)
        )
        row = await sql.fetchrow("select * from chimeway.workflow_definitions where key = $1", form["key"])
        assert row is not None
        assert sorted(row["signal_types"]) == sorted(signal_types(definition))
        assert json.loads(row["required_data"]) == dict(required_data(definition))


async def test_the_check_of_a_definition_is_not_compiled(sql: "asyncpg.Connection[Any]") -> None:
    """Where a server compiles what seems dear, a registration would take seconds."""
    settings_of = "select proconfig from pg_proc where oid = 'chimeway.check_definition'::regproc"
    assert await sql.fetchval(settings_of) == ["jit=off"]


INSTANTS = [
    "2026-01-05T09:00:00Z", "2026-01-05t09:00:00z", "2026-01-05T09:00:00.123456+05:30",
    "2026-01-05T23:59:59.9-12:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
]  # fmt: skip
NO_INSTANTS = [
    "2026-01-05T09:00Z", "2026-01-05 09:00:00Z", "2026-01-05T09:00:00+0530", "2026-01-05T09:00:00+05",
    "2026-01-05T09:00:00", "2026-01-05", "2026-02-30T09:00:00Z", "2026-01-05T25:00:00Z", "09:00Z",
    "2026-01-05T09:00:00 Z", "2026-1-5T09:00:00Z", "now", "", "infinity", "2026-01-05T24:00:00Z",
    "2026-01-05T09:00:60Z", "0000-01-05T09:00:00Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00",
    "2026-01-05T09:00:00+24:00", "2026-01-05T09:00:00.1234567Z", "2026-01-05T09:00:00,5Z",
    "2026-01-05T09:00:00Z\n", "2026-01-05T09:00:00+01:60", "２０２６-01-05T09:00:00Z",  # noqa: RUF001  (wide digits)
]  # fmt: skip


async def test_sql_takes_the_instants_that_the_engine_reads(sql: "asyncpg.Connection[Any]") -> None:
    """What SQL lets in as an instant, the engine can read: else a run would be stuck on it."""
    for text in INSTANTS + NO_INSTANTS:
        try:
            parse_instant(text)
            readable = True
        except ValueError:
            readable = False
        assert readable is (text in INSTANTS), text
        assert await sql.fetchval("select chimeway.is_instant($1)", json.dumps(text)) is readable, text


async def test_a_hold_is_written_and_given_back(sql: "asyncpg.Connection[Any]") -> None:
    """Holding keeps state, step and wake and writes run_held; resuming clears it and its strikes."""
    run_id = await trigger(sql, "ada")
    await sql.execute("update chimeway.workflow_runs set strikes = 2 where id = $1", run_id)
    assert await sql.fetchval("select chimeway.hold_run($1, 'three_strikes', 'died thrice')", run_id) is True
    held = await run_row(sql, run_id)
    assert (held["held_reason"], held["state"], held["revision"]) == ("three_strikes", "active", 2)
    assert held["held_at"] is not None
    assert await sql.fetchval("select chimeway.resume_run($1, 'looked at')", run_id) is True
    free = await run_row(sql, run_id)
    assert (free["held_reason"], free["held_at"], free["strikes"], free["revision"]) == (None, None, 0, 3)
    assert free["wake_at"] == held["wake_at"] == held["created_at"]
    rows = await sql.fetch(
        "select * from chimeway.workflow_transitions where run_id = $1 order by seq", run_id
    )
    assert [(row["seq"], row["reason"], row["note"]) for row in rows] == [
        (1, "workflow_started", None),
        (2, "run_held", "three_strikes: died thrice"),
        (3, "run_resumed", "looked at"),
    ]
    assert {row["status_reason"] for row in rows} == {"workflow_started"}


@pytest.mark.parametrize(("status", "due"), [("pending", False), ("succeeded", True)])
async def test_a_resumed_run_is_due_when_its_delivery_has_ended(
    sql: "asyncpg.Connection[Any]", status: str, due: bool
) -> None:
    """What became of the delivery while the run was held is looked at on resume; else nothing is."""
    run_id = await trigger(sql, "ada")
    await deliver(sql, run_id, status=status)
    await sql.execute(
        "update chimeway.workflow_runs set step = 'step_email', visit = 1, wake_at = null where id = $1",
        run_id,
    )
    await sql.fetchval("select chimeway.hold_run($1, 'held_by_request')", run_id)
    await sql.fetchval("select chimeway.resume_run($1)", run_id)
    assert ((await run_row(sql, run_id))["wake_at"] is not None) is due


async def test_hold_and_resume_say_when_they_do_nothing(sql: "asyncpg.Connection[Any]") -> None:
    """Holding what is held, has ended or does not exist, and resuming what is not held, is false."""
    run_id, ended = await trigger(sql, "ada"), await trigger(sql, "bob")
    await sql.fetch("select * from chimeway.cancel($1)", ended)
    unknown = await sql.fetchval("select gen_random_uuid()")
    before = await contents(sql)
    for run in (run_id, ended, unknown):
        assert await sql.fetchval("select chimeway.resume_run($1)", run) is False
    for run in (ended, unknown):
        assert await sql.fetchval("select chimeway.hold_run($1, 'held_by_request')", run) is False
    assert await contents(sql) == before
    await sql.fetchval("select chimeway.hold_run($1, 'held_by_request')", run_id)
    before = await contents(sql)
    assert await sql.fetchval("select chimeway.hold_run($1, 'poison_decision')", run_id) is False
    assert await contents(sql) == before


async def test_two_holds_at_once_are_one(sql: "asyncpg.Connection[Any]", database_url: str) -> None:
    """A second hold waits for the first and finds the run held."""
    run_id = await trigger(sql, "ada")
    hold = "select chimeway.hold_run($1, 'held_by_request')"
    async with plain(database_url) as one, plain(database_url) as two, asyncio.TaskGroup() as group:
        transaction = one.transaction()
        await transaction.start()
        assert await one.fetchval(hold, run_id) is True
        waiting = group.create_task(two.fetchval(hold, run_id))
        await blocked(sql, two)
        await transaction.commit()
        assert await waiting is False
    assert (await run_row(sql, run_id))["transition_count"] == 2


async def test_a_pause_holds_all_versions_and_keeps_its_moment(sql: "asyncpg.Connection[Any]") -> None:
    """Pausing marks every version, also those registered later; triggers are taken; resuming clears."""
    await register(sql, MENTION | {"version": 2})
    await register(sql, MENTION | {"key": "other"})
    paused = "select version, paused_at from chimeway.workflow_definitions where key = 'mention_escalation'"
    assert await sql.fetchval("select chimeway.pause_workflow('mention_escalation', true)") == 2
    first = {row["version"]: row["paused_at"] for row in await sql.fetch(paused)}
    assert None not in first.values()
    await sql.fetchval("select chimeway.pause_workflow('mention_escalation', true)")
    await register(sql, MENTION | {"version": 3})
    again = {row["version"]: row["paused_at"] for row in await sql.fetch(paused)}
    assert again == first | {3: max(first.values())}
    assert await trigger(sql, "ada")
    assert (
        await sql.fetchval("select paused_at from chimeway.workflow_definitions where key = 'other'") is None
    )
    assert await sql.fetchval("select chimeway.pause_workflow('mention_escalation', false)") == 3
    assert {row["paused_at"] for row in await sql.fetch(paused)} == {None}


WAITING = '{"due_at": "2026-01-05T09:00:00Z", "rule_kind": "wait", "to_step": "step_email"}'


STUCK = [
    ("active", None, "{}", False),
    ("active", "step_in_app", "{}", False),
    ("active", "step_email", "{}", True),
    ("active", "no_such_step", "{}", True),
    ("waiting", "step_wait", WAITING, False),
    ("waiting", "step_wait", WAITING.replace("step_email", "end"), False),
    ("waiting", "step_wait", WAITING.replace("step_email", "nowhere"), True),
    ("waiting", "step_wait", WAITING.replace("Z", ""), True),
    ("waiting", "step_wait", WAITING.replace("due_at", "due"), True),
    ("waiting", "step_wait", WAITING.replace('"wait"', '"nap"'), True),
    ("waiting", "no_such_step", WAITING, True),
    ("stopped", "no_such_step", "{}", False),
]


@pytest.mark.parametrize("pause", [True, False])
@pytest.mark.parametrize("first", ["register", "pause"])
async def test_a_version_that_comes_in_the_same_moment_is_paused_as_the_others(
    sql: "asyncpg.Connection[Any]", database_url: str, first: str, pause: bool
) -> None:
    """Who pauses or resumes and who registers a version wait for each other: none is left behind."""
    await sql.fetchval("select chimeway.pause_workflow('mention_escalation', $1)", not pause)
    steer = f"select chimeway.pause_workflow('mention_escalation', {pause})"
    new = json.dumps({**MENTION, "version": 2})
    deploy = f"select chimeway.register_workflow('{new}', 'd')"
    async with plain(database_url) as one, plain(database_url) as two:
        transaction = one.transaction()
        await transaction.start()
        await one.fetchval(deploy if first == "register" else steer)
        other = asyncio.ensure_future(two.fetchval(steer if first == "register" else deploy))
        await blocked(sql, two)
        await transaction.commit()
        await other
    paused = await sql.fetch("select paused_at is not null from chimeway.workflow_definitions")
    assert [row[0] for row in paused] == [pause, pause]


async def test_stuck_runs_are_known(sql: "asyncpg.Connection[Any]") -> None:
    """A live run whose step, delivery or waiting context is not what it must be is stuck; no other is."""
    for state, step, context, stuck in STUCK:
        run_id = await trigger(sql, "ada")
        if step == "step_in_app":
            await deliver(sql, run_id, visit=1, channel="in_app")
        visit = {None: 0, "step_email": 2}.get(step, 1)
        await sql.execute(
            """update chimeway.workflow_runs
                  set state = $2::text, step = $3, visit = $4, status_context = $5, wake_at = null,
                      ended_at = case when $2::text = 'stopped' then created_at end
                where id = $1""",
            run_id, state, step, visit, context,
        )  # fmt: skip
        found = await sql.fetchval(
            """select chimeway.is_stuck(r, w)
                 from chimeway.workflow_runs r join chimeway.workflow_definitions w
                   on w.key = r.workflow_key and w.version = r.workflow_version where r.id = $1""",
            run_id,
        )
        assert found is stuck, (state, step, context)
