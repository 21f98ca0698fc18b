"""PostgreSQL restarted under the daemon: it goes on, and nothing is lost."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from chimeway.store.embedded import Server, temporary_server
from chimeway.store.schema import schema_sql
from kit.daemon import running_daemon
from kit.home import email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

GUIDE = workflow(in_app(), wait(duration="PT1S"), email())
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('mention_escalation', recipient_id => id)
  from (select $1 || n as id from generate_series(1, 40) n) u"""
DUE = """
select exists (select from chimeway.workflow_runs where state = 'waiting' and wake_at <= clock_timestamp())"""

COMPLETED = "select count(*) from chimeway.workflow_runs where state = 'completed'"


class Postgres:
    """A server of this test's own, which it may restart."""

    def __init__(self, server: Server) -> None:
        """Take a running server."""
        self.url = server.url
        self._bin = server.bin
        self._folder = Path(dict(parse_qsl(urlsplit(server.url).query))["host"])

    def control(self, *words: str) -> None:
        """Run pg_ctl as the account that owns the data."""
        owner = self._folder.stat()
        account: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        where = ("-D", self._folder / "data", "-l", self._folder / "restarted.log")
        done = subprocess.run(
            [self._bin / "pg_ctl", *where, "-w", *words],
            capture_output=True, text=True, check=False, cwd="/", timeout=60,
            **(account if os.geteuid() == 0 else {}),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """Run a server while the block lasts, however often it is restarted."""
    with temporary_server(settings=("max_connections=50",)) as server:
        postgres = Postgres(server)
        try:
            yield postgres
        finally:
            with suppress(AssertionError):  # it was never restarted, or did not come back
                postgres.control("stop", "-m", "immediate")


@pytest.mark.parametrize(
    "restarts", [1, pytest.param(10, marks=[pytest.mark.big, pytest.mark.timeout(400)])], ids=["small", "big"]
)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgresql_restarted(mode: str, restarts: int, tmp_path: Path) -> None:
    """Restarted (`immediate`: crashed and recovered) while runs are due, nothing is lost or doubled."""
    made = home(tmp_path, GUIDE)
    with own_postgres() as postgres:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(schema_sql())
        await connection.close()
        async with (
            smtp_sink() as sink,
            running_daemon(postgres.url, made, SMTP_URL=sink.url) as daemon,
        ):
            for restart in range(restarts):
                async with rows_of(postgres.url) as rows:
                    await rows.all(START, f"before_{restart}_")
                    await wait_for(partial(rows.value, DUE), "some are due", every_s=0.001)
                    await asyncio.to_thread(postgres.control, "restart", "-m", mode)
            async with rows_of(postgres.url) as rows:
                await rows.all(START, "after_")
                await rows.until_none_live(60)
                await assert_invariants(postgres.url, rows)
                await assert_mails_fit(rows, sink)
                assert await rows.value(COMPLETED) == 40 * (restarts + 1)
            assert len(sink.deliveries()) == 40 * (restarts + 1)
            lost = {str(one["operation"]) for one in daemon.seen("database.lost")}
            print(f"\n{mode}, {restarts} times: e-mails {len(sink.mails)}; lost in the middle of {lost}")
            assert lost
            assert await daemon.stopped() == 0
