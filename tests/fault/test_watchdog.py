"""A service manager's watchdog is fed by work that moves, and by nothing else: a real node, a real socket."""

import os
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest

from kit.clusters import own_cluster
from kit.daemon import running_daemon
from kit.home import email, home, in_app, workflow
from kit.manager import WATCHDOG_S, bent, manager
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

JOURNEY = workflow(in_app(), key="told")
MAILED = workflow(email(), key="mailed")
START = "select chimeway.trigger('told', recipient_id => $1)"
MAIL = """
select chimeway.trigger('mailed', recipient_id => $1)
  from chimeway.identify('default', $1, jsonb_build_object('email', $1 || '@example.org'))"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_watchdog_is_fed_by_work_that_moves(tmp_path: Path) -> None:
    """Not while the loop is blocked, nor when a round of runs hangs and all else goes on; but while the
    database is away, which no restart mends.
    """
    async with (
        own_cluster() as cluster,
        manager(tmp_path) as heard,
        running_daemon(cluster.url, home(tmp_path, JOURNEY), command=heard.command(bent(tmp_path))) as daemon,
    ):
        await wait_for(lambda: heard.times("READY=1"), "READY=1")
        assert heard.said[0][1] == "STATUS=starting"
        await heard.until_status("working: in time, shards 0-255")

        await cluster.stop("fast")
        await heard.until_status("the database is lost since 2")
        await heard.fed_for(3.0)
        await cluster.start()
        await heard.until_status("working: in time")

        os.kill(daemon.pid, signal.SIGUSR1)
        blocked_at = time.monotonic()
        await wait_for(lambda: heard.pings_since(blocked_at + 2), "it goes on when the loop does")
        pings = [at for at in heard.times("WATCHDOG=1") if at > blocked_at - 0.3]
        assert max(b - a for a, b in pairwise(pings)) > WATCHDOG_S
        await heard.fed_for(2.0)

        async with rows_of(cluster.url) as rows:
            (tmp_path / "hang").touch()
            hung = await rows.value(START, "ada")
            await daemon.event("work.stands", part="rounds of runs")
            silent_from = time.monotonic()
            await rows.until(await rows.value(START, "bob"), "completed")
            await heard.until_status("work stands still since 2")
            await wait_for(lambda: time.monotonic() - silent_from > 2 * WATCHDOG_S, "two watchdogs")
            assert heard.pings_since(silent_from) == 0
            assert (await rows.run(hung))["state"] == "active"
        assert len(heard.times("READY=1")) == 1
        daemon.terminate()  # it would drain for twenty seconds: a service manager, too, has had enough
        os.kill(daemon.pid, signal.SIGABRT)
        assert await daemon.exit_code() == -signal.SIGABRT
        assert "most recent call first" in daemon.tail(), "where each thread was stands in the log"


async def test_who_finds_no_database_at_its_start_says_why_it_ends(tmp_path: Path) -> None:
    """In the error's own words, for `systemctl status`; ready it is not, and who started it tries again."""
    nowhere = f"postgresql://127.0.0.1:{free_port()}/app"
    made, program = home(tmp_path, JOURNEY), bent(tmp_path)
    async with (
        manager(tmp_path) as heard,
        running_daemon(nowhere, made, ready=False, command=heard.command(program)) as daemon,
    ):
        assert await daemon.exit_code() == 4
        await heard.until_status("failed: the database cannot be reached (")
        assert heard.times("READY=1") == []


