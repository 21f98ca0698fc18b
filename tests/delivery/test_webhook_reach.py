"""Where the webhook channel goes, and where it does not: names, addresses, TLS, redirects."""

import asyncio
import os
import socket
import ssl
from ipaddress import ip_network
from typing import Any

import pytest

from chimeway.delivery.channel import (
    Bounced,
    ConfigurationFailure,
    PermanentFailure,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.delivery.channels.webhook_posting import Bounds
from chimeway.delivery.outward.names import NoSuchName
from chimeway.delivery.outward.networks import Networks
from kit.certificates import authority, serving
from kit.receiver import outside_and_inside, receiving, reply
from kit.webhooks import LOOPBACK, message, resolving, webhook

PUBLIC = Networks((ip_network("127.0.0.2"),))
"""Stands for the world outside; 127.0.0.1 is inside, as it is."""


class Changing:
    """A name server of an attacker: every answer is another."""

    def __init__(self, *answers: list[str]) -> None:
        """Take the answers, one after the other."""
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        """Answer, and remember what was asked."""
        self.asked.append(host)
        return self.answers[len(self.asked) - 1]


async def test_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged is what is connected to: an answer that changes behind the check is not asked for."""
    names = Changing(["127.0.0.2"], ["127.0.0.1"])
    async with outside_and_inside() as (outside, inside):
        monkeypatch.setattr(socket, "getaddrinfo", _nobody_asks)
        reach = {"networks": PUBLIC}
        async with webhook(outside.port, reach, resolve=names) as channel:
            address = f"http://rebinding.example:{outside.port}/"
            await channel.send(message(address))
            await channel.send(message(address))
            assert names.asked == ["rebinding.example"]
            outside.hang_up()
            await outside.gone.wait()
            with pytest.raises(PermanentFailure, match="leads where it must not"):
                await channel.send(message(address))
    assert names.asked == ["rebinding.example"] * 2
    assert [request.headers["host"] for request in outside.requests] == [
        f"rebinding.example:{outside.port}"
    ] * 2
    assert inside.connections == 0


def _nobody_asks(*args: Any, **_: Any) -> Any:
    raise AssertionError(f"somebody asked for {args[0]}")


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "10.0.0.1"],
        ["127.0.0.2", "::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["169.254.169.254"], ["fe80::1%lo"],
    ],
)  # fmt: skip
async def test_a_name_that_leads_inside(addresses: list[str]) -> None:
    """One address inside among several is enough: nobody is called."""
    async with outside_and_inside() as (outside, inside):
        names = resolving(evil__example=addresses)
        async with webhook(outside.port, {"networks": PUBLIC}, resolve=names) as channel:
            with pytest.raises(PermanentFailure, match="leads where it must not"):
                await channel.send(message(f"http://evil.example:{outside.port}/"))
    assert (outside.connections, inside.connections) == (0, 0)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "LOCALHOST", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::]"]
)
async def test_loopback_by_all_its_names(host: str) -> None:
    """Neither an address nor the system's own name for it leads inside."""
    async with receiving() as inside:
        async with webhook(inside.port, {"networks": Networks()}) as channel:
            with pytest.raises(PermanentFailure, match="leads where it must not"):
                await channel.send(message(f"http://{host}:{inside.port}/"))
        async with webhook(
            inside.port, {"networks": Networks()}, url=f"http://{host}:{inside.port}/"
        ) as channel:
            with pytest.raises(ConfigurationFailure, match="leads where it must not"):
                await channel.send(message(None))
    assert inside.connections == 0


async def test_the_system_says_the_addresses_of_names() -> None:
    """Where the operator allows it, a name of the machine itself is called, by whichever address answers."""
    networks = Networks((ip_network("127.0.0.0/8"), ip_network("::1")))
    async with receiving() as receiver, webhook(receiver.port, {"networks": networks}) as channel:
        await channel.send(message(f"http://localhost:{receiver.port}/"))
    assert len(receiver.requests) == 1


async def test_the_next_address_is_tried() -> None:
    """An address at which nobody listens does not end it, when the name has another."""
    async with receiving() as receiver:
        names = resolving(two__example=["127.0.0.3", "127.0.0.1"])
        async with webhook(receiver.port, resolve=names) as channel:
            await channel.send(message(f"http://two.example:{receiver.port}/"))
    assert len(receiver.requests) == 1


async def _no_such_name(_: str) -> list[str]:
    raise NoSuchName


async def _nobody_can_say(_: str) -> list[str]:
    raise OSError("the name could not be looked up")


async def _silent(_: str) -> list[str]:
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize(
    ("resolve", "of_recipient", "of_ours"),
    [
        (_no_such_name, Bounced, ConfigurationFailure),
        (_nobody_can_say, TransientFailure, TransientFailure),
        (_silent, TransientFailure, TransientFailure),
    ],
)
async def test_names_that_have_no_address(
    resolve: Any, of_recipient: type[SendFailure], of_ours: type[SendFailure]
) -> None:
    """A name that does not exist is a wrong address; one that cannot be asked for is for later."""
    bounds = Bounds(connect_timeout_s=0.1 if resolve is _silent else 20)
    for url, failure in ((None, of_recipient), ("http://gone.example/", of_ours)):
        async with webhook(80, resolve=resolve, url=url, bounds=bounds) as channel:
            with pytest.raises(failure) as caught:
                await channel.send(message("http://gone.example/"))
        assert type(caught.value) is failure


def trusting() -> ssl.SSLContext:
    """Return TLS that trusts the tests' own authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


async def test_tls_is_with_the_name() -> None:
    """The certificate is checked against the name of the URL, and the server is told it."""
    tls, told = serving("hooks.example.org"), []
    tls.sni_callback = lambda _socket, name, _context: told.append(name)
    async with receiving(tls=tls) as receiver:
        names = resolving(hooks__example__org=["127.0.0.1"])
        reach = {"tls": trusting(), "http": False}
        async with webhook(receiver.port, reach, resolve=names) as channel:
            for _ in range(2):
                await channel.send(message(f"https://hooks.example.org:{receiver.port}/"))
    assert told == ["hooks.example.org"]
    assert receiver.requests[1].headers["host"] == f"hooks.example.org:{receiver.port}"


@pytest.mark.parametrize(
    ("names", "trusted"),
    [(("other.example.org",), True), (("hooks.example.org",), False)],
    ids=["name", "authority"],
)
async def test_a_certificate_that_is_not_trusted(names: tuple[str, ...], *, trusted: bool) -> None:
    """Nothing is said to a server with a certificate for another name, or of an unknown authority."""
    async with receiving(tls=serving(*names)) as receiver:
        resolve = resolving(hooks__example__org=["127.0.0.1"])
        url = f"https://hooks.example.org:{receiver.port}/"
        reach = {"tls": trusting() if trusted else None}
        for fixed, failure in ((None, PermanentFailure), (url, ConfigurationFailure)):
            async with webhook(receiver.port, reach, resolve=resolve, url=fixed) as channel:
                with pytest.raises(failure, match="certificate is not trusted"):
                    await channel.send(message(url))
    assert receiver.requests == []


async def test_tls_that_fails_otherwise() -> None:
    """A server that speaks no TLS is transient: nothing was sent to it."""

    async def converse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 this is no TLS\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server, webhook(port := server.sockets[0].getsockname()[1]) as channel:
        with pytest.raises(TransientFailure, match="no connection"):
            await channel.send(message(f"https://127.0.0.1:{port}/"))


async def test_tls_that_breaks_in_the_answer() -> None:
    """A receiver that has said yes may have the message, whatever becomes of TLS then."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as below:
            below.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=serving("127.0.0.1"))
    port = server.sockets[0].getsockname()[1]
    async with server, webhook(port, {"tls": trusting()}) as channel:
        with pytest.raises(UnknownOutcome):
            await channel.send(message(f"https://127.0.0.1:{port}/"))


