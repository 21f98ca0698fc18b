"""The line that hears hints: a connection that has died under it is a deaf line, and no fault of ours."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from chimeway.store.hints import HintLine
from chimeway.store.pool import Connection


@pytest.mark.parametrize(
    "told",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError("by peer"),
    ],
    ids=["the driver is confused", "closed", "reset"],
)
async def test_a_line_that_cannot_ask_is_deaf(
    told: Exception, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the driver says when it cannot carry the probe: the answer is no, and nothing is raised.

    (Its own confusion comes when the connection ends while a statement is being prepared: seen in a
    fault run, where it ended a node.)
    """
    line = await HintLine.open(database_url, "test listener", uuid4(), lambda: None)
    try:
        assert await line.probe(10.0)

        async def fails(*_: object) -> None:
            raise told

        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "execute", fails)
            assert not await line.probe(10.0)
            async with asyncio.timeout(10.0):
                assert not await line.stay()
    finally:
        await line.close()


async def test_a_line_that_ends_badly_is_ended(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be closed as it should is cut off."""
    line = await HintLine.open(database_url, "test listener", uuid4(), lambda: None)
    connection: Connection = line._connection

    async def fails(*_: object, **__: object) -> None:
        raise asyncpg.InternalClientError("confused")

    monkeypatch.setattr(asyncpg.Connection, "close", fails)
    await line.close()
    assert connection.is_closed()
