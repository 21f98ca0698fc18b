"""PostgreSQL clusters of a test's own, to be stopped, crashed, filled, frozen, copied and promoted.

    async with own_cluster("max_connections=20") as primary, primary.standby() as standby:
        ...                       # a standby that every commit waits for
        await primary.crash()     # as a power cut would
        await standby.promote()
        url = either(primary, standby)    # finds whichever of the two writes

A cluster is a folder with its socket, its log and its data, the schema installed. It is copied from a
template that is made once in a process, so one costs about a fifth of a second. Everything of it is gone
with its block, however the test ended; a test run that is killed takes its servers with it.

A cluster is a child of the thread that starts it (Linux ends it with that thread): start it in a thread
that lives as long as it is needed, such as that of the test's loop.
"""

import asyncio
import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import asyncpg
import psutil
import pytest

from chimeway.store.embedded import start as run_server
from chimeway.store.embedded.account import Account, account_for
from chimeway.store.embedded.binaries import choose_binaries
from chimeway.store.embedded.cluster import initdb
from chimeway.store.embedded.keeper import answers
from chimeway.store.embedded.server import PORT, url_by
from chimeway.store.embedded.temporary import die_with_parent
from chimeway.store.schema import schema_sql
from chimeway.testing.server import roomy
from kit.waiting import DEADLINE_S, wait_for

Mode = Literal["smart", "fast", "immediate", "crash"]
_SIGNALS: Final[dict[Mode, signal.Signals]] = {
    "smart": signal.SIGTERM,  # waits until everybody has left
    "fast": signal.SIGINT,  # ends all sessions, in order
    "immediate": signal.SIGQUIT,  # without a checkpoint: the next start recovers
}
_USUAL: Final = ("max_connections=50", "max_wal_size=256MB", "dynamic_shared_memory_type=mmap")
"""What backends share lies in the folder and goes with it: of who is killed here it would stay in memory."""
_SMALL_SEGMENT_MIB: Final = 1
_SEGMENT_MIB: Final = 16
_BALLAST: Final = 65_536