async def test_tls_that_is_given_up_is_closed() -> None:
    """A send that is cancelled while TLS is negotiated leaves no connection open."""
    begun, closed = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            begun.set()
        closed.set()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server, webhook(port := server.sockets[0].getsockname()[1]) as channel, asyncio.timeout(10):
        sending = asyncio.ensure_future(channel.send(message(f"https://127.0.0.1:{port}/")))
        await begun.wait()
        sending.cancel()
        await asyncio.wait([sending])
        await closed.wait()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_where_they_are_allowed(status: int) -> None:
    """Each is followed by the same POST, signed the same, and no further than is allowed."""
    answers = [reply(status, "Location: /two"), reply(status, "Location: three?x")]
    async with receiving(*answers) as receiver, webhook(receiver.port, {"redirects": 2}) as channel:
        await channel.send(message(f"http://127.0.0.1:{receiver.port}/one"))
    assert [request.first.split()[:2] for request in receiver.requests] == [
        ["POST", "/one"],
        ["POST", "/two"],
        ["POST", "/three?x"],
    ]
    assert len({request.body for request in receiver.requests}) == 1


async def test_redirects_are_bounded() -> None:
    """A circle ends; for the settings' own URL it is a fault of configuration."""
    answers = [reply(307, "Location: /") for _ in range(6)]
    async with receiving(*answers) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        for fixed, failure in ((None, PermanentFailure), (url, ConfigurationFailure)):
            async with webhook(receiver.port, {"redirects": 2}, url=fixed) as channel:
                with pytest.raises(failure, match="more than 2 redirects"):
                    await channel.send(message(url))
    assert len(receiver.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://inside.example:{port}/", "http://127.0.0.1:{port}/", "http://[::1]:{port}/", "http://10.0.0.1:{port}/",
        "http://2130706433:{port}/", "//user@127.0.0.2:{port}/", "http://127.0.0.2:1/", "file:///etc/passwd",
        "http://169.254.169.254:{port}/latest/meta-data/",
    ],
)  # fmt: skip
async def test_a_redirect_leads_nowhere_that_an_address_may_not(location: str) -> None:
    """Each hop is judged as the first: name, address, port and scheme."""
    async with outside_and_inside() as (outside, inside):
        outside.answers.append(reply(307, f"Location: {location.format(port=outside.port)}"))
        resolve = resolving(inside__example=["127.0.0.1"])
        reach = {"networks": PUBLIC, "redirects": 3}
        async with webhook(outside.port, reach, resolve=resolve) as channel:
            with pytest.raises(PermanentFailure, match="where it must not"):
                await channel.send(message(f"http://127.0.0.2:{outside.port}/"))
    assert (len(outside.requests), inside.connections) == (1, 0)


def test_loopback_stands_for_the_world() -> None:
    """What these tests allow is not allowed by itself."""
    assert not any(Networks().permit(network.network_address) for network in LOOPBACK.allowed)
