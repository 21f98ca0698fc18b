"""What the settings of a webhook provider say, and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from chimeway.clock import SystemClock
from chimeway.delivery.channels.webhook import WebhookChannel
from chimeway.delivery.configured import ConfiguredProvider, read_channels
from chimeway.errors import InvalidSettings
from chimeway.setting_tables import Place
from kit.receiver import receiving
from kit.webhooks import SECRET, message


def provider(**options: Any) -> ConfiguredProvider:
    """Read one provider of the channel `hook`."""
    table = {"hook": {"providers": [{"kind": "webhook", **options}]}}
    return read_channels(table, Place("channels", "chimeway.toml"))["hook"].providers[0]


def built(**options: Any) -> WebhookChannel:
    """Read and build it."""
    channel = provider(**options).build("hook", SystemClock())
    assert isinstance(channel, WebhookChannel)
    return channel


async def test_a_provider_of_the_settings_posts() -> None:
    """Names, networks, ports and secrets are as they were set; the channel has the name of its table."""
    async with receiving() as receiver:
        options = {"allow_http": True, "ports": [receiver.port], "allow_networks": ["127.0.0.1"]}
        async with built(secret=SECRET, **options) as channel:
            assert (channel.name, channel.needs_address) == ("hook", True)
            await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
        async with built(secret=SECRET, **options, url=f"http://localhost:{receiver.port}/all") as channel:
            assert not channel.needs_address
    Webhook(SECRET).verify(receiver.requests[0].body.decode(), receiver.requests[0].headers)


async def test_secrets_come_from_files(tmp_path: Path) -> None:
    """One secret is a file's text, those of tenants are JSON; none of them is shown."""
    (tmp_path / "secrets.json").write_text(json.dumps({"org_456": SECRET}))
    (tmp_path / "master").write_text(SECRET.replace("M", "N") + "\n")
    made = provider(secrets_file=str(tmp_path / "secrets.json"), master_key_file=str(tmp_path / "master"))
    shown = " ".join(f"{row.name}={row.value}" for row in made.options.describe())
    assert "secrets=***" in shown
    assert "master_key=***" in shown
    assert SECRET[7:] not in f"{shown} {made.options!r} {made!r}"
    async with receiving() as receiver:
        options = {"allow_http": True, "ports": [receiver.port], "allow_networks": ["127.0.0.1"]}
        async with built(secrets_file=str(tmp_path / "secrets.json"), **options) as channel:
            await channel.send(message(f"http://127.0.0.1:{receiver.port}/"))
    Webhook(SECRET).verify(receiver.requests[0].body.decode(), receiver.requests[0].headers)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "secret, secrets or master_key must be set"),
        ({"secret": SECRET, "master_key": SECRET}, "both set"),
        ({"secret": "hunter2"}, "secret .*right would be whsec_ and the base64"),
        ({"secrets": {"org_456": "hunter2"}}, "secrets.*right would be whsec_ and the base64"),
        ({"secret": SECRET, "url": "https://user:hunter2@example.org/"}, "url: .*a user or a password"),
        ({"secret": SECRET, "url": "http://example.org/hunter2"}, "only https"),
        (
            {"secret": SECRET, "allow_networks": ["10.0.0.1/8"]},
            "allow_networks.*networks like",
        ),
        ({"secret": SECRET, "ports": [0]}, "ports"),
        ({"secret": SECRET, "redirects": 6}, "redirects is 6"),
        ({"secret": SECRET, "reply_timeout": 15}, "reply_timeout.*PT3S"),
        ({"secret": SECRET, "ca_file": "/no/such/file.pem"}, "ca_file"),
        ({"secret": SECRET, "reference_header": "x: y"}, "reference_header"),
        ({"secret": SECRET, "secert": "hunter2"}, "secert .*did you mean secret"),
    ],
)
def test_what_cannot_be_set(options: dict[str, Any], told: str) -> None:
    """Each fault is named by its path, with what would be right, and no secret is shown."""
    with pytest.raises(InvalidSettings, match=rf"channels\.hook\.providers\[0\].*{told}") as caught:
        built(**options)
    assert "hunter2" not in str(caught.value)
