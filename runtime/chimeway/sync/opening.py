"""Knowing which clients are open in this process: the seed's forms name none."""

import threading
import weakref
from typing import Final, TypeVar

from chimeway.errors import DatabaseUnavailable

_Client = TypeVar("_Client")
_open: Final[list[weakref.ref[object]]] = []
"""Weakly: to be known here keeps no client alive."""
_guard: Final = threading.Lock()


def add(client: object) -> None:
    """Make a client the one that the seed's forms use, until it is removed."""
    with _guard:
        _open.append(weakref.ref(client))


def remove(client: object) -> None:
    """Take a client out, if it is there."""
    with _guard:
        _open[:] = [each for each in _open if each() not in (client, None)]


def newest(kind: type[_Client]) -> _Client:
    """Return the client that was opened last and is open.

    Raises:
        DatabaseUnavailable: none is.
    """
    for each in reversed(tuple(_open)):
        client = each()
        if isinstance(client, kind):
            return client
    hint = "open one: with Chimeway.connect(dsn)"
    raise DatabaseUnavailable(f"no client is open in this process: {hint}", hint=hint)
