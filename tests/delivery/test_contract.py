"""The channel contract, kept by apprise with URLs of several kinds, by the log, and by an app's function.

(E-mail and webhooks have a module of their own.)
"""

import pytest

from chimeway import App
from chimeway.delivery.channel import Message, Sent
from chimeway.delivery.channels.apprise import AppriseChannel
from chimeway.delivery.channels.log import LogChannel
from chimeway.testing import FaultyHttp, FaultySmtp, channel_contract
from kit.plain_channel import PlainChannel

SECRET = "s3cr3tt0ken4711"
LOOPBACK = ["127.0.0.0/8"]


URLS = {
    "json": f"json://user:{SECRET}@{{place}}/hook",
    "ntfy": f"ntfy://user:{SECRET}@{{place}}/topic",
    "xml": f"xml://user:{SECRET}@{{place}}/hook",
    "form": f"form://user:{SECRET}@{{place}}/hook",
    "gotify": f"gotify://{{place}}/A{SECRET}",
    "mmost": f"mmost://{{place}}/{SECRET}",
}
_QUICK = {"json", "ntfy"}


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=[] if name in _QUICK else [pytest.mark.big]) for name in URLS]
)
async def test_recipients_apprise_urls(kind: str) -> None:
    """Each recipient has a URL of their own: every fault has its right class, and no token is told."""
    async with FaultyHttp() as provider:

        def channel() -> AppriseChannel:
            return AppriseChannel("chat", schemes=[kind], allow_networks=LOOPBACK, timeout_s=1)

        address = URLS[kind].format(place=f"127.0.0.1:{provider.port}")
        await channel_contract(channel, provider, address=address, secrets=[SECRET], timeout_s=3)


@pytest.mark.big
async def test_one_apprise_url_for_all() -> None:
    """The URL is of the settings: what is wrong with it is our fault, and no recipient's."""
    async with FaultyHttp() as provider:

        def channel() -> AppriseChannel:
            url = f"json://user:{SECRET}@127.0.0.1:{provider.port}/to/{{address}}"
            return AppriseChannel("chat", url=url, allow_networks=LOOPBACK, timeout_s=1)

        report = await channel_contract(
            channel, provider, address="+447700900123", secrets=[SECRET], timeout_s=3,
            answers={"bounce": {"configuration"}},
        )  # fmt: skip
    assert report.answer("bounce") == "configuration"


@pytest.mark.big
async def test_a_service_that_does_not_speak_http() -> None:
    """Of e-mail by apprise nothing is known but yes and no; and SMTP has no place for the key there."""
    async with FaultySmtp() as provider:

        def channel() -> AppriseChannel:
            place = f"user:{SECRET}@127.0.0.1:{provider.port}"
            url = f"mailto://{place}/?from=me@example.org&mode=insecure&to={{address}}"
            return AppriseChannel("mail", url=url, allow_networks=LOOPBACK, timeout_s=2)

        unknown = ("rate_limit", "permanent", "bounce")
        report = await channel_contract(
            channel, provider, secrets=[SECRET], timeout_s=6,
            answers={fault: {"unknown"} for fault in unknown},  # type: ignore[misc]
            without={
                "gives its key": "apprise writes the Message-ID by itself",
                "answers (close_mid_reply)": "smtplib takes the beginning of a yes for a yes",
            },
        )  # fmt: skip
    assert report.answer("refuse") == "unknown"


async def test_log() -> None:
    """The log has no provider; what can be tried of it holds."""
    report = await channel_contract(
        LogChannel, None, address=None, without={"logs no secret": "it is there to log messages"}
    )
    assert {one.rule for one in report.findings if one.verdict == "kept"} >= {"sends", "takes any value"}


async def test_a_function_of_an_app() -> None:
    """A function is a channel as a class is one: what it does not say itself is said for it."""
    async with FaultyHttp() as provider:
        app, sender = App(), PlainChannel(provider.url)

        @app.channel("sms")
        async def send(message: Message) -> Sent:
            return await sender.send(message)

        await channel_contract(lambda: app.declared.channels[0], provider, timeout_s=2)
