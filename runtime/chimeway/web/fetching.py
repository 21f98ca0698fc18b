"""One GET over https, for what Amazon's messages refer to: no redirect, little time, few bytes.

Not for other URLs: who calls has judged the whole of it, and TLS says that the host is the one it names. The
standard library's client in a thread: it follows no redirect and reads no proxy from the environment.
"""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 65_536


class Unfetched(Exception):  # noqa: N818  (it says what there is not)
    """What lies there could not be had."""


class _Connection(http.client.HTTPConnection):
    """A connection by TLS, to where the URL says or, in tests, to where we are told."""

    default_port = 443

    def __init__(self, host: str, trust: ssl.SSLContext, at: tuple[str, int] | None) -> None:
        super().__init__(host, timeout=_TIMEOUT_S)
        self._trust = trust
        self._at = at or (host, self.default_port)

    def connect(self) -> None:
        raw = socket.create_connection(self._at, _TIMEOUT_S)
        try:
            self.sock = self._trust.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise


def fetching(trust: ssl.SSLContext | None = None, at: tuple[str, int] | None = None) -> Fetch:
    """Return what fetches.

    Args:
        trust: whose certificates are believed; without it those that this machine believes.
        at: for tests: where all hosts are. Their names are still asked of their certificates.
    """
    believed = trust or ssl.create_default_context()

    async def fetch(url: str) -> bytes:
        return await asyncio.to_thread(_get, url, believed, at)

    return fetch


def _get(url: str, trust: ssl.SSLContext, at: tuple[str, int] | None) -> bytes:
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.hostname
    connection = _Connection(parts.hostname, trust, at)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        answer = connection.getresponse()
        found = answer.read(_MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unfetched(f"{parts.hostname} cannot be asked ({type(error).__name__})") from error
    finally:
        connection.close()
    if answer.status != 200 or len(found) > _MOST_BYTES:
        raise Unfetched(f"{parts.hostname} answered {answer.status}, {len(found)} bytes")
    return found
