"""A real PostgreSQL for the tests: one server a run, a database a test, cloned from a template.

The pytest controller starts the server; xdist's workers get its URL. CHIMEWAY_TEST_DATABASE_URL
names another server, CHIMEWAY_POSTGRES_BIN other binaries.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from chimeway.store.embedded import temporary_server
from chimeway.store.pool import Database, open_database
from chimeway.store.schema import TEST_CLOCK, schema_sql

_server = ExitStack()
_SKIPS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--ci-skips FILE`: a skip whose test is not named in FILE fails the run."""
    parser.addoption("--ci-skips", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Start the server once, in the process that starts the workers."""
    config.stash[_SKIPS] = []
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if "CHIMEWAY_TEST_DATABASE_URL" not in os.environ:
        settings = ("max_connections=300", "shared_buffers=256MB")
        server = _server.enter_context(temporary_server(settings=settings))
        os.environ["CHIMEWAY_TEST_DATABASE_URL"] = server.url


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server."""
    _server.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skips, for `--ci-skips`."""
    if report.skipped:
        _skipped.append(report.nodeid)


_skipped: list[str] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail on a skip that is not allowed."""
    allowed_file = session.config.getoption("--ci-skips")
    if allowed_file is None or hasattr(session.config, "workerinput"):
        return
    allowed = set(Path(allowed_file).read_text().split())
    wrong = [name for name in _skipped if name not in allowed]
    if wrong:
        print("\nskipped, and not in", allowed_file, *wrong, sep="\n  ")
        session.exitstatus = 1


def named(url: str, database: str) -> str:
    """Return `url` with another database name."""
    parts = urlsplit(url)
    text = urlunsplit(parts._replace(path=f"/{database}"))
    if not parts.netloc.rpartition("@")[2]:  # urlunsplit drops an empty host's slashes
        text = text.replace(f"{parts.scheme}:///", f"{parts.scheme}://{parts.netloc}/")
    return text


@pytest.fixture(scope="session")
def server_url() -> str:
    """The URL of the server's own database."""
    return os.environ["CHIMEWAY_TEST_DATABASE_URL"]


async def _template(server_url: str, name: str, *, clock: bool) -> None:
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f'create database "{name}"')
    finally:
        await admin.close()
    connection = await asyncpg.connect(named(server_url, name))
    try:
        await connection.execute(schema_sql() + (TEST_CLOCK if clock else ""))
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def templates(server_url: str) -> dict[bool, str]:
    """Two templates of this worker: with the real clock, and with one that tests move."""
    names = {clock: f"cw_template_{uuid.uuid4().hex[:8]}" for clock in (False, True)}
    for clock, name in names.items():
        asyncio.run(_template(server_url, name, clock=clock))
    return names


async def _clone(server_url: str, template: str) -> str:
    name = f"cw_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f'create database "{name}" template "{template}"')
    finally:
        await admin.close()
    return name


async def _drop(server_url: str, name: str) -> None:
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f'drop database "{name}" with (force)')
    finally:
        await admin.close()


@pytest.fixture
async def database_url(server_url: str, templates: dict[bool, str]) -> AsyncIterator[str]:
    """A database of this test alone, on the real clock."""
    name = await _clone(server_url, templates[False])
    yield named(server_url, name)
    await _drop(server_url, name)


@pytest.fixture
async def clock_database_url(server_url: str, templates: dict[bool, str]) -> AsyncIterator[str]:
    """A database of this test alone, whose clock stands in chimeway.test_clock."""
    name = await _clone(server_url, templates[True])
    yield named(server_url, name)
    await _drop(server_url, name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open pool on this test's database."""
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
async def clock_database(clock_database_url: str) -> AsyncIterator[Database]:
    """An open pool on this test's database with the movable clock."""
    async with open_database(clock_database_url) as opened:
        yield opened
