"""One temporary server for all workers of pytest-xdist: its controller holds it, and answers its URL.

A worker is told where to ask. Nothing is started before one does.
"""

import secrets
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import NamedTuple

from chimeway.errors import DatabaseUnavailable

_LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """Where to ask: plain values, which travel to a worker."""

    port: int
    key: str


class Desk:
    """Answers workers on a thread, until it is closed."""

    def __init__(self) -> None:
        """Listen on a free port."""
        key = secrets.token_hex()
        self._listener = Listener((_LOOPBACK, 0), authkey=key.encode())
        self.place = Place(self._listener.address[1], key)
        self._closed = False
        threading.Thread(target=self._serve, name="chimeway-test-desk", daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed = True
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                with self._listener.accept() as caller:
                    caller.send(_answer())
            except (OSError, EOFError, AuthenticationError):
                continue  # a caller that went away, or was none of ours; or we are closed


def _answer() -> tuple[str | None, str]:
    """Return the URL, or None; and why there is none."""
    # Not at the top: the desk stands in every run of xdist, and most ask for nothing.
    from chimeway.testing.server import server_url  # noqa: PLC0415

    try:
        return server_url(), ""
    except DatabaseUnavailable as fault:
        return None, fault.message


def ask(place: Place) -> str:
    """Ask the controller for the server's URL.

    Raises:
        DatabaseUnavailable: it could not start one, or is gone.
    """
    try:
        with Client((_LOOPBACK, place.port), authkey=place.key.encode()) as desk:
            url, why = desk.recv()
    except (OSError, EOFError, AuthenticationError) as fault:
        raise DatabaseUnavailable(
            f"the process that holds the test server does not answer ({fault})"
        ) from None
    if url is None:
        raise DatabaseUnavailable(str(why))
    return str(url)
