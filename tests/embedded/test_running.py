"""One server for a data folder: who starts it, who attaches, who ends it, and what kills it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from chimeway.app import App
from chimeway.errors import DatabaseUnavailable
from chimeway.settings import Settings
from chimeway.store.embedded import Server, running
from chimeway.store.embedded.account import account_for
from chimeway.store.embedded.locks import FileLock
from chimeway.store.meant import database_meant
from kit.data_folder import keeper, postmaster, server_processes
from kit.waiting import wait_for

ATTACH = """
import sys, pathlib
from chimeway.store.embedded import running
with running(pathlib.Path(sys.argv[1])) as server:
    print("attached", flush=True)
    sys.stdin.read()
"""


class Other:
    """Another process that needs the server, until it is told to leave or killed."""

    def __init__(self, folder: Path) -> None:
        """Start it; it is attached once `attached` returns."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", ATTACH, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def attached(self) -> None:
        """Wait until it is."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"attached\n"

    def leave(self) -> None:
        """Let its block end."""
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.communicate()


async def _value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_what_is_written_is_there_the_next_time(new_folder: Path) -> None:
    """Made at the first use, ended with the block, found again; as durable as in production."""
    with running(new_folder) as server:
        await _value(server.url, "create table kept as select 42 as n")
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert await _value(server.url, f"show {name}") == "on"
        assert await _value(server.url, "show listen_addresses") == ""
    assert server_processes(new_folder) == []
    with running(new_folder) as server:
        assert await _value(server.url, "select n from kept") == 42
    assert "database system was not properly shut down" not in (new_folder / "server.log").read_text()


async def test_every_driver_reads_the_url(folder: Path) -> None:
    """asyncpg, psycopg, and SQLAlchemy over both."""
    with running(folder) as server:
        assert await _value(server.url, "select 1") == 1
        with psycopg.connect(server.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        one = sqlalchemy.text("select 1")
        engine = sqlalchemy.create_engine(server.url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as lent:
            assert lent.execute(one).scalar() == 1
        engine.dispose()
        eager = create_async_engine(server.url.replace("postgresql:", "postgresql+asyncpg:"))
        async with eager.connect() as awaited:
            assert (await awaited.execute(one)).scalar() == 1
        await eager.dispose()


def test_who_comes_at_once_shares_one_server(new_folder: Path) -> None:
    """Three at once where there is nothing yet: one makes it, all are attached, the last one ends it."""
    others = [Other(new_folder) for _ in range(3)]
    for other in others:
        other.attached()
    assert len(list(new_folder.glob("cluster*"))) == 1
    kept = keeper(new_folder)
    for other in others[:-1]:
        other.leave()
    assert keeper(new_folder) == kept
    others[-1].leave()
    assert server_processes(new_folder) == []


def test_who_started_it_may_leave_first(folder: Path) -> None:
    """The server stays for who is attached, also when its starter is killed."""
    starter = Other(folder)
    starter.attached()
    with running(folder) as server:
        first = postmaster(folder)
        starter.kill()
        asyncio.run(_value(server.url, "select 1"))
        assert postmaster(folder) == first
    assert server_processes(folder) == []


async def test_the_last_one_is_killed(folder: Path) -> None:
    """Nobody is left to end the server, and yet it ends, in order, and leaves nothing to recover."""
    other = Other(folder)
    other.attached()
    other.kill()
    await wait_for(lambda: not server_processes(folder), "its end")
    assert (folder / "server.log").read_text().rstrip().endswith("database system is shut down")


@pytest.mark.parametrize("killed", ["postmaster", "keeper", "both"])
async def test_what_is_killed_comes_back(folder: Path, killed: str) -> None:
    """Under somebody attached, a killed server or keeper is replaced, and what was committed is there."""
    with running(folder) as server, running(folder):
        await _value(server.url, f"create table kept_{killed} as select 42 as n")
        first = postmaster(folder)
        kept = keeper(folder)
        if killed != "postmaster":
            kept.kill()
        if killed != "keeper":
            first.kill()

        async def back() -> bool:
            try:
                return await _value(server.url, f"select n from kept_{killed}") == 42
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                return False

        await wait_for(lambda: not first.is_running(), "the first one's end")
        await wait_for(back, "its return")
        assert keeper(folder) != kept
    assert server_processes(folder) == []


def test_a_number_in_postmaster_pid_is_not_believed(folder: Path) -> None:
    """After a crash its number belongs to something else that lives: the server starts all the same."""
    other = Other(folder)
    other.attached()
    pid_file = folder / "cluster" / "postmaster.pid"
    content = pid_file.read_text().splitlines()
    owner = pid_file.stat()
    for process in (keeper(folder), postmaster(folder)):
        process.send_signal(signal.SIGSTOP)  # the keeper's death must not end it in order
    other.kill()
    for process in server_processes(folder):
        process.kill()
    account = {} if owner.st_uid == 0 else {"user": owner.st_uid}
    with subprocess.Popen(["sleep", "60"], **account) as stranger:
        content[0] = str(stranger.pid)
        pid_file.write_text("\n".join(content) + "\n")
        try:
            with running(folder) as server:
                assert asyncio.run(_value(server.url, "select 1")) == 1
        finally:
            stranger.kill()


def test_a_fork_does_not_let_go_for_its_parent(folder: Path) -> None:
    """A child that was forked inside the block, and leaves it, takes nothing from who forked it."""
    held = running(folder)
    held.__enter__()
    kept = keeper(folder)
    child = os.fork()
    if child == 0:
        try:
            held.__exit__(None, None, None)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    users = FileLock(folder / "users", account_for(folder))
    assert not users.exclusively()
    users.close()
    assert keeper(folder) == kept
    held.__exit__(None, None, None)
    assert server_processes(folder) == []


def _recovers(folder: Path, seconds: int) -> None:
    """Let the server of a data folder recover for so long, once, before it lets anybody in."""
    cluster = folder / "cluster"
    signal_file, conf = cluster / "recovery.signal", cluster / "postgresql.auto.conf"
    signal_file.touch()
    account_for(folder).own(signal_file)
    with conf.open("a") as file:
        file.write(f"restore_command = 'test -e slept || {{ touch slept; sleep {seconds}; }}; false'\n")


@pytest.mark.big
def test_a_server_that_recovers_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: killed for it, it would have to begin anew each time, and never be done."""
    monkeypatch.setattr("chimeway.store.embedded.sharing._PATIENCE_S", 4.0)
    _recovers(folder, 6)
    with running(folder) as server:
        assert asyncio.run(_value(server.url, "select 1")) == 1
    said = (folder / "server.log").read_text()
    assert said.count("archive recovery complete") == 1
    assert said.count("the database system is starting up") < 300, "the log is not filled with our questions"


