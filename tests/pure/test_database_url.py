"""Database URLs: what is understood, what each driver is told, and what is refused by its name."""

import asyncpg.connect_utils
import pytest

from chimeway.database_url import read
from chimeway.errors import InvalidInput
from chimeway.store.targets import for_asyncpg, for_psycopg, hosts_of

UNDERSTOOD: list[tuple[str, tuple[tuple[str, int], ...], str | None, str | None, str | None]] = [
    ("postgresql://ada:pw@db:5433/app", (("db", 5433),), "ada", "pw", "app"),
    ("postgres://ada@db/app", (("db", 5432),), "ada", None, "app"),
    ("postgresql://ada@db1,db2:6000/app", (("db1", 5432), ("db2", 6000)), "ada", None, "app"),
    ("postgresql://[::1]:5433,[fe80::1]/app", (("::1", 5433), ("fe80::1", 5432)), None, None, "app"),
    ("postgresql://ada@/app?host=/run/pg", (("/run/pg", 5432),), "ada", None, "app"),
    ("postgresql://%2Frun%2Fpg:6000/app", (("/run/pg", 6000),), None, None, "app"),
    ("postgresql:///app?host=a,/b&port=1,2", (("a", 1), ("/b", 2)), None, None, "app"),
    ("postgresql:///app?host=a,b&port=7", (("a", 7), ("b", 7)), None, None, "app"),
    ("postgresql://db/?dbname=app&user=ada&password=p%26w", (("db", 5432),), "ada", "p&w", "app"),
    ("postgresql://a%40b:p%2Fw%3A%23@db/my%20app", (("db", 5432),), "a@b", "p/w:#", "my app"),
    ("postgresql://ada:p+w@db/app", (("db", 5432),), "ada", "p+w", "app"),
    ("postgresql://ada:@db/app", (("db", 5432),), "ada", None, "app"),
]


