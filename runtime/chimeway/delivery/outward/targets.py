"""Reading a URL in one strict way: what it says to us it says to everyone who reads it after us. Pure.

Attacks live from two readers who disagree: one checks the host before a backslash, another connects to
the one behind it. So there is one reader here, what it makes of a URL is all that anybody sees, and what
could be read in two ways is refused: backslashes, blanks, users, hosts written as numbers that are no plain
`a.b.c.d`, zones, letters beyond ASCII anywhere but in the host, where they are turned into ASCII first and
judged after.

A fault is a ValueError whose text never holds any of the URL: its path may be a password.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urljoin

import idna

from chimeway.limits import MAX_URL_CHARS

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_TARGET: Final = re.compile(r"(?:[/?][!-\[\]-~]*)?")  # printable ASCII without the backslash
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@%\\]+)(?::(?P<port>[0-9]{0,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_USUAL: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: all parts in ASCII, the host in small letters."""

    scheme: str
    host: str
    """A name, or an address, of IPv6 without brackets."""
    port: int
    path: str
    """With the query."""

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _USUAL[self.scheme] else f"{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """Whose answer comes back: host and port, without what may be secret."""
        return f"{self.host}:{self.port}"


def read_target(url: str, *, http: bool = False, ports: Collection[int] = ()) -> Target:
    """Read a URL.

    Args:
        url: what somebody gave.
        http: whether `http` may be used, too.
        ports: which ports may be; none given: the usual one of each scheme that may be used.

    Raises:
        ValueError: it is not a URL that may be called; the text says why, without any of it.
    """
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"the URL is longer than {MAX_URL_CHARS} characters")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("it is no https URL")
    scheme = found["scheme"].lower()
    if scheme == "http" and not http:
        raise ValueError("it is http, and only https is allowed")
    if _TARGET.fullmatch(found["target"]) is None:
        raise ValueError("its path or query has characters that must be percent-encoded")
    host, port = _read_authority(found["authority"])
    target = Target(scheme, host, _USUAL[scheme] if port is None else port, _path(found["target"]))
    if target.port not in (ports or ({443, 80} if http else {443})):
        raise ValueError("its port is not allowed")
    return target


def follow(target: Target, location: str, *, http: bool = False, ports: Collection[int] = ()) -> Target:
    """Read where a redirect leads, which may be relative; the same rules hold.

    Raises:
        ValueError: as `read_target`; or it leads from https to http.
    """
    try:
        url = urljoin(f"{target.scheme}://{target.authority}{target.path}", location)
    except ValueError:  # it quotes what it does not like
        raise ValueError("where it leads is no URL") from None
    following = read_target(url, http=http, ports=ports)
    if target.scheme == "https" and following.scheme == "http":
        raise ValueError("it leads from https to http")
    return following


def _path(target: str) -> str:
    return target if target.startswith("/") else f"/{target}"


def _read_authority(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("it has a user or a password, which are not sent")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("its host is none")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError("its port is none")
    return _read_host(found["host"]), port


def _read_host(host: str) -> str:
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except AddressValueError:
            raise ValueError("its host is none") from None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, std3_rules=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise ValueError("its host is none") from None
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("its host is none")
    if _NUMBER.fullmatch(labels[-1]):  # who reads on may take it for an address: only one spelling is one
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError("its host is a number that is no plain address") from None
    return host
