"""Reading a database URL, so that it means the same to both drivers. Pure.

libpq's URI form: `postgresql://user:password@host:port,host:port/database?parameter=value`. Each driver has
parameters of its own, and leaves out or passes on to the server what it does not know; here only those are
taken that both honour, and any other is refused by its name. No message quotes what may be a password.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from chimeway.errors import InvalidInput

CONNECT_S: Final = 10.0
"""How long a host may take to let us in, unless the URL says `connect_timeout`."""

_CHOICES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
        "target_session_attrs": frozenset(
            {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
        ),
        "ssl_min_protocol_version": frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}),
        "ssl_max_protocol_version": frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}),
    }
)
TLS: Final = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
_OTHERS: Final = ("application_name", "connect_timeout", "options", "passfile", "target_session_attrs")
_PLACES: Final = ("dbname", "host", "password", "port", "user")
_KNOWN: Final = tuple(sorted((*TLS, *_OTHERS, *_PLACES)))
_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "channel_binding": "leave it out: one of the two drivers has none; sslmode=verify-full protects",
        "sslnegotiation": "leave it out: not every version of the drivers knows it",
        "service": "write the service's host, port, user and database into the URL",
        "database": "write the name after the host, or as dbname=",
    }
)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::(?P<port>[^:]*))?")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database URL, read. None, and no hosts: as the drivers' environment (PGHOST, ...) says."""

    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    parameters: Mapping[str, str] = field(repr=False)

    @property
    def connect_s(self) -> float | None:
        """Return how many seconds a host may take to let us in; None: for ever."""
        given = self.parameters.get("connect_timeout")
        if given is None:
            return CONNECT_S
        return float(given) if int(given) > 0 else None


def read(url: str) -> DatabaseUrl:
    """Read a URL.

    Raises:
        InvalidInput: it is none, or has what is not understood; the message names it.
    """
    scheme, slashes, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres") or not slashes:
        raise refused("it must begin with postgresql:// (or postgres://)")
    if "\0" in url:
        raise refused("it holds a NUL character")
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    login, at, places = authority.rpartition("@")
    if "@" in login:
        raise refused("it has two @ before the host: write one in a user or password as %40")
    user, _, password = login.partition(":") if at else ("", "", "")
    given = _parameters(query)
    return DatabaseUrl(
        hosts=_hosts(places, given),
        user=_once("user", unquote(user), given),
        password=_once("password", unquote(password), given),
        database=_once("dbname", unquote(path), given),
        parameters=MappingProxyType(given),
    )


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        name, value = unquote(name), unquote(value)
        if name not in _KNOWN:
            hint = _HINTS.get(name, f"known are {', '.join(_KNOWN)}")
            raise refused(f"its parameter {name!r} is not understood: {hint}", parameter=name)
        if not equals or not value:
            raise refused(f"its parameter {name!r} has no value", parameter=name)
        if name in found:
            raise refused(f"its parameter {name!r} is there twice", parameter=name)
        _check(name, value)
        found[name] = value
    return found


def _check(name: str, value: str) -> None:
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        raise refused(f"{name}={value} is none of {', '.join(sorted(choices))}", parameter=name)
    if name == "connect_timeout" and not re.fullmatch(r"\d{1,5}", value):
        raise refused("connect_timeout is no whole number of seconds", parameter=name)
    if name == "sslrootcert" and value == "system":
        hint = "name a file of certificates, such as /etc/ssl/certs/ca-certificates.crt"
        raise refused(f"sslrootcert=system is not understood: {hint}", parameter=name)


def _hosts(places: str, given: dict[str, str]) -> tuple[tuple[str, int], ...]:
    in_query, ports = given.pop("host", None), given.pop("port", None)
    if places and in_query is not None:
        raise refused("it names a host twice, before and after the ?", parameter="host")
    if in_query is not None:
        pairs: list[tuple[str, str | None]] = [(name, None) for name in in_query.split(",")]
    else:
        pairs = [_host(place) for place in places.split(",")] if places else []
    if ports is not None:
        pairs = _with_ports(pairs, ports.split(","))
    if len(pairs) > 1 and not all(name for name, _ in pairs):
        raise refused("one of its hosts is empty", parameter="host")
    return tuple((name, _port(port)) for name, port in pairs if name)


def _host(place: str) -> tuple[str, str | None]:
    found = _HOST.fullmatch(place)
    if found is None:
        raise refused("one of its hosts cannot be read: write IPv6 in brackets, and / @ : as %2F %40 %3A")
    return unquote(found["name"].strip("[]")), found["port"] or None


def _with_ports(pairs: list[tuple[str, str | None]], ports: list[str]) -> list[tuple[str, str | None]]:
    if any(port is not None for _, port in pairs):
        raise refused("it names a port twice, before and after the ?", parameter="port")
    if not pairs:
        pairs = [("localhost", None)]
    each = ports * len(pairs) if len(ports) == 1 else ports
    if len(each) != len(pairs):
        raise refused(f"it has {len(ports)} ports for {len(pairs)} hosts", parameter="port")
    return [(name, port) for (name, _), port in zip(pairs, each, strict=True)]


def _port(given: str | None) -> int:
    if given is None:
        return 5432
    if not re.fullmatch(r"[0-9]{1,5}", given) or not 0 < int(given) <= 65535:
        raise refused(
            "one of its ports is no number from 1 to 65535: write / @ : in a password as %2F %40 %3A"
        )
    return int(given)


def _once(name: str, before: str, given: dict[str, str]) -> str | None:
    after = given.pop(name, None)
    if before and after is not None:
        raise refused(f"it names the {name} twice, before and after the ?", parameter=name)
    return after if after is not None else before or None


def refused(what: str, **details: str) -> InvalidInput:
    """Return what to raise of a URL; `what` quotes no password."""
    return InvalidInput(f"the database URL cannot be used: {what}", field="dsn", reason=what, **details)
