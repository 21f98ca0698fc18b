"""Which addresses are outside: public, unicast, and nobody's own. Pure.

What is not surely outside is inside. For IPv6 that is short: of all addresses only 2000::/3 has been given
out, so everything else is inside, and within it a few ranges are. For IPv4 the list is the registry of
special addresses, and more: 192.88.99.0/24 led into 6to4, and 168.63.129.16 is, though it looks public,
the host under every machine of a large cloud.

An IPv6 address may carry one of IPv4, which is where a packet to it ends up. NAT64 (64:ff9b::/96) is how a
host without IPv4 reaches the rest of the world: such an address is as good as what it carries. Mapped
addresses are the same. 6to4, Teredo and ISATAP are refused whatever they carry: nobody serves there.

`allowed` and `denied` are for the operator; `denied` goes first, and both hold for what an address
carries, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_INSIDE_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux takes it for loopback
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; metadata of a cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of a cloud's machines
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols' own; metadata of a cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # measuring
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GIVEN_OUT_6: Final = IPv6Network("2000::/3")
_INSIDE_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols' own: Teredo, ORCHID, measuring
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


@dataclass(frozen=True, slots=True)
class Networks:
    """What may be called: everything outside, and what an operator allows; not what one denies."""

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def permit(self, address: Address) -> bool:
        """Say whether an address may be connected to."""
        forms = (address, carried(address))
        if any(_within(form, self.denied) for form in forms):
            return False
        return any(_within(form, self.allowed) for form in forms) or is_outside(address)


def read_networks(given: Iterable[str]) -> tuple[Network, ...]:
    """Read networks such as `10.1.0.0/16`; a lone address is a network of one.

    Raises:
        ValueError: one is none; the text goes on after "right would be".
    """
    try:
        return tuple(ip_network(one) for one in given)
    except ValueError:
        raise ValueError("networks like 10.1.0.0/16, fd00::/8 or 192.168.7.4, no bit set beyond /n") from None


def read_address(text: str) -> Address:
    """Read what a resolver said; a zone (`fe80::1%eth0`) stays out: such an address is inside anyway.

    Raises:
        ValueError: it is no address.
    """
    return ip_address(text.partition("%")[0])


def is_outside(address: Address) -> bool:
    """Say whether an address is public, unicast and nobody's own."""
    if isinstance(address, IPv4Address):
        return not _within(address, _INSIDE_4)
    inner = carried(address)
    if inner is not None:
        return is_outside(inner)
    if address not in _GIVEN_OUT_6 or _within(address, _INSIDE_6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


def carried(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a packet to this one of IPv6 ends up at, mapped or by NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _within(address: Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )
