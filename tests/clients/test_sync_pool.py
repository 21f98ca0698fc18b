"""The pool of the client without a loop: threads, forks, restarts, a server that says nothing."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import chimeway.sync
from chimeway import Chimeway, DatabaseUnavailable, InvalidInput, Notify, Workflow
from chimeway.store import sync_pool
from chimeway.store.sync_pool import SyncDatabase
from kit.waiting import DEADLINE_S

HELLO = Workflow(key="hello", version=1, steps=[Notify("greet", channel="in_app", render_key="hello")])
OURS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = %s"


@pytest.fixture
def admin(database_url: str) -> Iterator["psycopg.Connection[tuple[int]]"]:
    """A connection of somebody else."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def _count(admin: "psycopg.Connection[tuple[int]]", name: str = "chimeway-client") -> int:
    row = admin.execute(OURS, (name,)).fetchone()
    assert row is not None
    return row[0]


def _come_to(admin: "psycopg.Connection[tuple[int]]", many: int) -> None:
    """Wait until the server has seen that connections were closed."""
    end = time.monotonic() + DEADLINE_S
    while _count(admin) != many:
        assert time.monotonic() < end, f"{_count(admin)} connections, not {many}"
        time.sleep(0.01)


def _end_all(admin: "psycopg.Connection[tuple[int]]") -> None:
    admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and application_name = 'chimeway-client'"
    )


def test_threads_share_it(database_url: str, admin: "psycopg.Connection[tuple[int]]") -> None:
    """Sixteen threads trigger and signal through four connections, and every call is there."""
    with chimeway.sync.Chimeway.connect(database_url, pool_size=4) as client:

        def work(number: int) -> bool:
            receipt = client.trigger(HELLO, recipients=f"u{number % 16}", idempotency_key=f"k{number // 2}")
            client.signal("read", actor=f"u{number}")
            return receipt.duplicate

        with ThreadPoolExecutor(16) as threads:
            known = list(threads.map(lambda number: work(number - number % 2), range(64)))
        assert _count(admin) <= 4
        assert known.count(False) == 32
        assert len(client.list_runs(limit=100)) == 32
    _come_to(admin, 0)


def test_nothing_is_opened_before_it_is_needed(
    database_url: str, admin: "psycopg.Connection[tuple[int]]"
) -> None:
    """`connect` alone opens nothing, so a module may make its client at import; `with` reaches out."""
    client = chimeway.sync.Chimeway.connect(database_url)
    assert _count(admin) == 0
    with client:
        assert _count(admin) == 1
    nowhere = chimeway.sync.Chimeway.connect("postgresql://ada@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"), nowhere:
        raise AssertionError("it was reached")
    nowhere.close()
    with pytest.raises(InvalidInput, match="'colour' is not understood"):
        chimeway.sync.Chimeway.connect("postgresql://db/app?colour=red")


def test_a_restart_of_the_server_costs_no_call(
    database_url: str, admin: "psycopg.Connection[tuple[int]]"
) -> None:
    """Connections that the server has ended are noticed before one is used; the next call connects again."""
    with chimeway.sync.Chimeway.connect(database_url, pool_size=3) as client:
        barrier = threading.Barrier(3, timeout=20)

        def busy() -> None:
            with client.database.lend():
                barrier.wait()

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: busy(), range(3)))
        assert _count(admin) == 3
        _end_all(admin)
        for _ in range(4):
            assert client.signal("read", actor="a")
        assert _count(admin) == 1


def test_a_connection_lost_under_a_statement_is_an_error_and_no_more(
    database_url: str, admin: "psycopg.Connection[tuple[int]]"
) -> None:
    """A call whose connection dies says so; nothing is repeated in secret, and the next call works."""
    with chimeway.sync.Chimeway.connect(database_url, pool_size=1) as client:
        with client.database.lend() as own:
            _end_all(admin)
            with pytest.raises(psycopg.OperationalError):
                own.execute("select 1")
        assert client.signal("read", actor="a")