async def test_a_start_that_is_killed_is_begun_again(folder: Path) -> None:
    """What dies of a signal while it starts, server or keeper, is no reason to give up."""
    _recovers(folder, 2)
    other = Other(folder)
    await wait_for((folder / "cluster" / "slept").exists, "its recovery")
    postmaster(folder).kill()
    other.attached()
    other.leave()
    assert server_processes(folder) == []


def test_a_start_whose_keeper_is_killed_is_begun_again(folder: Path) -> None:
    """Also at once: then nobody says anything."""
    other = Other(folder)
    while not (found := [one for one in psutil.process_iter() if _keeps(one, folder)]):
        time.sleep(0.001)
    for process in found:
        process.kill()
    other.attached()
    other.leave()
    assert server_processes(folder) == []


def _keeps(process: psutil.Process, folder: Path) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "keeper.py" in words and str(folder) in words


async def test_nothing_hinders_who_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A keeper that is stopped, or somebody who stands at the gate, is told of, and not waited for long."""
    monkeypatch.setattr("chimeway.store.embedded.sharing._LEAVE_S", 0.2)
    gate = FileLock(folder / "gate", account_for(folder))
    with running(folder):
        assert gate.exclusively()
    gate.close()
    await wait_for(lambda: not server_processes(folder), "its end")
    with running(folder):
        stopped = keeper(folder)
        stopped.send_signal(signal.SIGSTOP)
        await wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED, "its stop")
    assert server_processes(folder)
    stopped.send_signal(signal.SIGCONT)
    await wait_for(lambda: not server_processes(folder), "its end")
    assert "embedded.stopped" not in "".join(capfd.readouterr())


def test_started_in_a_thread_that_ends(folder: Path) -> None:
    """Which thread starts it does not matter: a host's loop may run in any."""
    found: list[Server] = []
    held = running(folder)
    thread = threading.Thread(target=lambda: found.append(held.__enter__()))
    thread.start()
    thread.join()
    assert asyncio.run(_value(found[0].url, "select 1")) == 1
    held.__exit__(None, None, None)
    assert server_processes(folder) == []


async def test_an_app_runs_on_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no database is named, a node in a host's loop, in any thread, has one, schema and all."""
    for name in ("CHIMEWAY_DATABASE_URL", "CHIMEWAY_TEST_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    async def host() -> int:
        async with App().running(data_dir=folder) as chimeway:
            return len(await chimeway.list_runs())

    assert await asyncio.to_thread(asyncio.run, host()) == 0
    assert server_processes(folder) == []


async def test_a_named_database_is_meant(database_url: str, new_folder: Path) -> None:
    """Then no server of one's own is started, and no folder made."""
    async with database_meant(Settings(database_url=database_url, data_dir=new_folder)) as url:
        assert url == database_url
    assert not new_folder.exists()  # noqa: ASYNC240  (quick, and nobody waits)


async def test_patience_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is there and does not answer is said to be so, after a while."""
    other = Other(folder)
    other.attached()
    frozen = postmaster(folder)
    frozen.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("chimeway.store.embedded.sharing._PATIENCE_S", 0.2)
    monkeypatch.setattr("chimeway.store.embedded.keeper.asked", lambda _socket: False)
    with pytest.raises(DatabaseUnavailable, match=r"given no answer for 0\.2 s"), running(folder):
        pass
    frozen.send_signal(signal.SIGCONT)
    other.leave()
