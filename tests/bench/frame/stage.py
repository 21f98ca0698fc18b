"""Where a bench is played: a PostgreSQL with stated settings, databases with the schema, real daemons."""

import asyncio
import os
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import asyncpg

from chimeway.errors import NotPermitted
from chimeway.store import schema
from chimeway.store.clones import on_database
from chimeway.store.embedded import temporary_server
from chimeway.store.makers import Makers
from chimeway.store.pool import connect, open_database
from chimeway.store.pooler import is_pooled

from .meters import Meter, metered
from .plan import Asked

SETTINGS: Final = ("shared_buffers=1GB", "max_wal_size=8GB")
"""What a bench's own server has apart from PostgreSQL's defaults: as a small server for this work would."""
_STATEMENTS: Final = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=all")
_SHOWN: Final = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers",
    "max_wal_size", "checkpoint_timeout", "max_connections", "shared_preload_libraries",
)  # fmt: skip
_NOBODYS: Final = "select exists (select from chimeway.shards where owner is null)"
_DEADLINE_S: Final = 30.0
_PREFIX: Final = "chimeway_bench"
_NUMBERED: Final = re.compile(rf"{_PREFIX}_(\d+)")
_LOCK_CLASS: Final = 0x0C41_BE7C
"""Beside it the number of a database: a session that holds this lock shows that who made it lives."""
_KEPT_VARIABLES: Final = ("CHIMEWAY_POSTGRES_BIN",)
_CHANNELS: Final = ("in_app", "log", "email")
_TEXT: Final = "{% block subject %}Hello{% endblock %}{% block body %}You were mentioned{% endblock %}"


def _silent(text: str) -> None:
    del text


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a stage: the process at its root, where that is on this machine and may be counted."""

    pid: int | None

    def meter(self) -> Meter | None:
        """Begin to count what its whole tree uses, backends that end included."""
        return metered(self.pid)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A node, as a process."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def meter(self) -> Meter | None:
        """Begin to count what it uses."""
        return metered(self.pid)


@dataclass(frozen=True, slots=True)
class Stage:
    """A server to measure on, and what is needed there."""

    url: str
    server: Server
    settings: Mapping[str, str]
    asked: Asked
    template: str
    """The database that others are copied from."""
    say: Callable[[str], None] = field(default=_silent)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Make a database with the schema in it, for one round; its URL. It is gone with the block."""
        async with _made(self.url, f'template "{self.template}"') as name:
            yield on_database(self.url, name)

    def daemon(
        self, url: str, workflow: str | None = None, *, app: str | None = None, **settings: str
    ) -> AbstractAsyncContextManager[Daemon]:
        """Run `chimeway serve` on one of its databases: see `serving`."""
        return serving(url, workflow, app=app, **settings)


@asynccontextmanager
async def serving(
    url: str, workflow: str | None = None, *, app: str | None = None, **settings: str
) -> AsyncIterator[Daemon]:
    """Run `chimeway serve` with a workflow and templates that say the same, or with an app's source.

    Args:
        url: its database.
        workflow: a definition, as YAML; `---` between several.
        app: the source of a module with an `app` in it.
        settings: CHIMEWAY_ variables without their prefix.
    """
    with _folder(workflow, app) as folder:
        env = _without_settings() | {
            "CHIMEWAY_DATABASE_URL": url, "CHIMEWAY_WORKFLOWS_DIR": str(folder), "CHIMEWAY_HTTP_BIND": "",
            "CHIMEWAY_TEMPLATES_DIR": str(folder), "CHIMEWAY_LOG_LEVEL": "error",
            "PYTHONPATH": os.pathsep.join((str(folder), *_paths())),
        } | {f"CHIMEWAY_{name}": value for name, value in settings.items()}  # fmt: skip
        words = ["-m", "chimeway", "serve", *(["--app", "bench_app:app"] if app else [])]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, cwd=folder)
        try:
            await _at_work(url, process)
            yield Daemon(process)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


def cancelled_by_sigterm() -> None:
    """Have SIGTERM cancel the task that calls this, as SIGINT does: servers and nodes must not outlive it."""
    task = asyncio.current_task()
    assert task is not None, "asyncio.run runs us in one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def own_server(
    settings: tuple[str, ...] = SETTINGS, *, statements: bool = False
) -> Callable[[Asked], AbstractAsyncContextManager[Stage]]:
    """Return what begins a server for one bench: durable as PostgreSQL is by default, gone afterwards.

    Args:
        settings: `name=value`, apart from the defaults.
        statements: whether pg_stat_statements counts (it costs some per cent).
    """

    @asynccontextmanager
    async def begun(asked: Asked) -> AsyncIterator[Stage]:
        with temporary_server(settings=(*settings, *(_STATEMENTS if statements else ()))) as running:
            async with _set(running.url, asked) as stage:
                if statements:
                    for name in (None, stage.template):
                        url = stage.url if name is None else on_database(stage.url, name)
                        await _run(url, "create extension if not exists pg_stat_statements")
                yield stage

    return begun


