"""Which connections are taken, how the others are refused, and that nobody's package is imported for it."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import chimeway.sync
from chimeway import Chimeway, DatabaseUnavailable, Notify, Workflow
from clients.lenders import LENDERS, Alchemy, Django, alchemy_url, lender
from store.plain_sql import contents, plain

OTHER = Workflow(key="other", version=1, steps=[Notify("n", channel="in_app", render_key="r")])
ASYNC_LIST = (
    "supported: an asyncpg connection (asyncpg.Connection, or one that an asyncpg pool lent), a psycopg "
    "AsyncConnection, an SQLAlchemy AsyncConnection or AsyncSession (on asyncpg or psycopg)"
)
SYNC_LIST = (
    "supported: a psycopg Connection (psycopg 3), an SQLAlchemy Connection or Session (on psycopg or "
    "psycopg2), Django's connection (PostgreSQL)"
)


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Chimeway]:
    """A client with an event loop."""
    async with Chimeway.connect(database_url) as opened:
        yield opened


async def test_the_client_with_a_loop_refuses_what_it_cannot_use(client: Chimeway, database_url: str) -> None:
    """Anything else is a TypeError that lists what is taken; nothing is registered or written first."""
    sqlite = sqlalchemy.create_engine("sqlite://")
    on_psycopg = sqlalchemy.create_engine(alchemy_url(database_url, "psycopg"))
    async_engine = create_async_engine(alchemy_url(database_url, "asyncpg"))
    with (
        psycopg.connect(database_url) as by_psycopg,
        on_psycopg.connect() as alchemy,
        sqlite.connect() as lite,
    ):
        sync = ", which is synchronous: give it to chimeway.sync.Chimeway; "
        cases: list[tuple[Any, str]] = [
            (object(), "connection= is a builtins.object; "),
            (7, "connection= is a builtins.int; "),
            (database_url, "connection= is a builtins.str; "),
            (client, "connection= is a chimeway.client.chimeway.Chimeway; "),
            (async_engine, "connection= is a sqlalchemy.ext.asyncio.engine.AsyncEngine; "),
            (by_psycopg, f"connection= is a psycopg.Connection{sync}"),
            (alchemy, f"connection= is a sqlalchemy.engine.base.Connection{sync}"),
            (lite, f"connection= is a sqlalchemy.engine.base.Connection{sync}"),
        ]
        async with plain(database_url) as sql:
            before = await contents(sql)
            for given, words in cases:
                for call in (
                    client.trigger(OTHER, recipients="a", connection=given),
                    client.signal("read", actor="a", connection=given),
                    client.list_runs(connection=given),
                ):
                    with pytest.raises(TypeError) as caught:
                        await call
                    assert str(caught.value) == words + ASYNC_LIST
            assert await contents(sql) == before
    on_psycopg.dispose()
    await async_engine.dispose()
    sqlite.dispose()


def test_the_client_without_a_loop_refuses_what_it_cannot_use(database_url: str) -> None:
    """The same without a loop; psycopg2's own connection, and another database's, are refused by name."""
    sqlite = sqlalchemy.create_engine("sqlite://")
    engine = sqlalchemy.create_engine(alchemy_url(database_url, "psycopg"))
    by_psycopg2 = psycopg2.connect(database_url)
    with (
        chimeway.sync.Chimeway.connect(database_url) as client,
        lender("asyncpg", database_url) as with_loop,
        lender("SQLAlchemy AsyncSession on psycopg", database_url) as session,
        sqlite.connect() as lite,
    ):
        loop = ", which needs an event loop: give it to chimeway.Chimeway; "
        cases: list[tuple[Any, str]] = [
            (object(), "connection= is a builtins.object; "),
            (engine, "connection= is a sqlalchemy.engine.base.Engine; "),
            (by_psycopg2, "connection= is a psycopg2.extensions.connection; "),
            (lite, "connection= is a sqlalchemy.engine.base.Connection on sqlite+pysqlite; "),
            (with_loop.connection, f"connection= is a asyncpg.connection.Connection{loop}"),
            (session.connection, f"connection= is a sqlalchemy.ext.asyncio.session.AsyncSession{loop}"),
        ]
        for given, words in cases:
            with pytest.raises(TypeError) as caught:
                client.trigger(OTHER, recipients="a", connection=given)
            assert str(caught.value) == words + SYNC_LIST
        assert len(client.list_runs()) == 0
        with pytest.raises(chimeway.UnknownWorkflow):
            client.trigger("other", recipients="a")
    by_psycopg2.close()
    engine.dispose()
    sqlite.dispose()


@pytest.mark.parametrize(
    "option", [{"stream_results": True}, {"yield_per": 10}, {"isolation_level": "AUTOCOMMIT"}]
)
def test_options_of_an_sqlalchemy_connection_do_not_matter(option: dict[str, Any], database_url: str) -> None:
    """Streaming cursors and autocommit are the caller's; the verbs work all the same."""
    with ExitStack() as stack:
        caller = Alchemy(database_url, stack)
        caller.connection.execution_options(**option)
        receipt = caller.ask("trigger", workflow=OTHER, recipients=["a", "b"])
        assert len(receipt.run_ids) == 2
        assert len(caller.ask("list_runs")) == 2


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg async", "psycopg", "Django"])
def test_a_closed_connection_is_unavailable(kind: str, database_url: str) -> None:
    """A connection whose server has gone is database_unavailable, in the driver's own words."""
    with lender(kind, database_url) as caller:
        caller.sql("select 1")
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
                " and application_name <> 'chimeway-client'"
            )
        with pytest.raises(DatabaseUnavailable) as caught:
            caller.ask("signal", signal_type="read", actor="a")
        assert caught.value.code == "database_unavailable"


