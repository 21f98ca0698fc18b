"""A run that cannot be decided or written is held alone; its neighbours in the same batch go on."""

from pathlib import Path
from uuid import UUID

from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.rows import Row, Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

JOURNEY = workflow(in_app(), wait(until={"data": "due_at"}), email(), key="together")
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('together', recipient_id => id, data => jsonb_build_object('due_at',
           clock_timestamp() + $1 * interval '1 second')) as run_id
  from (select 'user_' || n as id from generate_series(1, 20) n) u"""
UNREADABLE = "jsonb_build_object('number', '1e5000'::jsonb)"
"""JSON that PostgreSQL takes: an integer of 5,001 digits, and Python reads none of more than 4,300."""
AT_ONCE_S = 0.2
SOON_S = 4.0
"""Long enough to write a row between the beginning of the waits and their end."""
BAD = "select * from chimeway.workflow_runs where held_reason is not null"
ENDED = "select count(*) from chimeway.workflow_runs where state = 'completed'"


# Twenty failures in a row are what these tests begin with, not an outage.
NO_BREAKER = {"CHANNELS": '{"email": {"breaker_failures": 0}}'}


async def _held_alone(rows: Rows, others: int) -> Row:
    """Wait until one run is held and all others have ended; return the held one."""

    async def so() -> list[Row] | None:
        bad = await rows.all(BAD)
        return bad if bad and await rows.value(ENDED) == others else None

    (bad,) = await wait_for(so, f"one is held, and the {others} others have ended")
    assert bad["held_reason"] == "poison_decision"
    assert bad["state"] in {"active", "waiting"}, "held is not an end"
    last = (await rows.transitions(bad["id"]))[-1]
    assert last["reason"] == "run_held"
    print("\n" + str(last["note"]))
    return bad


async def test_a_decision_that_cannot_be_written(database_url: str, tmp_path: Path) -> None:
    """The batch is split until the bad one stands alone; nothing of it is written."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, JOURNEY), SMTP_URL=sink.url) as daemon,
    ):
        runs = [row["run_id"] for row in await rows.all(START, SOON_S)]
        await rows.until(runs[-1], "waiting")
        bad = await rows.until(runs[7], "waiting")
        # Somebody wrote a row that belongs to the visit which the decision is going to plan.
        await rows.all(
            """insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id,
                      channel, render_key, status, created_at)
               select gen_random_uuid(), shard, id, visit + 1, 'other', tenant_id, recipient_id,
                      'email', 'other', 'pending', clock_timestamp()
                 from chimeway.workflow_runs where id = $1""",
            bad["id"],
        )
        held = await _held_alone(rows, 19)
        assert (held["id"], held["state"], held["revision"]) == (bad["id"], "waiting", bad["revision"] + 1)
        assert len(sink.deliveries()) == 19
        assert await daemon.stopped() == 0


async def test_data_that_cannot_be_read(database_url: str, tmp_path: Path) -> None:
    """Data that the database holds and this program cannot parse poisons its own run only."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, JOURNEY), SMTP_URL=sink.url) as daemon,
    ):
        async with rows.connection.transaction():
            runs = [row["run_id"] for row in await rows.all(START, AT_ONCE_S)]
            event = (await rows.run(runs[3]))["event_id"]
            await rows.all(f"update chimeway.events set data = {UNREADABLE} where id = $1", event)
        held = await _held_alone(rows, 19)
        assert held["id"] == runs[3]
        assert len(sink.deliveries()) == 19
        assert await daemon.stopped() == 0


async def test_a_payload_that_cannot_be_read(database_url: str, tmp_path: Path) -> None:
    """Of payloads only what conditions look at is read: one that nobody could read harms not even its run."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, JOURNEY), SMTP_URL=sink.url, **NO_BREAKER) as daemon,
    ):
        await _all_failed_once(rows, sink)
        async with rows.connection.transaction():
            said = await rows.value("select chimeway.signal('notification_read', actor_id => 'user_1')")
            await rows.all(f"update chimeway.signals set payload = {UNREADABLE} where id = $1", said)
        sink.refuse_all(None)
        await wait_for(lambda: rows.value(f"select ({ENDED}) = 20"), "all have ended")
        assert await daemon.stopped() == 0


async def test_a_profile_that_cannot_be_read(database_url: str, tmp_path: Path) -> None:
    """A recipient with such a profile, while e-mails are retried, stops no other delivery."""
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, JOURNEY), SMTP_URL=sink.url, **NO_BREAKER) as daemon,
    ):
        await _all_failed_once(rows, sink)
        await rows.all(f"update chimeway.recipients set data = {UNREADABLE} where recipient_id = 'user_1'")
        sink.refuse_all(None)
        await wait_for(lambda: rows.value(f"select ({ENDED}) = 19"), "the others have ended")
        assert sink.to("user_1") == []
        assert await daemon.stopped() == 0


async def _all_failed_once(rows: Rows, sink: Sink) -> list[UUID]:
    """Bring twenty runs to where their e-mails are tried again; return them."""
    sink.refuse_all("451 4.3.0 later")
    runs = [row["run_id"] for row in await rows.all(START, AT_ONCE_S)]
    failing = "select count(*) = 20 from chimeway.deliveries where failed_count > 0"
    await wait_for(lambda: rows.value(failing), "all have failed once")
    return runs
