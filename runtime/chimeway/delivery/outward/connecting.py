"""The one way to the network: ask once for a name's addresses, judge all, connect to what was judged.

An attacker's name server may say one thing to who checks and another to who connects (DNS rebinding). Here
nobody asks twice: this stands below the HTTP client, gets the host it wants to connect to, and hands on
an address that needs no asking. The name is still what TLS checks and what the Host header says.

Where only some of a name's addresses are inside, none is used: a name that leads inside now and then is
a mistake or an attack, and which address is taken would be chance.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

import httpcore2

from chimeway.delivery.outward.networks import Address, Networks, read_address
from chimeway.delivery.outward.streams import OutwardStream

Resolve = Callable[[str], Awaitable[list[str]]]
_TRIED: Final = 4
"""Addresses of a name that are tried: the time to connect is shared among them."""


class Inside(Exception):  # noqa: N818  (it says where the address is)
    """The address may not be called."""


class OutwardBackend(httpcore2.AsyncNetworkBackend):
    """What httpcore connects by; all its connections come from here."""

    def __init__(self, networks: Networks, resolve: Resolve) -> None:
        """Take what may be called, and who says the addresses of a name."""
        self._networks = networks
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the interface's own)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to one of the host's addresses, all of which must be outside.

        Raises:
            Inside: one is not; nothing was connected to.
            NoSuchName, OSError: as the resolver says.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: nobody answers there.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._judged(host)
                stream = await self._first_of(addresses, port, timeout, local_address, socket_options)
                return OutwardStream(stream)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("no connection in time") from None

    async def sleep(self, seconds: float) -> None:
        """Sleep, as httpcore asks for it between tries."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str) -> list[Address]:
        try:
            found = [read_address(host)]
        except ValueError:
            found = [read_address(one) for one in await self._resolve(host)]
        if not all(self._networks.permit(address) for address in found):
            raise Inside
        return found

    async def _first_of(
        self,
        addresses: list[Address],
        port: int,
        timeout_s: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        """Try one after the other, each for its share of the time."""
        tried = _mixed(addresses)[:_TRIED]
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in tried:
            try:
                return await self._network.connect_tcp(
                    str(address),
                    port,
                    timeout=None if timeout_s is None else timeout_s / len(tried),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


def _mixed(addresses: list[Address]) -> list[Address]:
    """Take the families in turn: a host without IPv6 must not spend its tries on it."""
    six = [one for one in addresses if isinstance(one, IPv6Address)]
    four = [one for one in addresses if not isinstance(one, IPv6Address)]
    first, second = (six, four) if addresses and isinstance(addresses[0], IPv6Address) else (four, six)
    pairs = list(zip(first, second, strict=False))
    rest = [*first[len(pairs) :], *second[len(pairs) :]]
    return [*(one for pair in pairs for one in pair), *rest]