class Cluster:
    """A cluster: its folder, and its server while that runs."""

    def __init__(self, folder: Path, settings: tuple[str, ...], *, tcp: bool = False) -> None:
        """Take a folder with `data` in it; use `own_cluster` and `standby`."""
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port() if tcp else PORT
        self._account = account_for(self.data)
        self._bin = _binaries(self._account)
        listening = ("listen_addresses=127.0.0.1" if tcp else "listen_addresses=",)
        self._settings = (*_USUAL, *listening, *settings)
        self._tcp = tcp
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its database `postgres`, as superuser: by TCP where it listens there, else by its socket."""
        if self._tcp:
            return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        return self.socket_url

    @property
    def socket_url(self) -> str:
        """The same by its socket, in any case."""
        return url_by(self.folder, self.port)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def runs(self) -> bool:
        """Say whether its postmaster is alive."""
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        """Return all that its server has said so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    async def start(self, *settings: str, ready: bool = True, deadline_s: float = DEADLINE_S) -> None:
        """Start it; `ready`: and wait until it lets somebody in. `settings` are of this start alone."""
        assert not self.runs(), "it runs already"
        words = [word for each in (*self._settings, *settings) for word in ("-c", each)]
        socket_path = self.folder / f".s.PGSQL.{self.port}"
        with (self.folder / "server.log").open("ab") as log, warnings.catch_warnings():
            # Python warns of forks beside threads; what runs in the child is one system call.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = subprocess.Popen(  # noqa: ASYNC220  (returns at once; a child of this thread)
                [self._bin / "postgres", "-D", self.data, "-k", self.folder, "-p", str(self.port), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
                **self._account.popen(),
            )  # fmt: skip

        async def there() -> bool:
            if not self.runs():
                pytest.fail(f"the server did not start:\n{self.said()[-2_000:]}")
            return await asyncio.to_thread(answers, os.fspath(socket_path))

        if ready:
            await wait_for(there, "the server lets somebody in", deadline_s=deadline_s, every_s=0.01)

    async def stop(self, mode: Mode = "fast", *, deadline_s: float = DEADLINE_S) -> None:
        """End it, and wait until it has ended; `crash` is `crash()`."""
        if mode == "crash":
            await self.crash()
        else:
            os.kill(self.pid, _SIGNALS[mode])
            await self.ended(deadline_s)

    async def ended(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until its postmaster has ended, by itself or otherwise; return the exit code."""
        process = self._process
        assert process is not None
        await wait_for(lambda: process.poll() is not None, "the server's end", deadline_s=deadline_s)
        self._process = None
        return process.returncode

    async def restart(self, mode: Mode = "fast") -> None:
        """Stop it and start it again."""
        await self.stop(mode)
        await self.start()

    async def crash(self) -> None:
        """Kill all of its processes at once, as the loss of its machine would (the disk stays)."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await self.ended()

    def freeze(self) -> None:
        """Stop all of its processes where they are: connections stay open, and nobody answers."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        first = psutil.Process(self.pid)
        return [first, *first.children(recursive=True)]

    async def sql(self, text: str, *args: Any, database: str = "postgres") -> list[Any]:
        """Run a statement on a superuser's connection of its own, and return its rows."""
        connection = await asyncpg.connect(self.socket_url.replace("/postgres?", f"/{database}?"))
        try:
            return list(await connection.fetch(text, *args))
        finally:
            await connection.close()

    async def run(self, script: str) -> None:
        """Run a text of several statements, as one transaction."""
        connection = await asyncpg.connect(self.socket_url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    async def value(self, text: str, *args: Any) -> Any:
        """Run a statement and return its one value."""
        return (await self.sql(text, *args))[0][0]

    async def set(self, **settings: str) -> None:
        """Change settings of the running server, and wait until new sessions see them.

        (They are kept in `postgresql.auto.conf`; what was given at the start weighs more.)
        """
        for name, value in settings.items():
            await self.sql(f"alter system set {name} = '{value}'")
        await self.sql("select pg_reload_conf()")
        for name, value in settings.items():
            asked = f"select setting = '{value}' or current_setting(name) = '{value}' from pg_settings"

            async def seen(sql: str = f"{asked} where name = '{name}'") -> bool:
                return bool(await self.value(sql))

            await wait_for(seen, f"{name} is {value}")

    @asynccontextmanager
    async def standby(
        self, *settings: str, name: str = "standby", synchronous: bool = True, tcp: bool = False
    ) -> AsyncIterator["Cluster"]:
        """Run a standby of it while the block lasts, made by pg_basebackup.

        `synchronous`: from then on each commit here waits until the standby has it on its disk.
        """
        with _folder(self._account) as folder:
            await asyncio.to_thread(self._back_up, folder / "data", name)
            standby = Cluster(folder, settings, tcp=tcp)
            await standby.start()
            try:
                await wait_for(lambda: self._streams(name), f"{name} follows")
                if synchronous:
                    await self.set(synchronous_standby_names=name)
                    await wait_for(lambda: self._streams(name, "sync"), f"commits wait for {name}")
                yield standby
            finally:
                standby.end()

    async def _streams(self, name: str, state: str | None = None) -> bool:
        sql = """select exists (select from pg_stat_replication where application_name = $1
                    and state = 'streaming' and ($2::text is null or sync_state = $2))"""
        return bool(await self.value(sql, name, state))

    def _back_up(self, data: Path, name: str) -> None:
        place = f"host={self.folder} port={self.port} user=postgres application_name={name}"
        _run(
            self._account, self._bin / "pg_basebackup", "-D", data, "-d", place, "-X", "stream",
            "-c", "fast", "--no-sync", "-R",
        )  # fmt: skip

    async def promote(self) -> None:
        """Make this standby one that writes, and wait until it does."""

        async def writes() -> bool:
            try:
                return bool(await self.value("select not pg_is_in_recovery()"))
            except asyncpg.SerializationError:  # what it still replays ends who reads
                return False

        await self.sql("select pg_promote(false)")
        await wait_for(writes, "it writes")

    async def follow(self, primary: "Cluster", name: str = "standby") -> None:
        """Make this stopped cluster, which once wrote, a running standby of another (pg_rewind)."""
        place = f"host={primary.folder} port={primary.port} user=postgres dbname=postgres"
        await asyncio.to_thread(
            _run, self._account, self._bin / "pg_rewind", "-D", self.data,
            f"--source-server={place}", "-R", "--no-sync",
        )  # fmt: skip
        conninfo = f"{place.removesuffix(' dbname=postgres')} application_name={name}"
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{conninfo}'\nsynchronous_standby_names = ''\n")
        await self.start()
        await wait_for(lambda: primary._streams(name), f"{name} follows")

    def end(self) -> None:
        """End all of its processes at once, whatever state they are in."""
        if not self.runs():
            return
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait()
        self._process = None


def either(*clusters: Cluster, database: str = "postgres") -> str:
    """Return the URL by which whichever of these clusters writes is found."""
    hosts = ",".join("127.0.0.1" if each._tcp else str(each.folder) for each in clusters)
    ports = ",".join(str(each.port) for each in clusters)
    where = f"host={quote(hosts, safe=',')}&port={ports}"
    return f"postgresql://postgres@/{database}?{where}&target_session_attrs=read-write&connect_timeout=2"


class Disk:
    """A small disk of its own (a tmpfs), which can be filled to its last byte."""

    def __init__(self, path: Path) -> None:
        """Take where it is mounted."""
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no room on it."""
        with self._ballast.open("ab", buffering=0) as file:
            for piece in (_BALLAST, 512, 1):
                with suppress(OSError):
                    while file.write(b"\0" * piece):
                        pass

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return how much room there is."""
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize


@contextmanager
def small_disk(mib: int) -> Iterator[Disk]:
    """Mount a disk of so many MiB while the block lasts; skips the test where that is not allowed."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("a small disk of its own: mounting one needs root")
    path = Path(tempfile.mkdtemp(prefix="cwdisk-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "chimeway", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        path.rmdir()
        pytest.skip(f"a small disk of its own: {mounted.stderr.strip()}")
    try:
        account_for().own(path)
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


@asynccontextmanager
async def own_cluster(
    *settings: str,
    tcp: bool = False,
    schema: bool = True,
    data_on: Disk | None = None,
    wal_on: Disk | None = None,
) -> AsyncIterator[Cluster]:
    """Run a cluster while the block lasts.

    Args:
        settings: `name=value` for the server's configuration.
        tcp: it listens on a port of loopback, too, and `url` leads there.
        schema: its database `postgres` has the schema.
        data_on: a disk for its data, but not for its WAL; all else stays in memory, or on /tmp.
        wal_on: a disk for its WAL (with files of one MiB) alone.
    """
    account = account_for()
    segment = _SMALL_SEGMENT_MIB if wal_on else _SEGMENT_MIB
    with _folder(account) as folder:
        template = _template(segment, schema=schema)
        # -a: whose the files are matters.
        copied = ["cp", "-a", "--reflink=auto", str(template), str(folder / "data")]
        await asyncio.to_thread(subprocess.run, copied, check=True)
        if data_on is not None:
            _move(folder / "data" / "pg_wal", folder / "pg_wal")
            _move(folder / "data", data_on.path / "data")
        if wal_on is not None:
            _move(folder / "data" / "pg_wal", wal_on.path / "pg_wal")
        cluster = Cluster(folder, settings, tcp=tcp)
        try:
            await cluster.start()
            yield cluster
        finally:
            cluster.end()


def _move(what: Path, place: Path) -> None:
    """Move a folder, and leave a link to it where it was."""
    subprocess.run(["mv", what, place], check=True)  # keeps whose it is, from one disk to another, too
    what.symlink_to(place)


def _binaries(account: Account) -> Path:
    return choose_binaries(account).folder


@contextmanager
def _folder(account: Account) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cwpg-", dir=roomy()))
    try:
        account.own(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _template(segment_mib: int, *, schema: bool) -> Path:
    """Return data that is ready to be copied: made once in this process, gone with it."""
    account = account_for()
    root = Path(tempfile.mkdtemp(prefix="cwpg-template-", dir=roomy()))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    account.own(root)
    binaries = _binaries(account)
    initdb(binaries, root / "data", account, "--no-sync", "--auth-host=trust", f"--wal-segsize={segment_mib}")
    if segment_mib == _SEGMENT_MIB:
        with (root / "data" / "postgresql.conf").open("a") as conf:
            conf.write("wal_keep_size = 64MB\n")  # for pg_rewind, whose own recovery would recycle it
    if schema:
        with warnings.catch_warnings(), run_server(binaries, root / "data", root) as server:
            warnings.simplefilter("ignore", DeprecationWarning)
            made = subprocess.run(
                [binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", "-", server.url],
                input=schema_sql(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert made.returncode == 0, made.stderr
    return root / "data"


def _run(account: Account, *words: object) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True, text=True, check=False, cwd="/", **account.popen(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
