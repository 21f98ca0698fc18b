"""The printed migration in the hands of others: SQLAlchemy, and so Alembic, and Django."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import sqlalchemy

from chimeway.store.migrations import VERSION, pending
from kit.bare import bare_database
from store.plain_sql import plain

TEXT = "\n".join(step.script("1.2.3") for step in pending(1))


@pytest.fixture
async def old_url(server_url: str) -> AsyncIterator[str]:
    """A database with schema version 1."""
    async with bare_database(server_url, version=1) as url:
        yield url


async def _brought_up(url: str) -> bool:
    async with plain(url) as connection:
        row = await connection.fetchrow(
            "select version, program from chimeway.schema_version order by version desc limit 1"
        )
        roles = await connection.fetchval("select to_regprocedure('chimeway.grant_roles()') is not null")
        return (*row, roles) == (VERSION, "1.2.3", True)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
async def test_alembics_way(old_url: str, driver: str) -> None:
    """Through SQLAlchemy without parameters, inside the transaction that it began."""
    engine = sqlalchemy.create_engine(old_url.replace("postgresql:", f"postgresql+{driver}:"))
    with engine.connect() as connection:
        with connection.begin() as undone:
            connection.exec_driver_sql(TEXT, execution_options={"no_parameters": True})
            undone.rollback()
        assert not await _brought_up_at_all(old_url)
        with connection.begin():
            connection.exec_driver_sql(TEXT, execution_options={"no_parameters": True})
    engine.dispose()
    assert await _brought_up(old_url)


async def _brought_up_at_all(url: str) -> bool:
    async with plain(url) as connection:
        return bool(await connection.fetchval("select max(version) > 1 from chimeway.schema_version"))


DJANGO = """
import sys
from urllib.parse import parse_qs, urlsplit
from django.conf import settings
parts = urlsplit(sys.argv[1])
place = {name: values[0] for name, values in parse_qs(parts.query).items()}
named = {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
         "HOST": place.get("host", parts.hostname), "PORT": place.get("port", parts.port)}
settings.configure(DATABASES={"default": named})
from django.db import connection
from django.db.migrations import RunSQL
from django.db.migrations.state import ProjectState
with connection.schema_editor(atomic=True) as editor:
    RunSQL(sys.stdin.read()).database_forwards("app", editor, ProjectState(), ProjectState())
"""


async def test_djangos_way(old_url: str) -> None:
    """As the text of a RunSQL in a migration that is atomic, as Django's are."""
    done = subprocess.run(  # noqa: ASYNC221  (nothing else waits)
        [sys.executable, "-c", DJANGO, old_url], input=TEXT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert await _brought_up(old_url)