def test_lending_imports_nobodys_package(database_url: str) -> None:
    """A client with a loop imports neither psycopg nor SQLAlchemy nor Django; one without, not those two."""
    look = "print(sorted({'psycopg', 'psycopg2', 'sqlalchemy', 'django'} & set(sys.modules)))"
    asked = (
        "import sys, asyncio, asyncpg, chimeway\n"
        "async def main():\n"
        "    async with chimeway.Chimeway.connect(sys.argv[1]) as client:\n"
        "        lent = await asyncpg.connect(sys.argv[1])\n"
        "        await client.signal('read', actor='a', connection=lent)\n"
        "        await lent.close()\n"
        "        try:\n"
        "            await client.signal('read', actor='a', connection=object())\n"
        "        except TypeError:\n"
        "            pass\n"
        f"asyncio.run(main()); {look}"
    )
    without = (
        "import sys; from chimeway.sync import Chimeway\n"
        "with Chimeway.connect(sys.argv[1]) as client:\n"
        "    client.signal('read', actor='a')\n"
        f"{look}"
    )
    for code, expected in ((asked, "[]"), (without, "['psycopg']")):
        done = subprocess.run(
            [sys.executable, "-c", code, database_url], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_django_on_psycopg2(database_url: str) -> None:
    """Django's connection on psycopg2 shows what it shows on psycopg 3 (a process takes one of them)."""
    code = (
        "import sys\n"
        "sys.path[:0] = sys.argv[2:]\n"
        "sys.modules['psycopg'] = None\n"
        "import django.db.backends.postgresql.psycopg_any as chosen\n"
        "assert not chosen.is_psycopg3\n"
        "import django.db.backends.postgresql.base\n"
        "del sys.modules['psycopg']\n"
        "from clients.lenders import lender\n"
        "from clients.play import PLAYS, Bystander\n"
        "with Bystander(sys.argv[1]) as other, lender('Django', sys.argv[1]) as caller:\n"
        "    for play in PLAYS:\n"
        "        play(caller, other)\n"
        "    print(type(caller.connection.connection).__module__)\n"
    )
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", code, database_url, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "psycopg2.extensions"


def test_the_kinds_are_those_that_are_promised() -> None:
    """Each kind that the messages list is played."""
    assert len(LENDERS) == 17
    assert Django in LENDERS.values()
