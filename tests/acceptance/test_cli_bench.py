"""`chimeway bench`: what a user of the package measures on a server, and what is left there afterwards."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import asyncpg
import pytest

from bench.frame.stage import _LOCK_CLASS, _made, _sweep
from chimeway.store.clones import on_database
from chimeway.store.embedded import temporary_server
from kit.command import chimeway
from kit.logins import as_role, logins
from kit.waiting import wait_for

LEFT = "select count(*) from pg_database where datname like 'chimeway_bench_%'"


@pytest.fixture
def bench_server() -> Iterator[str]:
    """A server on which nobody else makes databases."""
    with temporary_server() as running:
        yield running.url


async def _left(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        many: int = await connection.fetchval(LEFT)
    finally:
        await connection.close()
    return many


@pytest.fixture
def powerless(server_url: str) -> Iterator[str]:
    """A role that has no right at all."""
    with logins(server_url) as names:
        yield names["plain"]


async def test_a_role_that_may_make_no_database_is_told_so(database_url: str, powerless: str) -> None:
    """Refused with the right that it lacks; nothing is measured in the database that was named."""
    told = await chimeway("bench", "--json", url=as_role(database_url, powerless))
    assert (told.code, told.out) == (3, "")
    assert '"not_permitted"' in told.err
    assert "createdb" in told.err


async def test_a_bench_that_is_told_to_end_leaves_nothing(bench_server: str) -> None:
    """SIGTERM in the middle: its databases are dropped, and the exit code is that of Ctrl-C."""
    words = ("-m", "chimeway", "bench", "--database-url", bench_server, "--journeys", "500")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        env=os.environ.copy(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await wait_for(lambda: _left(bench_server), "it has made a database")
    process.send_signal(signal.SIGTERM)
    _, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()[-1]) == (
        130,
        "interrupted; what it made is dropped",
    )
    assert await _left(bench_server) == 0


async def test_what_a_killed_bench_left_is_dropped_by_the_next(bench_server: str) -> None:
    """Not what one that lives has made, nor what is nobody's we know of."""
    connection = await asyncpg.connect(bench_server)
    for name in ("chimeway_bench_7", "chimeway_bench_8", "chimeway_bench_abc"):
        await connection.execute(f"create database {name}")
    elsewhere = await asyncpg.connect(on_database(bench_server, "template1"))
    await elsewhere.execute("select pg_advisory_lock($1, 8)", _LOCK_CLASS)
    await _sweep(bench_server)
    left = await connection.fetch(f"{LEFT.replace('count(*)', 'datname')} order by 1")
    assert [row[0] for row in left] == ["chimeway_bench_8", "chimeway_bench_abc"]
    await elsewhere.close()
    await _sweep(bench_server)
    assert await _left(bench_server) == 1
    async with _made(bench_server):
        await _sweep(bench_server)
        assert await _left(bench_server) == 2
    await connection.close()


@pytest.mark.big
async def test_a_bench_says_what_the_machine_carries(bench_server: str) -> None:
    """For programs: medians, intervals, settings, all rounds; and the databases are gone."""
    words = ("--json", "--journeys", "500", "--rounds", "1", "--seconds", "0.5")
    told = (await chimeway("bench", *words, url=bench_server)).json
    assert told["medians"]["in phases"]["journeys"]["median"] > 0
    assert told["medians"]["single-row commits"]["commits"]["median"] > 0
    assert told["settings"]["synchronous_commit"] in {"on", "off"}
    assert len(told["rounds"]["mixed"]) == 1
    assert await _left(bench_server) == 0
