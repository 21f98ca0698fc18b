"""One reader of URLs: what it takes, other readers take for the same host."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx2
from hypothesis import given, settings
from hypothesis.strategies import lists, sampled_from

from chimeway.delivery.outward.targets import read_target

PIECES = [
    "https://", "http://", "HTTPS://", "good.example", "evil.example", "127.0.0.1", "2130706433", "0x7f.1",
    "[::1]", "[::ffff:10.0.0.1]", "localhost", "a", "xn--", "b\u00fccher", "\uff0e", "\u3002", "\uff11",
    "\u2460", "\u00ad", "@", ":", ":443", ":80", "/", "//", "\\", "?", "#", "%", "%2e", "%40", "%00", ".",
    "..", "-", "_", " ", "\t", "\n", "\x00", "[", "]", ";", "&", "0", "1", "256", "~", "*", "'", "|",
]  # fmt: skip


@settings(max_examples=150)
@given(lists(sampled_from(PIECES), max_size=8).map("".join))
def test_no_two_readers_disagree(rest: str) -> None:
    """What is taken names the same host and port to urllib and to httpx, and is ASCII without a user."""
    url = f"https://{rest}"
    try:
        target = read_target(url, http=True, ports=range(1, 65_536))
    except ValueError:
        return
    assert f"{target.host}{target.path}".isascii()
    assert target.path.startswith("/")
    assert not set(target.authority) & set("@\\/?# \t\n%")
    for spelling in (url, f"{target.scheme}://{target.authority}{target.path}"):
        for host, port in filter(None, (_by_urllib(spelling), _by_httpx(spelling))):
            assert _same(host, target.host), (spelling, host, target.host)
            assert port in {None, target.port}


def _by_urllib(url: str) -> tuple[str, int | None]:
    found = urlsplit(url)
    return found.hostname or "", found.port


def _by_httpx(url: str) -> tuple[str, int | None] | None:
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL:
        return None  # it takes fewer letters beyond ASCII
    return found.raw_host.decode("ascii"), found.port


def _same(one: str, other: str) -> bool:
    if not one.isascii():
        return True  # a reader that leaves it to others to make ASCII of it
    if ":" in one:
        return ip_address(one) == ip_address(other)
    return one.lower().rstrip(".") == other
