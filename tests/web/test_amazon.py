"""Amazon at the door: a certificate fetched by real TLS from the host it must lie at, and nowhere else."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx2
import pytest

from chimeway.clock import SystemClock
from chimeway.store.pool import Database
from chimeway.web.amazon import Certificates
from chimeway.web.fetching import Fetch, Unfetched, fetching
from kit.certificates import ca_file, serving
from kit.door import Provider, door
from kit.sns import CERTIFICATE_URL, HOST, TOPIC, Signer, mail, notification, subscription
from web.test_door import sent, stands

SES: Final = {"ses": {"kind": "amazon_ses", "topics": [TOPIC]}}
_PATH: Final = CERTIFICATE_URL.removeprefix(f"https://{HOST}")


@dataclass
class Amazon:
    """A server by TLS under Amazon's name; what it was asked for, and what it answers."""

    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fetch: Fetch = field(default_factory=fetching)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked.append(path)
        assert f"Host: {HOST}\r\n" in head
        writer.write(
            self.answers.get(path.partition("?")[0], b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n")
        )
        await writer.drain()
        writer.close()


def ok(body: bytes) -> bytes:
    """Return an answer with a body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@asynccontextmanager
async def amazon(answers: Mapping[str, bytes], name: str = HOST) -> AsyncIterator[Amazon]:
    """Serve while the block lasts, with a certificate for this name."""
    there = Amazon(dict(answers))
    server = await asyncio.start_server(there.answer, "127.0.0.1", 0, ssl=serving(name))
    trust = ssl.create_default_context(cafile=str(ca_file()))
    there.fetch = fetching(trust, at=server.sockets[0].getsockname()[:2])
    async with server:
        yield there


async def post(provider: Provider, body: bytes) -> httpx2.Response:
    """Post as SNS does."""
    return await provider.client.post(
        "/v1/feedback/ses", content=body, headers={"Content-Type": "text/plain"}
    )


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Amazon's key of this test."""
    return Signer.made()


async def test_a_bounce_signed_by_amazon_counts(database: Database, signer: Signer) -> None:
    """The certificate is fetched once for all; the same message again changes nothing."""
    world, delivery = await sent(database)
    told = {"eventType": "Bounce", "bounce": {"bounceType": "Permanent"}, "mail": mail(delivery)}
    body = signer.signed(notification(told), "1")
    async with amazon({_PATH: ok(signer.certificate)}) as there, door(database, SES, there.fetch) as provider:
        answers = [(await post(provider, body)).json()["events"][0]["answer"] for _ in range(3)]
        assert answers == ["recorded", "repeat", "repeat"]
        assert there.asked == [_PATH]
        forged = Signer.made().signed(notification(told, MessageId="another"))
        assert (await post(provider, forged)).status_code == 401
    assert await stands(world) == ("cancelled", "bounced", 1, 1)


async def test_a_subscription_is_confirmed(database: Database, signer: Signer) -> None:
    """Amazon's question for a topic that is set up is answered at Amazon's URL; one of another is not."""
    async with (
        amazon({_PATH: ok(signer.certificate), "/": ok(b"<ConfirmSubscriptionResponse/>")}) as there,
        door(database, SES, there.fetch) as provider,
    ):
        answered = await post(provider, signer.signed(subscription()))
        assert (answered.status_code, answered.json()) == (200, {"events": []})
        assert there.asked[1:] == [f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"]
        other = subscription(TopicArn=f"{TOPIC}-of-eve")
        assert (await post(provider, signer.signed(other))).status_code == 401
        assert len(there.asked) == 2


REDIRECT: Final = b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/x.pem\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        REDIRECT,
        b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n",
        ok(b"x" * 70_000),
        ok(b"<html>be back soon</html>"),
        ok(b"-----BEGIN CERTIFICATE-----\n" + b"x" * 2_000).replace(b"Length: 2", b"Length: 3"),  # cut off
        b"rubbish\r\n\r\n",
    ],
)
async def test_what_cannot_be_fetched_is_asked_for_later(
    database: Database, signer: Signer, answer: bytes
) -> None:
    """No redirect is followed; the provider sends it again, and Amazon is left alone for a while."""
    async with amazon({_PATH: answer}) as there, door(database, SES, there.fetch) as provider:
        body = signer.signed(notification("{}"))
        for _ in range(2):
            assert (await post(provider, body)).status_code == 503
        assert there.asked == [_PATH]


async def test_another_host_does_not_pass_for_amazons(signer: Signer) -> None:
    """A certificate of TLS for another name ends it before anything is asked."""
    async with amazon({_PATH: ok(signer.certificate)}, name="evil.example") as there:
        with pytest.raises(Unfetched, match=r"SSLCertVerificationError"):
            await Certificates(there.fetch, SystemClock()).get(CERTIFICATE_URL)
        assert there.asked == []
