"""Bad input from programs: either client refuses it by name, in the same words, and nothing is written."""

import inspect
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import psycopg
import pytest

from borders.counted import rows_of_all_tables
from borders.golden import compare
from borders.python_cases import Case, cases
from chimeway import Chimeway, ChimewayError
from chimeway.sync import Chimeway as SyncChimeway
from store.plain_sql import MENTION, plain

PATIENCE_S = 3.0
"""What no refusal may take: on a machine that others use too, far more than it does take."""
LENT = frozenset(
    {"trigger", "trigger_many", "signal", "signal_many", "identify", "cancel", "inbox.mark_read"}
)
ENDS_A_TRANSACTION = [
    "trigger: unknown workflow",
    "trigger: a version that is not registered",
    "trigger: idempotency_key used for another trigger",
    "trigger: at in eleven years",
    "cancel: an unknown run",
    "trigger_many: the database refuses the second",
]
"""What only the database can know."""


@pytest.fixture(params=["async", "sync"])
async def client(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Any]:
    """Each client on this test's database, where one workflow is registered and one key is taken."""
    async with Chimeway.connect(database_url) as chimeway:
        await chimeway.register(MENTION)
        await chimeway.trigger("mention_escalation", recipients="a", idempotency_key="taken")
        if request.param == "async":
            yield chimeway
            return
    with SyncChimeway.connect(database_url) as twin:
        yield twin


async def _told(client: Any, case: Case, **lent: Any) -> str:
    """Return the whole error text."""
    on, _, verb = case.verb.rpartition(".")
    asked = getattr(client.inbox("a") if on else client, verb)
    began = time.process_time()
    try:
        got = asked(**case.arguments, **lent)
        got = await got if inspect.isawaitable(got) else got
    except (ChimewayError, TypeError) as fault:
        assert time.process_time() - began < PATIENCE_S, case.name
        return str(fault) if isinstance(fault, ChimewayError) else f"TypeError: {fault}"
    raise AssertionError(f"{case.name} was taken: {got!r}")


def test_each_case_has_a_name_of_its_own() -> None:
    """A case that bears another's name would hide it."""
    assert len({case.name for case in cases()}) == len(cases()) >= 100


async def test_bad_input_is_named_and_writes_nothing(client: Any, database_url: str) -> None:
    """Every fault is told in one whole text, the same by both clients, and no table changes in size."""
    told: dict[str, str] = {}
    async with plain(database_url) as counter:
        for case in cases():
            before = await rows_of_all_tables(counter)
            told[case.name] = await _told(client, case)
            assert await rows_of_all_tables(counter) == before, case.name
    compare("python", told)


class _Lent:
    """A caller's transaction, on the driver that the client works with."""

    def __init__(self, client: Any, url: str) -> None:
        self._is_sync = isinstance(client, SyncChimeway)
        self._url = url

    async def __aenter__(self) -> Any:
        self.connection: Any = (
            psycopg.connect(self._url) if self._is_sync else await asyncpg.connect(self._url)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        closed = self.connection.close()
        if inspect.isawaitable(closed):
            await closed

    async def say(self, sql: str) -> None:
        said = self.connection.execute(sql)
        if inspect.isawaitable(said):
            await said


@contextmanager
def _noted_as_failed(failed: list[str], name: str) -> Iterator[None]:
    try:
        yield
    except (asyncpg.InFailedSQLTransactionError, psycopg.errors.InFailedSqlTransaction):
        failed.append(name)


async def test_a_lent_transaction_goes_on_unless_the_database_refused(client: Any, database_url: str) -> None:
    """What is refused before any SQL leaves it as it was; what PostgreSQL refused it has ended."""
    failed: list[str] = []
    async with plain(database_url) as counter, _Lent(client, database_url) as lent:
        before = await rows_of_all_tables(counter)
        for case in (case for case in cases() if case.verb in LENT):
            await lent.say(
                "begin" if isinstance(client, Chimeway) else "select 1"
            )  # psycopg begins by itself
            await _told(client, case, connection=lent.connection)
            with _noted_as_failed(failed, case.name):
                await lent.say("select 1")
            await lent.say("rollback")
        assert await rows_of_all_tables(counter) == before
    assert failed == ENDS_A_TRANSACTION


_DSNS: dict[str, Any] = {
    "empty": "",
    "a number": 7,
    "another scheme": "mysql://ada:hunter2@127.0.0.1/x",
    "words of libpq": "host=127.0.0.1 password=hunter2",
    "a port that is none": "postgresql://ada:hunter2@127.0.0.1:port/x",
    "a port beyond all": "postgresql://ada:hunter2@127.0.0.1:99999/x",
    "a password with a slash": "postgresql://ada:hunter2/hunter2@127.0.0.1/x",
    "a password with an at sign": "postgresql://ada:hunter2@hunter2@127.0.0.1/x",
    "NUL in the name": "postgresql://ada:hunter2@127.0.0.1:1/x\0y",
    "a lone surrogate": "postgresql://ada:hunter2@127.0.0.1:1/\ud800",
    "nobody listens": "postgresql://ada:hunter2@127.0.0.1:1/x",
    "an sslmode that is none": "postgresql://ada:hunter2@127.0.0.1:1/x?sslmode=maybe",
    "a parameter that is none": "postgresql://ada:hunter2@127.0.0.1:1/x?sslmod=require",
    "no such socket": "postgresql:///x?host=/nowhere/at/all",
}
_ANSWERS_OF_THE_DRIVER = ("nobody listens", "no such socket")


async def test_what_a_dsn_may_get_wrong() -> None:
    """A dsn that cannot be read, or where nobody is, is our error from either client, without a password."""
    told: dict[str, str] = {}
    for name, dsn in _DSNS.items():
        with pytest.raises(ChimewayError) as caught:
            async with Chimeway.connect(dsn):
                pass
        told[name] = str(caught.value)
        with pytest.raises(ChimewayError) as twin, SyncChimeway.connect(dsn) as client:
            client.list_runs()
        assert type(twin.value) is type(caught.value)
        assert name in _ANSWERS_OF_THE_DRIVER or str(twin.value) == told[name]
        assert "hunter2" not in f"{told[name]} {twin.value}"
    compare("python_dsn", told)


async def test_which_of_two_dsns_is_wrong_is_said() -> None:
    """A way past the pooler that cannot be read is named, and not taken for the other."""
    for wrong in ("", "mysql://ada:hunter2@127.0.0.1/x", "postgresql://ada:hunter2@127.0.0.1:port/x"):
        with pytest.raises(ChimewayError, match=r"^invalid_input: direct_dsn cannot be used: ") as caught:
            async with Chimeway.connect("postgresql://127.0.0.1:1/x", direct_dsn=wrong):
                pass
        assert caught.value.details["field"] == "direct_dsn"
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("size", [0, -1, True, "8", None, 10**9])
async def test_a_pool_of_no_size_is_refused(size: Any) -> None:
    """A number of connections that is none is named by both clients before anything is opened."""
    for opened in (Chimeway.connect, SyncChimeway.connect):
        with pytest.raises(
            ChimewayError, match=r"^invalid_input: pool_size is .*: give a whole number from 1"
        ):
            async with opened("postgresql://127.0.0.1:1/x", pool_size=size):  # type: ignore[attr-defined]
                pass
