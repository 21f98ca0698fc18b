"""A database URL in the words of each driver. What the URL leaves open is filled in the same way."""

import getpass
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from chimeway.database_url import TLS, DatabaseUrl, refused

_USUAL_HOSTS: Final = tuple(
    (name, 5432)
    for name in ("/run/postgresql", "/var/run/postgresql", "/tmp", "localhost")  # noqa: S108
)
"""Where a server is looked for when neither the URL nor PGHOST names one."""


_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OWN_ROOTS: Final = "~/.postgresql/root.crt"


def hosts_of(url: DatabaseUrl) -> tuple[tuple[str, int], ...]:
    """Return where to look, in order; empty: PGHOST says it."""
    if url.hosts or os.environ.get("PGHOST"):
        return url.hosts
    port = int(os.environ.get("PGPORT") or 5432)
    return tuple((name, port) for name, _ in _USUAL_HOSTS)


def check_files(url: DatabaseUrl) -> None:
    """See that the files of a URL are there: the drivers tell it late, and each in its own way.

    Raises:
        InvalidInput: one cannot be read; or the server is to be verified, and nothing says by what.
    """
    for name in _FILES:
        path = url.parameters.get(name)
        if path is not None and not os.access(path, os.R_OK):
            raise refused(f"its parameter {name!r} names a file that cannot be read: {path}", parameter=name)
    mode = url.parameters.get("sslmode", "")
    roots = url.parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or _OWN_ROOTS
    if mode.startswith("verify-") and not os.access(Path(roots).expanduser(), os.R_OK):
        hint = "name the file of the certificates to trust with sslrootcert="
        raise refused(f"sslmode={mode} has nothing to verify by: {hint}", parameter="sslrootcert")


def for_asyncpg(url: DatabaseUrl, name: str) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect`, all but where."""
    check_files(url)
    tls = {key: url.parameters[key] for key in TLS if key in url.parameters}
    found: dict[str, Any] = {
        "dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}" if tls else None,
        "user": _user(url),
        "password": url.password,
        "database": url.database,
        "passfile": url.parameters.get("passfile"),
        "timeout": url.connect_s,
        "server_settings": {"application_name": url.parameters.get("application_name", name)},
    }
    if "options" in url.parameters:
        found["server_settings"]["options"] = url.parameters["options"]
    return found


def for_psycopg(url: DatabaseUrl, name: str) -> dict[str, Any]:
    """Return the arguments of `psycopg.connect`."""
    check_files(url)
    hosts = hosts_of(url)
    found: dict[str, Any] = {
        "user": _user(url),
        "password": url.password,
        "dbname": url.database,
        "application_name": name,
        **url.parameters,
        # libpq: 0 waits for ever
        "connect_timeout": 0 if url.connect_s is None else max(2, int(url.connect_s)),
    }
    if hosts:
        found["host"] = ",".join(host for host, _ in hosts)
        found["port"] = ",".join(str(port) for _, port in hosts)
    return {key: value for key, value in found.items() if value is not None}


def _user(url: DatabaseUrl) -> str:
    return url.user or os.environ.get("PGUSER") or getpass.getuser()