def test_a_forked_child_has_connections_of_its_own(
    database_url: str, admin: "psycopg.Connection[tuple[int]]"
) -> None:
    """A client made before a fork serves parent and child; the child ends nothing of the parent's."""
    with chimeway.sync.Chimeway.connect(database_url, pool_size=2) as client:
        client.signal("read", actor="parent")
        with client.database.lend():  # one is in use while it forks, and one may be idle
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    client.signal("read", actor="child")
                    client.close()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
        client.signal("read", actor="parent")
        _come_to(admin, 1)
    row = admin.execute("select array_agg(actor_id order by arrival) from chimeway.signals").fetchone()
    assert row is not None
    assert list(row[0]) == ["parent", "child", "parent"]  # type: ignore[call-overload]  # an array


def test_a_full_pool_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long for a connection is told what to do; who waits less gets it."""
    monkeypatch.setattr(sync_pool, "_LEND_TIMEOUT_S", 0.05)
    with chimeway.sync.Chimeway.connect(database_url, pool_size=1) as client:
        with client.database.lend(), pytest.raises(DatabaseUnavailable) as caught:
            client.signal("read", actor="a")
        assert caught.value.message == (
            "all 1 connections were in use for 0.05 s: open the client with a larger pool_size, or keep "
            "transactions shorter"
        )
        assert client.signal("read", actor="a")


def test_a_closed_client_says_so(database_url: str, admin: "psycopg.Connection[tuple[int]]") -> None:
    """After close nothing is lent; a connection in use then is closed when it comes back."""
    client = chimeway.sync.Chimeway.connect(database_url)
    with client.database.lend():
        client.close()
        client.close()
        with pytest.raises(DatabaseUnavailable, match="the client is closed"):
            client.signal("read", actor="a")
    _come_to(admin, 0)


def test_a_server_that_says_nothing_is_given_up(
    database_url: str, admin: "psycopg.Connection[tuple[int]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that gets no answer in time is cancelled, and the call is database_unavailable."""
    admin.execute("create table busy (id int)")
    with chimeway.sync.Chimeway.connect(database_url, pool_size=1) as client:
        with admin.transaction():
            admin.execute("lock table chimeway.signals in access exclusive mode")
            monkeypatch.setattr(sync_pool, "_COMMAND_TIMEOUT_S", 0.3)
            with pytest.raises(DatabaseUnavailable, match=r"no answer within 0\.3 s"):
                client.signal("read", actor="a")
        monkeypatch.setattr(sync_pool, "_COMMAND_TIMEOUT_S", 60.0)
        client.signal("read", actor="b")
        row = admin.execute("select count(*) from chimeway.signals").fetchone()
        assert row == (1,)


