"""A running server, as who uses it sees it: a URL."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

PORT: Final = 5432
"""A part of the socket's name; nothing listens on the network."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its URL, in a form that every driver reads, and the folder of its binaries."""

    url: str
    bin: Path
    port: int = PORT

    @property
    def host(self) -> str:
        """Return the folder of its socket, which is what libpq's PGHOST takes."""
        return dict(parse_qsl(urlsplit(self.url).query))["host"]

    def database(self, name: str) -> str:
        """Return the URL of another database on this server."""
        return self.url.replace("/postgres?", f"/{name}?")


def url_by(sockets: Path, port: int = PORT) -> str:
    """Return the URL of a server whose socket is in a folder.

    The host stands in the query: asyncpg, libpq (psycopg, psql) and SQLAlchemy all read that.
    """
    return f"postgresql://postgres@/postgres?host={quote(str(sockets))}&port={port}"
