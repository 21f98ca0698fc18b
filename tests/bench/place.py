"""Where benches run: a PostgreSQL of their own, a real daemon, and the settings beside the figures."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from chimeway.store import schema
from chimeway.store.embedded import temporary_server
from chimeway.store.pool import open_database

_SHOWN = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers",
    "max_wal_size", "max_connections",
)  # fmt: skip


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL with durable settings; its URL."""
    with temporary_server(settings=("shared_buffers=256MB", "max_wal_size=4GB")) as running:
        yield running.url


async def prepare(url: str) -> None:
    """Install the schema, and print what the figures depend on."""
    async with open_database(url) as database:
        await schema.install(database)
        async with database.acquire() as connection:
            shown = [f"{name}={await connection.fetchval(f'show {name}')}" for name in _SHOWN]
    print("  PostgreSQL:", " ".join(shown), f"cores={os.cpu_count()}")


@asynccontextmanager
async def daemon(
    url: str, workflow: str | None = None, app: str | None = None, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `chimeway serve` with a workflow and a template for whatever it says, or with an app's source.

    `settings` are CHIMEWAY_ variables without their prefix.
    """
    with _folder(workflow, app) as folder:
        env = dict(
            os.environ, CHIMEWAY_DATABASE_URL=url, CHIMEWAY_WORKFLOWS_DIR=str(folder),
            CHIMEWAY_TEMPLATES_DIR=str(folder), CHIMEWAY_LOG_LEVEL="warning",
            PYTHONPATH=str(folder),
            **{f"CHIMEWAY_{name}": value for name, value in ({"HTTP_BIND": ""} | settings).items()},
        )  # fmt: skip
        serve = ["-m", "chimeway", "serve", *(["--app", "bench_app:app"] if app else [])]
        process = await asyncio.create_subprocess_exec(sys.executable, *serve, env=env)
        try:
            await _owned(url)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def _folder(workflow: str | None, app: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if workflow:
            (folder / "bench.yaml").write_text(workflow)
        if app:
            (folder / "bench_app.py").write_text(app)
        for channel in ("in_app", "log"):
            (folder / f"plain.{channel}.j2").write_text(
                "{% block subject %}Hello{% endblock %}{% block body %}You were mentioned{% endblock %}"
            )
        yield folder


async def _owned(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(20):
            while not await connection.fetchval("select owner is not null from chimeway.shards"):  # noqa: ASYNC110  (a row is no event)
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
