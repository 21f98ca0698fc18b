"""Drives a peer's adapter: a process that says JSON lines and is told to go by a line (`line`)."""

import asyncio
import json
import secrets
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from tests.bench.frame import Meter, Stage
from tests.bench.frame.meters import metered
from tests.bench.peers.environment import ROOT, peers_python

from chimeway.store.clones import on_database

_DEADLINE_S: Final = 600.0
_LINE: Final = 1 << 24  # a thousand latencies fit into a line


@dataclass(frozen=True, slots=True)
class Adapter:
    """A process that has said that it is ready."""

    process: asyncio.subprocess.Process
    version: str

    def meter(self) -> Meter | None:
        """Begin to count what it uses."""
        return metered(self.process.pid)

    async def goes(self) -> dict[str, Any]:
        """Tell it to go; what it says when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        return await _said(self.process)

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def adapter(name: str, what: str, url: str, **settings: float | str) -> AsyncIterator[Adapter]:
    """Run an adapter until the block ends; ready."""
    words = ["-m", f"tests.bench.peers.{name}_side", what, url, *(f"{k}={v}" for k, v in settings.items())]
    python = await asyncio.to_thread(peers_python)
    process = await asyncio.create_subprocess_exec(
        python, *words, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=_LINE
    )
    try:
        ready = await _said(process)
        yield Adapter(process, str(ready.get("version", "")))
    finally:
        await _end(process)


@asynccontextmanager
async def database(stage: Stage) -> AsyncIterator[str]:
    """Make an empty database on the stage's server; its URL. It is gone with the block."""
    name = f"peer_{secrets.token_hex(6)}"
    await _execute(stage.url, f'create database "{name}"')
    try:
        yield on_database(stage.url, name)
    finally:
        await _execute(stage.url, f'drop database if exists "{name}" with (force)')


async def driven(
    stage: Stage, name: str, what: str, *, workers: int = 1, many: int, settings: Mapping[str, float | str]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Play a work by a peer's worker and by what drives it; what was said, and what a thousand cost."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database(stage))
        at_work = [
            await stack.enter_async_context(adapter(name, "work", url, executor=f"worker-{n}", **settings))
            for n in range(workers)
        ]
        drive = await stack.enter_async_context(adapter(name, what, url, many=many, **settings))
        meters = [each.meter() for each in at_work]
        server = stage.server.meter()
        said = await drive.goes()
        return said, costs(many, meters, server)


async def alone(
    stage: Stage, name: str, *, many: int, settings: Mapping[str, float | str]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Play a peer's jobs: one process inserts them, then works."""
    async with database(stage) as url, adapter(name, "jobs", url, many=many, **settings) as worker:
        meter, server = worker.meter(), stage.server.meter()
        said = await worker.goes()
        return said, costs(many, [meter], server)


def costs(many: int, workers: list[Meter | None], server: Meter | None) -> dict[str, float]:
    """Return CPU seconds per thousand, where they can be counted."""
    told = {}
    if all(workers):
        told["worker CPU"] = sum(each.cpu_s for each in workers if each) / many * 1000
    if server is not None:
        told["PostgreSQL CPU"] = server.cpu_s / many * 1000
    return told


async def _said(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(_DEADLINE_S):
        line = await process.stdout.readline()
    if not line:
        raise ChildProcessError(f"an adapter ended with {await process.wait()} and said nothing")
    said: dict[str, Any] = json.loads(line)
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """End an adapter: its input is over; one that does not mind that is killed."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
