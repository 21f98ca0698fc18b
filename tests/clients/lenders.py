"""Every kind of connection that a caller may lend, behind one set of plain words.

Each is as odd as its users make theirs: row factories, codecs, loaders, cursor classes. Those with a loop
run on one of their own, so that the same synchronous test plays them all.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import django
import django.db
import psycopg
import sqlalchemy
from django.conf import settings
from psycopg.rows import dict_row
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as async_sqlalchemy

import chimeway
import chimeway.sync


class Lender(Protocol):
    """A caller with a transaction of its own."""

    connection: Any

    def ask(self, verb: str, *, lent: bool = True, **named: Any) -> Any:
        """Call a verb of the client that fits, on the caller's connection."""

    def begin(self) -> None:
        """Begin a transaction, where the kind does not begin by itself."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Roll it back."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Open a savepoint: released at the end, rolled back to on an error, which goes on."""

    def sql(self, text: str) -> None:
        """Run the caller's own SQL in the transaction."""


def _parts(url: str) -> dict[str, Any]:
    """Return where the server is: a socket's folder or a host, its port, user and database."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query))
    return {
        "user": split.username,
        "host": query.get("host", split.hostname),
        "port": int(query.get("port", split.port or 5432)),
        "dbname": split.path.lstrip("/"),
    }


def alchemy_url(url: str, driver: str) -> sqlalchemy.URL:
    """Return the URL as SQLAlchemy writes it."""
    parts = _parts(url)
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        username=parts["user"],
        database=parts["dbname"],
        query={"host": parts["host"], "port": str(parts["port"])},
    )


def _alchemy_async(url: str, driver: str) -> async_sqlalchemy.AsyncEngine:
    parts = _parts(url)
    return async_sqlalchemy.create_async_engine(
        sqlalchemy.URL.create(f"postgresql+{driver}"),
        connect_args={
            "user": parts["user"],
            "host": parts["host"],
            "port": parts["port"],
            ("database" if driver == "asyncpg" else "dbname"): parts["dbname"],
        },
        poolclass=sqlalchemy.NullPool,
    )


class _WithLoop:
    """A client with an event loop, and a connection that lives on it."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._run: Callable[[Coroutine[Any, Any, Any]], Any]
        runner = stack.enter_context(asyncio.Runner())
        self._run = runner.run
        self._exits = AsyncExitStack()
        stack.callback(lambda: self._run(self._exits.aclose()))
        self.client = self.entered(chimeway.Chimeway.connect(url))
        self.connection = self._run(self.open(url))

    def entered(self, context: Any) -> Any:
        return self._run(self._exits.enter_async_context(context))

    async def open(self, url: str) -> Any:
        raise NotImplementedError

    def ask(self, verb: str, *, lent: bool = True, **named: Any) -> Any:
        return self._run(self._ask(verb, lent, named))

    async def _ask(self, verb: str, lent: bool, named: dict[str, Any]) -> Any:
        of = self.client
        if verb.startswith("inbox."):
            of, verb = self.client.inbox(named.pop("recipient")), verb.removeprefix("inbox.")
        if lent:
            named["connection"] = self.connection
        answer = getattr(of, verb)(**named)
        return [each async for each in answer] if inspect.isasyncgen(answer) else await answer

    def _await(self, what: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await what

        return self._run(awaited())

    @contextmanager
    def _inside(self, transaction: Any) -> Iterator[None]:
        self._await(transaction.__aenter__())
        try:
            yield
        except BaseException as error:
            self._await(transaction.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            self._await(transaction.__aexit__(None, None, None))


class Asyncpg(_WithLoop):
    """An asyncpg connection with codecs of the caller's."""

    async def open(self, url: str) -> Any:
        connection = await asyncpg.connect(url, record_class=_OddRecord)
        await _odd_codecs(connection)
        self._exits.push_async_callback(connection.close)
        return connection

    def begin(self) -> None:
        self._transaction = self.connection.transaction()
        self._await(self._transaction.start())

    def commit(self) -> None:
        self._await(self._transaction.commit())

    def rollback(self) -> None:
        self._await(self._transaction.rollback())

    def savepoint(self) -> AbstractContextManager[None]:
        return self._inside(self.connection.transaction())

    def sql(self, text: str) -> None:
        self._await(self.connection.execute(text))


class AsyncpgPooled(Asyncpg):
    """A connection that an asyncpg pool lent."""

    async def open(self, url: str) -> Any:
        pool = await self._exits.enter_async_context(
            asyncpg.create_pool(url, min_size=1, max_size=1, init=_odd_codecs)
        )
        return await self._exits.enter_async_context(pool.acquire())


class _OddRecord(asyncpg.Record):
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int):  # by name the driver's own questions are answered
            return f"odd {super().__getitem__(key)}"
        return super().__getitem__(key)


async def _odd_codecs(connection: Any) -> None:
    for name in ("json", "jsonb", "uuid", "timestamptz", "int4", "bool"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=lambda _: "odd", decoder=lambda _: "odd"
        )


class PsycopgAsync(_WithLoop):
    """A psycopg AsyncConnection that begins by itself, with a row factory of the caller's."""

    autocommit = False

    async def open(self, url: str) -> Any:
        connection = await psycopg.AsyncConnection.connect(
            url, autocommit=self.autocommit, row_factory=dict_row, cursor_factory=psycopg.AsyncClientCursor
        )
        connection.adapters.register_loader("text", _OddLoader)
        self._exits.push_async_callback(connection.close)
        return connection

    def begin(self) -> None:
        if self.autocommit:
            self.sql("begin")

    def commit(self) -> None:
        self._await(self.connection.commit())

    def rollback(self) -> None:
        self._await(self.connection.rollback())

    def savepoint(self) -> AbstractContextManager[None]:
        return self._inside(self.connection.transaction())

    def sql(self, text: str) -> None:
        self._await(self.connection.execute(text))


class PsycopgAsyncAutocommit(PsycopgAsync):
    """The same in autocommit: the caller begins."""

    autocommit = True


class _OddLoader(psycopg.adapt.Loader):
    def load(self, data: Any) -> str:
        return f"odd {bytes(data)!r}"


class AlchemyAsync(_WithLoop):
    """An SQLAlchemy AsyncConnection on asyncpg."""

    driver = "asyncpg"

    async def open(self, url: str) -> Any:
        engine = _alchemy_async(url, self.driver)
        self._exits.push_async_callback(engine.dispose)
        return await self._exits.enter_async_context(engine.connect())

    def begin(self) -> None:
        """It begins by itself."""

    def commit(self) -> None:
        self._await(self.connection.commit())

    def rollback(self) -> None:
        self._await(self.connection.rollback())

    def savepoint(self) -> AbstractContextManager[None]:
        return self._inside(self.connection.begin_nested())

    def sql(self, text: str) -> None:
        self._await(self.connection.execute(sqlalchemy.text(text)))


class AlchemyAsyncPsycopg(AlchemyAsync):
    """An SQLAlchemy AsyncConnection on psycopg."""

    driver = "psycopg"


class AlchemyAsyncSession(AlchemyAsync):
    """An SQLAlchemy AsyncSession on asyncpg."""

    async def open(self, url: str) -> Any:
        engine = _alchemy_async(url, self.driver)
        self._exits.push_async_callback(engine.dispose)
        return await self._exits.enter_async_context(async_sqlalchemy.AsyncSession(engine))


class AlchemyAsyncSessionPsycopg(AlchemyAsyncSession):
    """An SQLAlchemy AsyncSession on psycopg."""

    driver = "psycopg"


class AlchemyAsyncScoped(AlchemyAsync):
    """SQLAlchemy's async_scoped_session."""

    async def open(self, url: str) -> Any:
        engine = _alchemy_async(url, self.driver)
        self._exits.push_async_callback(engine.dispose)
        sessions = async_sqlalchemy.async_sessionmaker(engine)
        scoped = async_sqlalchemy.async_scoped_session(sessions, scopefunc=lambda: 0)
        self._exits.push_async_callback(scoped.remove)
        return scoped


class _NoLoop:
    """A client without an event loop."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._stack = stack
        self.client = stack.enter_context(chimeway.sync.Chimeway.connect(url))
        self.connection = self.open(url)

    def open(self, url: str) -> Any:
        raise NotImplementedError

    def ask(self, verb: str, *, lent: bool = True, **named: Any) -> Any:
        of: Any = self.client
        if verb.startswith("inbox."):
            of, verb = self.client.inbox(named.pop("recipient")), verb.removeprefix("inbox.")
        if lent:
            named["connection"] = self.connection
        answer = getattr(of, verb)(**named)
        return list(answer) if inspect.isgenerator(answer) else answer

    def begin(self) -> None:
        """Most begin by themselves."""

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()


class Psycopg(_NoLoop):
    """A psycopg Connection that begins by itself, with a row factory and cursors of the caller's."""

    autocommit = False

    def open(self, url: str) -> Any:
        connection = psycopg.connect(
            url,
            autocommit=self.autocommit,
            row_factory=dict_row,
            cursor_factory=psycopg.ClientCursor,
            prepare_threshold=0,
        )
        connection.adapters.register_loader("text", _OddLoader)
        self._stack.callback(connection.close)
        return connection

    def savepoint(self) -> AbstractContextManager[None]:
        found: AbstractContextManager[None] = self.connection.transaction()
        return found

    def sql(self, text: str) -> None:
        self.connection.execute(text)


class PsycopgAutocommit(Psycopg):
    """The same in autocommit: the caller begins."""

    autocommit = True

    def begin(self) -> None:
        self.sql("begin")


class Alchemy(_NoLoop):
    """An SQLAlchemy Connection on psycopg."""

    driver = "psycopg"

    def _engine(self, url: str) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(alchemy_url(url, self.driver), poolclass=sqlalchemy.NullPool)
        self._stack.callback(engine.dispose)
        return engine

    def open(self, url: str) -> Any:
        return self._stack.enter_context(self._engine(url).connect())

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with self.connection.begin_nested():
            yield

    def sql(self, text: str) -> None:
        self.connection.execute(sqlalchemy.text(text))


class AlchemyPsycopg2(Alchemy):
    """An SQLAlchemy Connection on psycopg2."""

    driver = "psycopg2"


class AlchemySession(Alchemy):
    """An SQLAlchemy Session on psycopg."""

    def open(self, url: str) -> Any:
        return self._stack.enter_context(orm.Session(self._engine(url)))


class AlchemySessionPsycopg2(AlchemySession):
    """An SQLAlchemy Session on psycopg2."""

    driver = "psycopg2"


class AlchemyScoped(Alchemy):
    """SQLAlchemy's scoped_session, as Flask's users have it."""

    def open(self, url: str) -> Any:
        scoped = orm.scoped_session(orm.sessionmaker(self._engine(url)))
        self._stack.callback(scoped.remove)
        return scoped


class Django(_NoLoop):
    """Django's `connection`, in `atomic`."""

    def open(self, url: str) -> Any:
        parts = _parts(url)
        if not settings.configured:
            settings.configure(
                DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}}
            )
            django.setup()
        connection = django.db.connection
        connection.close()
        connection.settings_dict.update(
            NAME=parts["dbname"], USER=parts["user"], HOST=parts["host"], PORT=str(parts["port"])
        )
        self._stack.callback(connection.close)
        return connection

    def begin(self) -> None:
        self._atomic = django.db.transaction.atomic()
        self._atomic.__enter__()

    def commit(self) -> None:
        self._atomic.__exit__(None, None, None)

    def rollback(self) -> None:
        django.db.transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)

    def savepoint(self) -> AbstractContextManager[None]:
        found: AbstractContextManager[None] = django.db.transaction.atomic()
        return found

    def sql(self, text: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(text)


LENDERS: dict[str, type[_WithLoop] | type[_NoLoop]] = {
    "asyncpg": Asyncpg,
    "asyncpg pool": AsyncpgPooled,
    "psycopg async": PsycopgAsync,
    "psycopg async autocommit": PsycopgAsyncAutocommit,
    "SQLAlchemy async on asyncpg": AlchemyAsync,
    "SQLAlchemy async on psycopg": AlchemyAsyncPsycopg,
    "SQLAlchemy AsyncSession on asyncpg": AlchemyAsyncSession,
    "SQLAlchemy AsyncSession on psycopg": AlchemyAsyncSessionPsycopg,
    "SQLAlchemy async_scoped_session": AlchemyAsyncScoped,
    "psycopg": Psycopg,
    "psycopg autocommit": PsycopgAutocommit,
    "SQLAlchemy on psycopg": Alchemy,
    "SQLAlchemy on psycopg2": AlchemyPsycopg2,
    "SQLAlchemy Session on psycopg": AlchemySession,
    "SQLAlchemy Session on psycopg2": AlchemySessionPsycopg2,
    "SQLAlchemy scoped_session": AlchemyScoped,
    "Django": Django,
}


@contextmanager
def lender(kind: str, url: str) -> Iterator[Lender]:
    """Open a caller of this kind on a database, and close all that it opened."""
    with ExitStack() as stack:
        opened: Any = LENDERS[kind](url, stack)
        yield opened
