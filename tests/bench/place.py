"""Where benches run: a PostgreSQL of their own, a real daemon, and the settings beside the figures."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from tests.bench.frame.stage import serving

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
    async with serving(url, workflow, app=app, **{"LOG_LEVEL": "warning"} | settings) as node:
        yield node.process


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