@pytest.mark.parametrize(("url", "hosts", "user", "password", "database"), UNDERSTOOD)
def test_what_is_understood(
    url: str,
    hosts: tuple[tuple[str, int], ...],
    user: str | None,
    password: str | None,
    database: str | None,
) -> None:
    """Several hosts, ports, IPv6, sockets and percent-encoding are read as libpq reads them."""
    found = read(url)
    assert (found.hosts, found.user, found.password, found.database) == (hosts, user, password, database)
    if password:
        assert password not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        *(each[0] for each in UNDERSTOOD),
        "postgresql://ada:pw@db1,db2:6000/app?target_session_attrs=read-write&application_name=shop%20x",
        "postgresql://ada@db/app?sslmode=require&connect_timeout=3&options=-c%20statement_timeout%3D5s",
        "postgresql://ada@db/app?sslmode=disable",
    ],
)
def test_both_drivers_are_told_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asyncpg makes of hosts, user, password, database, TLS and settings is what psycopg is told."""
    monkeypatch.setenv("PGUSER", "someone")
    found = read(url)
    told = for_psycopg(found, "name")
    given = for_asyncpg(found, "name")
    assert given.pop("timeout") == told["connect_timeout"]
    addresses, parameters, _ = asyncpg.connect_utils._parse_connect_arguments(
        **given,
        host=[host for host, _ in hosts_of(found)],
        port=[port for _, port in hosts_of(found)],
        command_timeout=None, statement_cache_size=0, max_cached_statement_lifetime=0,
        max_cacheable_statement_size=0, ssl=None, direct_tls=None, krbsrvname=None, gsslib=None,
        service=None, servicefile=None, target_session_attrs=found.parameters.get("target_session_attrs"),
    )  # fmt: skip
    sockets = [
        f"{address.rpartition('/')[0]}" if isinstance(address, str) else address[0] for address in addresses
    ]
    assert ",".join(sockets) == told["host"]
    assert parameters.user == told["user"]
    assert parameters.password == told.get("password")
    assert parameters.database == told.get("dbname", told["user"])
    if any(isinstance(address, tuple) for address in addresses):
        assert parameters.sslmode.name.replace("_", "-") == told.get("sslmode", "prefer")
    assert parameters.server_settings["application_name"] == told["application_name"]
    assert parameters.server_settings.get("options") == told.get("options")
    assert parameters.target_session_attrs.value == told.get("target_session_attrs", "any")


KNOWN = (
    "known are application_name, connect_timeout, dbname, host, options, passfile, password, port, "
    "ssl_max_protocol_version, ssl_min_protocol_version, sslcert, sslcrl, sslkey, sslmode, sslpassword, "
    "sslrootcert, target_session_attrs, user"
)
REFUSED: list[tuple[str, str]] = [
    ("", "it must begin with postgresql:// (or postgres://)"),
    ("host=db dbname=app", "it must begin with postgresql:// (or postgres://)"),
    ("mysql://db/app", "it must begin with postgresql:// (or postgres://)"),
    ("postgresql+asyncpg://db/app", "it must begin with postgresql:// (or postgres://)"),
    ("postgresql:db", "it must begin with postgresql:// (or postgres://)"),
    ("postgresql://db/app\0", "it holds a NUL character"),
    (
        "postgresql://db/app?tcp_user_timeout=3",
        f"its parameter 'tcp_user_timeout' is not understood: {KNOWN}",
    ),
    ("postgresql://db/app?sslmod=require", f"its parameter 'sslmod' is not understood: {KNOWN}"),
    (
        "postgresql://db/app?statement_timeout=5",
        f"its parameter 'statement_timeout' is not understood: {KNOWN}",
    ),
    (
        "postgresql://db/app?service=prod",
        (
            "its parameter 'service' is not understood: write the service's host, port, user and database "
            "into the URL"
        ),
    ),
    ("postgresql://db/app?sslmode=", "its parameter 'sslmode' has no value"),
    ("postgresql://db/app?sslmode", "its parameter 'sslmode' has no value"),
    ("postgresql://db/app?user=a&user=b", "its parameter 'user' is there twice"),
    (
        "postgresql://db/app?sslmode=verify_full",
        "sslmode=verify_full is none of allow, disable, prefer, require, verify-ca, verify-full",
    ),
    (
        "postgresql://db/app?target_session_attrs=master",
        "target_session_attrs=master is none of any, prefer-standby, primary, read-only, read-write, standby",
    ),
    ("postgresql://db/app?connect_timeout=soon", "connect_timeout is no whole number of seconds"),
    (
        "postgresql://db/app?sslrootcert=system",
        (
            "sslrootcert=system is not understood: name a file of certificates, such as "
            "/etc/ssl/certs/ca-certificates.crt"
        ),
    ),
    ("postgresql://db/app?host=other", "it names a host twice, before and after the ?"),
    ("postgresql://db:1/app?port=2", "it names a port twice, before and after the ?"),
    ("postgresql://ada@db/app?user=bob", "it names the user twice, before and after the ?"),
    ("postgresql://ada:secret@db/app?password=other", "it names the password twice, before and after the ?"),
    ("postgresql://a,b/app?port=1,2,3", "it has 3 ports for 2 hosts"),
    ("postgresql://a,,b/app", "one of its hosts is empty"),
    (
        "postgresql://db:99999/app",
        "one of its ports is no number from 1 to 65535: write / @ : in a password as %2F %40 %3A",
    ),
    (
        "postgresql://ada:sec/ret@db/app",
        "one of its ports is no number from 1 to 65535: write / @ : in a password as %2F %40 %3A",
    ),
    (
        "postgresql://ada:sec@ret@db/app",
        "it has two @ before the host: write one in a user or password as %40",
    ),
    (
        "postgresql://::1/app",
        "one of its hosts cannot be read: write IPv6 in brackets, and / @ : as %2F %40 %3A",
    ),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_what_is_refused(url: str, reason: str) -> None:
    """What one driver would leave out, or the two read differently, is refused by name, passwords untold."""
    with pytest.raises(InvalidInput) as caught:
        read(url)
    assert caught.value.message == f"the database URL cannot be used: {reason}"
    assert caught.value.details["field"] == "dsn"
    assert "sec" not in str(caught.value).replace("seconds", "")


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey", "sslcrl"])
def test_files_that_are_not_there_are_named(name: str) -> None:
    """A file that a URL names and nobody can read is refused before anything is connected."""
    url = read(f"postgresql://db/app?{name}=/nowhere/x.pem")
    for tell in (for_asyncpg, for_psycopg):
        with pytest.raises(InvalidInput, match=f"{name!r} names a file that cannot be read: /nowhere/x.pem"):
            tell(url, "name")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_nothing_to_verify_by_is_named(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To verify a server one needs certificates: their parameter is named where there are none."""
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    url = read(f"postgresql://db/app?sslmode={mode}")
    for tell in (for_asyncpg, for_psycopg):
        with pytest.raises(InvalidInput, match=f"sslmode={mode} has nothing to verify by: name the file"):
            tell(url, "name")
