"""The connection that hears hints: LISTEN, with a probe that shows whether it still hears."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from chimeway.clock import set_within
from chimeway.limits import PROBE_EVERY_S, PROBE_TIMEOUT_S
from chimeway.store.faults import DRIVER_FAULTS
from chimeway.store.pool import Connection, connect
from chimeway.store.pooler import close, is_pooled
from chimeway.store.queries import SQL

HINTS = "chimeway"
"""The one NOTIFY channel of producers; its payload is empty."""

INBOXES = "chimeway_inbox"
"""The NOTIFY channel of who writes into inboxes; its payload is the digest of tenant and recipient."""


class HintLine:
    """Listens on the hint channel and on one of its own, by which it calls itself."""

    def __init__(self, connection: Connection, probe_channel: str) -> None:
        """Take an open connection of its own; use `open`."""
        self._connection = connection
        self._probe_channel = probe_channel
        self._echo = asyncio.Event()
        self.round_trip_s = 0.0
        """How long its last call to itself took."""
        self.lost = asyncio.Event()

    @classmethod
    async def open(cls, url: str, name: str, node: UUID, on_hint: Callable[[], None]) -> "HintLine | None":
        """Connect and listen; `on_hint` is called for each hint. None where a pooler stands between.

        Raises:
            DatabaseUnavailable: nothing answers there.
        """
        return await _begin(await connect(url, name), node, HINTS, lambda _: on_hint())

    @classmethod
    async def begin(
        cls, connection: Connection, owner: UUID, channel: str, on_hint: Callable[[str], None]
    ) -> "HintLine":
        """Listen on an open connection; `on_hint` is called with each payload, and with "" at the end."""
        line = cls(connection, f"chimeway_probe_{owner.hex}")

        def hinted(_connection: object, _pid: object, _channel: object, payload: Any) -> None:
            on_hint(str(payload))

        def echoed(*_: Any) -> None:
            line._echo.set()

        def ended(*_: Any) -> None:
            line.lost.set()
            on_hint("")

        line._connection.add_termination_listener(ended)
        try:
            await line._connection.add_listener(channel, hinted)
            await line._connection.add_listener(line._probe_channel, echoed)
        except BaseException:
            await line.close()
            raise
        return line

    async def probe(self, timeout_s: float) -> bool:
        """Call oneself through the database; False when nothing was heard in time.

        A connection that answers queries may still hear nothing: behind a pooler the session that
        listens and the one that asks are two.
        """
        self._echo.clear()
        loop = asyncio.get_running_loop()
        called_at = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.execute(SQL["send_probe"], self._probe_channel)
                await self._echo.wait()
        except DRIVER_FAULTS:
            return False
        self.round_trip_s = loop.time() - called_at
        return True

    async def stay(self, heard: Callable[[], None] = lambda: None) -> bool:
        """Return once the line is lost (True), or answers no call any more: deaf (False).

        `heard` is called each time that it has heard its own call.
        """
        while not self.lost.is_set():
            if not await self.probe(PROBE_TIMEOUT_S):
                return self.lost.is_set()
            heard()
            await set_within(self.lost, PROBE_EVERY_S)
        return True

    async def close(self) -> None:
        """Close the connection, at once if need be."""
        await close(self._connection)


async def open_inbox_line(url: str, owner: UUID, on_change: Callable[[str], None]) -> HintLine | None:
    """Connect and listen for changes of inboxes; `on_change` is called with the digest of each.

    None where a pooler stands between: what listens there is a session that is soon somebody else's.

    Raises:
        DatabaseUnavailable: nothing answers there.
    """
    return await _begin(await connect(url, "chimeway-inbox"), owner, INBOXES, on_change)


async def _begin(
    connection: Connection, owner: UUID, channel: str, on_hint: Callable[[str], None]
) -> HintLine | None:
    if is_pooled(connection):
        await close(connection)
        return None
    return await HintLine.begin(connection, owner, channel, on_hint)