def test_a_host_that_lets_nobody_in_is_given_up(database_url: str) -> None:
    """A host that takes the connection and says nothing costs its connect_timeout, not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = chimeway.sync.Chimeway.connect(f"postgresql://ada@127.0.0.1:{port}/x?connect_timeout=2")
        with pytest.raises(DatabaseUnavailable, match="timeout"):
            client.list_runs()
        client.close()


async def test_several_hosts_are_each_given_their_time(database_url: str) -> None:
    """Both clients pass by a host that says nothing, and one that refuses, and find the one that answers."""
    user = database_url.partition("://")[2].partition("@")[0].partition(":")[0]
    name = database_url.partition("?")[0].rpartition("/")[2]
    parts = dict(pair.split("=") for pair in database_url.partition("?")[2].split("&"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = (
            f"postgresql://{user}@/{name}?host=127.0.0.1,127.0.0.1,{parts['host']}&port={port},1,{parts['port']}"
            "&connect_timeout=2&target_session_attrs=read-write"
        )

        async def with_a_loop() -> None:
            async with Chimeway.connect(url, pool_size=1) as client:
                assert await client.signal("read", actor="a")

        def without() -> None:
            with chimeway.sync.Chimeway.connect(url, pool_size=1) as client:
                assert client.signal("read", actor="a")

        await asyncio.gather(with_a_loop(), asyncio.to_thread(without))


@pytest.mark.parametrize("wanted", ["standby", "read-only"])
async def test_a_server_that_is_not_what_is_wanted_is_unavailable(wanted: str, database_url: str) -> None:
    """Where no host is what target_session_attrs wants, both clients say database_unavailable."""
    url = f"{database_url}&target_session_attrs={wanted}"
    with pytest.raises(DatabaseUnavailable):
        async with Chimeway.connect(url):
            raise AssertionError("it was taken")
    with pytest.raises(DatabaseUnavailable), chimeway.sync.Chimeway.connect(url):
        raise AssertionError("it was taken")


async def test_prefer_standby_takes_a_primary_where_there_is_no_other(database_url: str) -> None:
    """`prefer-standby` is a wish in both clients."""
    url = f"{database_url}&target_session_attrs=prefer-standby"
    async with Chimeway.connect(url) as client:
        assert await client.signal("read", actor="a")
    with chimeway.sync.Chimeway.connect(url) as without:
        assert without.signal("read", actor="a")


def test_a_strict_database_is_asked_again(database_url: str, admin: "psycopg.Connection[tuple[int]]") -> None:
    """Where the database defaults to a strict isolation, ours is read committed and repeats are answered."""
    name = admin.info.dbname
    admin.execute(f"alter database \"{name}\" set default_transaction_isolation = 'serializable'")
    with chimeway.sync.Chimeway.connect(database_url) as client, ThreadPoolExecutor(8) as threads:
        client.register(HELLO)
        asked = [
            threads.submit(client.trigger, "hello", recipients="a", idempotency_key="k") for _ in range(8)
        ]
        receipts = [each.result() for each in asked]
    assert len({receipt.run_ids for receipt in receipts}) == 1
    assert [receipt.duplicate for receipt in receipts].count(False) == 1


async def test_the_wrong_name_and_no_schema_are_told_apart(server_url: str, database_url: str) -> None:
    """A database that is not there, and one without our schema, say so as the other client does."""
    nowhere = database_url.replace("?", "_none?", 1)
    told = []
    with pytest.raises(DatabaseUnavailable) as caught, chimeway.sync.Chimeway.connect(nowhere):
        raise AssertionError("it was reached")
    told.append(caught.value.message)
    with pytest.raises(DatabaseUnavailable) as caught:
        async with Chimeway.connect(nowhere):
            raise AssertionError("it was reached")
    told.append(caught.value.message)
    assert told[0] == told[1]
    assert told[0].startswith("the database lets nobody in (database ")
    with (
        chimeway.sync.Chimeway.connect(server_url) as empty,
        pytest.raises(chimeway.SchemaMismatch, match="no chimeway schema that fits") as caught,
    ):
        empty.list_runs()
    assert caught.value.details["hint"] == "install it: chimeway db init"


def test_the_newest_client_serves_the_seeds_forms(database_url: str) -> None:
    """`Signal.track` and `Trigger.trigger` use the client opened last; without one they say what to open."""
    with pytest.raises(DatabaseUnavailable, match="no client is open in this process"):
        chimeway.sync.Signal.track("a", "org", "read")
    with chimeway.sync.Chimeway.connect(database_url) as client:
        receipt = chimeway.sync.Trigger.trigger(
            HELLO, {"actor_id": "ada", "tenant_id": "org", "document_id": "d"}, tenant_id="org"
        )
        assert client.get_run(receipt.run_ids[0], tenant="org").recipient_id == "ada"
        assert chimeway.sync.Signal.track("ada", "org", "read", {"document_id": "d"})
        bound = client.for_tenant("org")
        assert len(bound.list_runs()) == 1
        assert len(client.list_runs()) == 0


def test_an_unread_url_is_refused_before_anything(database_url: str) -> None:
    """A pool is not even made for a URL that is none."""
    with pytest.raises(InvalidInput, match="must begin with postgresql://"):
        SyncDatabase("mysql://db/app")
