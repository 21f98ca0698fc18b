"""The parts of a simulated node that touch the world: its database, its providers, its ear, its clock.

Everything else of it is the product's own: `Machine`, from roster to lanes, and the store's verbs.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from chimeway.daemon.machine import Machine
from chimeway.delivery.channel import Message, Sent
from chimeway.delivery.pacing import ChannelLimits
from chimeway.engine.listener import Listener
from chimeway.engine.ownership import Tenure
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.testing.simulation.scheduler import Gates


class GatedDatabase(Database):
    """The store as one owner sees it: each statement waits at a gate, and is then executed, whole."""

    def __init__(self, gates: Gates, owner: str, url: str) -> None:
        """Take who asks."""
        self.url = self.direct_url = url
        self.closing = []
        self._gates = gates
        self._owner = owner

    async def fetch(self, name: str, *args: Any) -> list[Any]:
        """Run a named statement and return its rows."""
        rows: list[Any] = await self._asked(name, lambda line: line.fetch(SQL[name], *args))
        return rows

    async def fetchrow(self, name: str, *args: Any) -> Any:
        """Run a named statement and return its first row."""
        return await self._asked(name, lambda line: line.fetchrow(SQL[name], *args))

    async def fetchval(self, name: str, *args: Any) -> Any:
        """Run a named statement and return the first value of its first row."""
        return await self._asked(name, lambda line: line.fetchval(SQL[name], *args))

    async def _asked(self, name: str, act: Callable[[Connection], Any]) -> Any:
        return await self._gates.ask(self._owner, "store", name, act)


class GatedProvider:
    """A provider: it is called when its gate opens, and answers what the scheduler drew."""

    needs_address = True

    def __init__(self, gates: Gates, owner: str, name: str, limits: ChannelLimits) -> None:
        """Take whose it is, its channel's name and limits."""
        self.name = name
        self.limits = limits
        self._gates = gates
        self._owner = owner

    async def send(self, message: Message) -> Sent:
        """Be called, and answer."""
        await self._gates.ask(self._owner, "channel", f"call {self.name}", lambda _: message)
        answer = await self._gates.ask(self._owner, "answer", f"answer of {self.name}", lambda _: message)
        assert isinstance(answer, Sent)
        return answer


class GatedListener(Listener):
    """An ear that hears a hint when the scheduler says so."""

    async def serve(self) -> None:
        """Be hinted, for ever."""
        self._turn("hinted", "simulated")
        await asyncio.Event().wait()

    def hear(self) -> None:
        """Hear a hint."""
        self._hint()


class GatedTenure(Tenure):
    """A tenure whose trust is the scheduler's to take away."""

    def trusted(self) -> bool:
        """Say whether the lease may be trusted."""
        return not self.lost.is_set() and not self.doubted

    doubted = False


class GatedMachine(Machine):
    """A machine with an ear of ours."""

    ear: GatedListener

    def _listening(self) -> Listener:
        node = self._node
        self.ear = GatedListener(node.direct_url, f"{node.name} listener", node.id, node.clock)
        return self.ear
