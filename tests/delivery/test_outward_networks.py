"""Which addresses are outside; pure."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from chimeway.delivery.outward.networks import Networks, is_outside, read_networks

INSIDE = [
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:1.2.3.4",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2001:10::1",
    "2002:7f00:1::", "2002:808:808::", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1", "3fff::1",
    "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
OUTSIDE = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1",
    "198.17.255.255", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast, reserved, and what carries one of them."""
    assert not is_outside(ip_address(address))
    assert not Networks().permit(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside(address: str) -> None:
    """Public addresses may be called, also by NAT64."""
    assert Networks().permit(ip_address(address))


@given(ip_addresses())
def test_nothing_that_the_standard_library_calls_private_is_outside(address: object) -> None:
    """Two lists of the same ranges agree: ours is the stricter."""
    found = ip_address(str(address))
    mapped = getattr(found, "ipv4_mapped", None) or found
    if is_outside(found):
        assert mapped.is_global
        assert not mapped.is_multicast


def test_an_operator_allows_and_denies() -> None:
    """What is allowed may be called though it is inside, what is denied not though it is outside."""
    networks = Networks(read_networks(("10.1.0.0/16", "fd00::/8")), read_networks(("10.1.9.0/24", "8.8.8.8")))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "1.1.1.1"):
        assert networks.permit(ip_address(address)), address
    for address in ("10.1.9.1", "10.2.0.1", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "fe80::1"):
        assert not networks.permit(ip_address(address)), address


@pytest.mark.parametrize("network", ["10.1.0.0/8", "ten", "", "10.0.0.0/33", "::/129"])
def test_what_is_no_network(network: str) -> None:
    """A network with bits beyond its length is more often a mistake than not."""
    with pytest.raises(ValueError, match="networks like"):
        read_networks((network,))