def named_server(url: str) -> Callable[[Asked], AbstractAsyncContextManager[Stage]]:
    """Return what measures on a server that is there: in databases of the bench's own, dropped afterwards."""
    return lambda asked: _set(url, asked)


@asynccontextmanager
async def _set(url: str, asked: Asked) -> AsyncIterator[Stage]:
    """Make a template with the schema and a database by it, and drop both afterwards."""
    await _sweep(url)
    async with _made(url) as template:
        async with open_database(on_database(url, template)) as database:
            await schema.install(database)
        shown, pid = await _look(url)
        base = Stage(url, Server(pid), shown, asked, template)
        async with base.database() as bench:
            yield replace(base, url=bench)


@asynccontextmanager
async def _made(url: str, how: str = "") -> AsyncIterator[str]:
    """Make a database under a name that nobody has; it is dropped afterwards, whoever is still in it.

    Raises:
        NotPermitted: the role may not make databases.
    """
    number = secrets.randbelow(2**31)
    name, lives = f"{_PREFIX}_{number}", await connect(url, "chimeway bench")
    try:  # who is told to end while it is being made may have made it
        try:
            await Makers(lives, _LOCK_CLASS).take(number)  # by chance it is nobody's
            await _run(url, f'create database "{name}" {how}')
        except asyncpg.InsufficientPrivilegeError as fault:
            hint = "give it the right (alter role ... createdb), or measure on a server of your own"
            raise NotPermitted(
                f"a bench works in databases that it makes and drops, and this role may make none: {hint}",
                hint=hint,
            ) from fault
        yield name
    finally:
        try:
            await _run(url, f'drop database if exists "{name}" with (force)')
        finally:
            await lives.close()


async def _sweep(url: str) -> None:
    """Drop what benches have left behind that were killed; through a pooler nobody can tell who lives."""
    connection = await connect(url, "chimeway bench")
    try:
        rows = [] if is_pooled(connection) else await connection.fetch("select datname from pg_database")
        found = filter(None, (_NUMBERED.fullmatch(row["datname"]) for row in rows))
        names = {int(one[1]): one[0] for one in found}
        async for number in Makers(connection, _LOCK_CLASS).dead(names):
            with suppress(asyncpg.InsufficientPrivilegeError):  # of another role: his to drop
                await connection.execute(f'drop database if exists "{names[number]}" with (force)')
    finally:
        await connection.close()


async def _run(url: str, statement: str) -> None:
    connection = await connect(url, "chimeway bench")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _look(url: str) -> tuple[dict[str, str], int | None]:
    """Return the settings on which figures depend, and the server's process if it is one of this machine."""
    connection = await connect(url, "chimeway bench")
    try:
        shown = {}
        for name in _SHOWN:
            shown[name] = str(await connection.fetchval("select current_setting($1, true)", name) or "")
        by_socket = await connection.fetchval("select inet_server_addr() is null")
        return shown, _parent(connection.get_server_pid()) if by_socket else None
    finally:
        await connection.close()


def _without_settings() -> dict[str, str]:
    """Return the environment without what anybody has set for nodes of theirs."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CHIMEWAY_") or name in _KEPT_VARIABLES
    }


def _paths() -> list[str]:
    """Return where Python looks for modules, from whichever folder."""
    return [str(Path(each).absolute()) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]


def _parent(backend: int) -> int | None:
    """Return the postmaster of a backend; None where that number is not a PostgreSQL of ours to see."""
    try:
        about = Path(f"/proc/{backend}")
        if "postgres" not in (about / "cmdline").read_text():
            return None
        return int((about / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


@contextmanager
def _folder(workflow: str | None, app: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if workflow:
            (folder / "bench.yaml").write_text(workflow)
        if app:
            (folder / "bench_app.py").write_text(app)
        for channel in _CHANNELS:
            (folder / f"plain.{channel}.j2").write_text(_TEXT)
        yield folder


async def _at_work(url: str, process: asyncio.subprocess.Process) -> None:
    """Wait until each shard has an owner."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while await connection.fetchval(_NOBODYS):
                if process.returncode is not None:
                    raise ChildProcessError(f"the daemon ended with {process.returncode}")
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
