"""Knowing which clients are open in this process: the seed's forms name none."""

import threading
from typing import Final, TypeVar

from chimeway.errors import DatabaseUnavailable

_Client = TypeVar("_Client")
_open: Final[list[object]] = []
_guard: Final = threading.Lock()


def add(client: object) -> None:
    """Make a client the one that the seed's forms use, until it is removed."""
    with _guard:
        _open.append(client)


def remove(client: object) -> None:
    """Take a client out, if it is there."""
    with _guard:
        _open[:] = [each for each in _open if each is not client]


def newest(kind: type[_Client]) -> _Client:
    """Return the client that was opened last and is open.

    Raises:
        DatabaseUnavailable: none is.
    """
    for client in reversed(tuple(_open)):
        if isinstance(client, kind):
            return client
    hint = "open one: with Chimeway.connect(dsn)"
    raise DatabaseUnavailable(f"no client is open in this process: {hint}", hint=hint)
