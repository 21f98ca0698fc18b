"""Three daemons share the work; one is killed, frozen or asked to end, and the others go on with its part."""

from pathlib import Path

import pytest

from kit.crew import crew, shared_by, shares
from kit.daemon import Daemon, running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Rows, rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

GUIDE = workflow(in_app(), wait(duration="PT2S"), email())
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('mention_escalation', recipient_id => id)
  from (select 'user_' || n as id from generate_series($1::int, $1 + 29) n) u"""
WAITED = """select count(distinct run_id) from chimeway.workflow_transitions
             where reason = 'waiting_for_step_progression'"""
COMPLETED = "select count(*) from chimeway.workflow_runs where state = 'completed'"
THIRD = "third"
TRIO = ("first", "second", THIRD)
TTL_S = 2


def _end(how: str, daemon: Daemon) -> None:
    {"killed": daemon.kill, "frozen": daemon.freeze, "asked to end": daemon.terminate}[how]()


def _decided(daemons: list[Daemon]) -> list[int]:
    """Return how many decisions each made."""
    return [len(daemon.seen("decision.committed")) for daemon in daemons]


async def _gone(rows: Rows, name: str, had: set[int]) -> None:
    """Wait until a node has no shard any more, and others have all of its."""

    async def taken() -> bool:
        now = await shares(rows)
        return name not in now and had <= {shard for held in now.values() for shard in held}

    await wait_for(taken, f"others have the shards of {name}")


@pytest.mark.parametrize(
    "how",
    ["killed", *(pytest.param(how, marks=pytest.mark.big) for how in ("frozen", "asked to end"))],
)
async def test_the_others_go_on(how: str, database_url: str, tmp_path: Path) -> None:
    """Each does its part; when one ends, its journeys go on in the others, each to its right end."""
    made = home(tmp_path, GUIDE)
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        crew(
            database_url, made, *TRIO, SMTP_URL=sink.url, LEASE_TTL=f"PT{TTL_S}S", LOG_LEVEL="debug"
        ) as daemons,
    ):
        before = await shared_by(rows, *TRIO)
        await rows.all(START, 1)
        await wait_for(lambda: rows.value(f"select ({WAITED}) = 30"), "all wait, or have waited")
        _end(how, daemons[THIRD])
        await _gone(rows, THIRD, set(before[THIRD]))
        after = await shared_by(rows, "first", "second")
        assert all(set(before[name]) < set(after[name]) for name in after), "what they had they kept"
        await rows.all(START, 31)
        await rows.until_none_live()
        assert await rows.value(COMPLETED) == 60
        suspected = [one.seen("lease.acquired", taken_over=True) for one in daemons.values()]
        assert bool(suspected[0] or suspected[1]) is (how != "asked to end")
        if how == "frozen":
            daemons[THIRD].thaw()
            await daemons[THIRD].event("lease.lost")
            await shared_by(rows, *TRIO)
            assert await daemons[THIRD].stopped() == 0
        elif how == "asked to end":
            assert await daemons[THIRD].exit_code() == 0
        await assert_invariants(database_url, rows)
        await assert_mails_fit(rows, sink)
        assert len(sink.mails) == len(sink.deliveries()) == 60
        for name in ("first", "second"):
            assert await daemons[name].stopped() == 0
        assert await rows.value("select count(*) from chimeway.leases") == 0


async def test_nodes_come_and_go(database_url: str, tmp_path: Path) -> None:
    """A second node gets half of the shards and works on them; when it leaves the first has all again."""
    made = home(tmp_path, workflow(in_app()))
    async with rows_of(database_url) as rows, running_daemon(database_url, made, name="first") as first:
        assert await shared_by(rows, "first") == {"first": list(range(256))}
        async with running_daemon(database_url, made, name="second") as second:
            await shared_by(rows, "first", "second")
            await rows.all(START, 1)
            await rows.until_none_live()
            await wait_for(lambda: all(_decided([first, second])), "both took part")
            assert await second.stopped() == 0
        assert await shared_by(rows, "first") == {"first": list(range(256))}
        assert not first.seen("lease.acquired", taken_over=True)
        await rows.all(START, 31)
        await rows.until_none_live()
        assert await first.stopped() == 0
        await assert_invariants(database_url, rows)