@pytest.mark.big
async def test_a_provider_that_hangs_is_no_reason(database_url: str, tmp_path: Path) -> None:
    """Its deliveries wait for it, the watchdog is fed; and who drains says so, and is fed until its end."""
    async with smtp_sink() as sink, manager(tmp_path, abstract=True) as heard, rows_of(database_url) as rows:
        gate, command = sink.hold(), heard.command(bent(tmp_path))
        made = home(tmp_path, MAILED)
        async with running_daemon(database_url, made, command=command, SMTP_URL=sink.url) as daemon:
            await rows.value(MAIL, "ada")
            await wait_for(gate.reached.is_set, "a call")
            await heard.fed_for(3.0)
            daemon.terminate()
            await wait_for(lambda: heard.times("STOPPING=1"), "STOPPING=1")
            assert heard.status == "draining"
            await heard.fed_for(1.0)
            gate.release()
            assert await daemon.exit_code() == 0
            assert len(sink.mails) == 1


@pytest.mark.big
async def test_overload_is_no_reason(database_url: str, tmp_path: Path) -> None:
    """A node that has far more to do than it can, and is late, is fed all the time: its parts get on."""
    slow = workflow(*(in_app(f"step_{n}") for n in range(8)), key="told")
    many = "select count(*) from chimeway.trigger_many('told', recipient_ids => $1)"
    async with manager(tmp_path) as heard, rows_of(database_url) as rows:
        made = home(tmp_path, slow)
        command = heard.command(bent(tmp_path))
        async with running_daemon(database_url, made, command=command, MAX_LATENESS="PT0.2S") as daemon:
            for batch in range(20):
                people = [f"user_{batch}_{n}" for n in range(1000)]
                assert await rows.value(many, people) == 1000
            await daemon.event("overload.began")
            await heard.until_status("overloaded: ")
            await heard.fed_for(6.0)
            assert not daemon.seen("overload.over"), "the storm was too short to show anything"
            assert not daemon.seen("work.stands")
            daemon.kill()


BLOCKING = """
import time
from chimeway import App, Notify, RenderContext, Workflow

step = Notify("a", channel="in_app", render_key="told")
app = App(workflows=[Workflow(key="told", version=1, steps=[step])])

@app.render("told")
def told(context: RenderContext) -> str:
    if context.data.get("bad"):
        time.sleep(3600)
    return "hello"
"""


@pytest.mark.big
async def test_a_run_that_blocks_its_node_for_ever_is_held_in_the_end(
    database_url: str, tmp_path: Path
) -> None:
    """Who is silent is ended, as systemd does: in the fifth life the run is held, and the others go on."""
    (tmp_path / "blocking.py").write_text(BLOCKING)
    made, start = home(tmp_path), "select chimeway.trigger('told', recipient_id => $1, data => $2::jsonb)"
    program, lives = bent(tmp_path), 0
    async with manager(tmp_path) as heard, rows_of(database_url) as rows:
        command = ("env", f"PYTHONPATH={tmp_path}", *heard.command(program))
        bad: str | None = None
        while bad is None or (await rows.run(bad))["held_reason"] is None:
            lives += 1
            assert lives <= 5, "it takes one node after the other"
            async with running_daemon(
                database_url, made, "--app", "blocking:app", command=command, ready=False
            ) as daemon:
                begun = time.monotonic()
                if bad is None:
                    await daemon.event("daemon.ready")
                    bad = await rows.value(start, "bad", {"bad": True})
                    await rows.value(start, "good", {})

                async def over(begun: float = begun, run: str = bad) -> bool:
                    pings = [at for at in heard.times("WATCHDOG=1") if at > begun]
                    silent = pings and time.monotonic() - pings[-1] > 2 * WATCHDOG_S
                    return bool(silent) or (await rows.run(run))["held_reason"] is not None

                await wait_for(over, "it is silent, or has held the run")
                os.kill(daemon.pid, signal.SIGABRT)
                await daemon.exit_code()
        held = await rows.run(bad)
        assert held["held_reason"] == "three_strikes"
        async with running_daemon(database_url, made, "--app", "blocking:app", command=command) as daemon:
            good = await rows.value("select id from chimeway.workflow_runs where recipient_id = 'good'")
            await rows.until(good, "completed")
            await heard.fed_for(2.0)
            assert await daemon.stopped() == 0
    assert lives == 5, "the first death accuses nobody; three more do"
