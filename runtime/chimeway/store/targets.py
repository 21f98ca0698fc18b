"""A database URL in the words of each driver. What the URL leaves open is filled in the same way."""

import getpass
import os
from typing import Any, Final
from urllib.parse import quote, urlencode

from chimeway.database_url import TLS, DatabaseUrl

_USUAL_HOSTS: Final = tuple(
    (name, 5432)
    for name in ("/run/postgresql", "/var/run/postgresql", "/tmp", "localhost")  # noqa: S108
)
"""Where a server is looked for when neither the URL nor PGHOST names one."""


def hosts_of(url: DatabaseUrl) -> tuple[tuple[str, int], ...]:
    """Return where to look, in order; empty: PGHOST says it."""
    if url.hosts or os.environ.get("PGHOST"):
        return url.hosts
    port = int(os.environ.get("PGPORT") or 5432)
    return tuple((name, port) for name, _ in _USUAL_HOSTS)


def for_asyncpg(url: DatabaseUrl, name: str) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect`, all but where."""
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
