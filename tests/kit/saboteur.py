"""The n-th statement fails: at the driver's door, whoever of the program sends it.

Statements are those of the pools and connections that the program opens; the test's own are left alone. A
fault comes before the statement is sent, or behind it, when all is done and the answer does not arrive.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import asyncpg
import pytest

from chimeway.store.queries import SQL

_NAMES: Final = {sql: name for name, sql in SQL.items()}
_CALLS: Final = re.compile(r"chimeway\.(\w+)\(")
DOORS: Final = ("fetch", "fetchrow", "fetchval", "execute", "executemany")
"""Where a connection takes statements."""
TEST: Final = "test"
"""The application_name of connections that are the test's."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls a statement.

    `behind`: it is carried out first. `cut`: its connection is lost. `error`: what the driver raises.
    """

    error: Callable[[], Exception]
    behind: bool = False
    cut: bool = False


def _lost() -> Exception:
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "cut before": Fault(_lost, cut=True),
        "answer lost": Fault(_lost, behind=True, cut=True),
        "serialization": Fault(lambda: asyncpg.SerializationError("could not serialize access")),
        "deadlock": Fault(lambda: asyncpg.DeadlockDetectedError("deadlock detected")),
        "timeout of the server": Fault(
            lambda: asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        ),
        "failure of the server": Fault(lambda: asyncpg.PostgresIOError("could not read blocks 7..7")),
        "timeout of the driver": Fault(TimeoutError, behind=True, cut=True),
    }
)


def name_of(sql: str) -> str:
    """Return a statement's name in the store, else the first function of ours that it calls, else itself."""
    called = _CALLS.search(sql)
    return _NAMES.get(sql) or (called[1] if called else " ".join(sql.split())[:40])


class Saboteur:
    """Counts the program's statements, and lets one of them fail."""

    def __init__(self) -> None:
        """Begin unarmed."""
        self.names: Counter[str] = Counter()
        self.struck = False
        self._next: tuple[str, int] | None = None
        self._fault: Fault | None = None

    def arm(self, name: str, number: int, fault: Fault) -> None:
        """Let a statement fail: the one of this name that is sent as the so-manieth from now on."""
        self.disarm()
        self._next, self._fault = (name, number), fault

    def disarm(self) -> None:
        """Let all statements pass, and begin to count."""
        self.names, self.struck, self._next, self._fault = Counter(), False, None, None

    async def pass_through(self, connection: Any, sql: str, send: Callable[[], Any]) -> Any:
        """Send a statement, or let it fail."""
        name = name_of(sql)
        self.names[name] += 1
        fault = self._fault
        if fault is None or self._next != (name, self.names[name]):
            return await send()
        self._fault, self.struck = None, True
        if fault.behind:
            await send()
        if fault.cut:
            connection.terminate()
        raise fault.error()


@contextmanager
def sabotage() -> Iterator[Saboteur]:
    """Stand between the program and its driver while the block lasts."""
    saboteur = Saboteur()
    with pytest.MonkeyPatch.context() as patch:
        for door in DOORS:
            patch.setattr(asyncpg.Connection, door, _watched(saboteur, getattr(asyncpg.Connection, door)))
        yield saboteur


def _watched(saboteur: Saboteur, door: Any) -> Any:
    async def watched(connection: Any, sql: str, *args: Any, **named: Any) -> Any:
        def send() -> Any:
            return door(connection, sql, *args, **named)

        if connection.get_settings().application_name == TEST:
            return await send()
        return await saboteur.pass_through(connection, sql, send)

    return watched
