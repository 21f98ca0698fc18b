"""Channels in the settings: what can be said, what is refused, and what a node makes of it with an app's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from chimeway.app import App
from chimeway.clock import SystemClock
from chimeway.daemon.channels import configured, described, routes
from chimeway.delivery.channel import Message, Sent
from chimeway.delivery.declared import Offer
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import Route
from chimeway.errors import InvalidSettings
from chimeway.settings import Settings

SMTP = {"kind": "smtp", "url": "smtp://ada:hunter2@h", "from": "a@example.org"}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work where no chimeway.toml is."""
    monkeypatch.chdir(tmp_path)


async def send_sms(_message: Message) -> None:
    """Send nothing."""


async def made(offers: Sequence[Offer] = (), **settings: Any) -> Mapping[str, Route]:
    """Return the routes of a node with these settings."""
    async with routes(configured(Settings(**settings)), offers, SystemClock()) as found:
        return found


def ways(route: Route) -> list[tuple[str, str]]:
    """Name the providers, and what they are."""
    return [(one.name, type(one.channel).__name__) for one in route.providers]


async def test_providers_stand_in_declared_order_with_their_limits() -> None:
    """Names come from kind and place; a provider's limits go before the channel's, these before the usual."""
    table = {
        "concurrency": 8, "timeout": "PT5S", "rate": 2.0, "max_attempts": 3, "max_age": "PT1H",
        "providers": [SMTP, {"kind": "log"}, SMTP | {"name": "backup", "rate": 9.0}, SMTP],
    }  # fmt: skip
    email = (await made(channels={"email": table}))["email"]
    assert ways(email) == [
        ("smtp-1", "EmailChannel"), ("log-1", "LogChannel"), ("backup", "EmailChannel"),
        ("smtp-3", "EmailChannel"),
    ]  # fmt: skip
    assert email.limits == ChannelLimits(8, 5.0, 2.0, max_attempts=3, max_age_s=3600.0)
    assert [one.limits.rate for one in email.providers] == [2.0, 2.0, 9.0, 2.0]
    assert [one.channel.name for one in email.providers] == ["email"] * 4


async def test_the_short_way_is_one_provider_of_e_mail() -> None:
    """CHIMEWAY_SMTP_URL makes one; the table may still set limits, and no second way is taken silently."""
    short = {"smtp_url": "smtp://h", "email_from": "a@example.org"}
    email = (await made(**short, channels={"email": {"max_attempts": 2}}))["email"]
    assert ways(email) == [("smtp-1", "EmailChannel")]
    assert email.limits.max_attempts == 2
    with pytest.raises(InvalidSettings, match=r"channels\.email has providers .* one of them"):
        configured(Settings(**short, channels={"email": {"providers": [SMTP]}}))
    with pytest.raises(InvalidSettings, match="CHIMEWAY_EMAIL_FROM is not set"):
        configured(Settings(smtp_url="smtp://h"))


async def test_an_app_and_the_settings_share_a_channel_by_limits_only() -> None:
    """Settings go before what the app says; providers from both sides are refused, limits of nobody too."""
    app = App()
    app.channel("sms", provider="one", limits=ChannelLimits(rate=1.0, max_attempts=4))(send_sms)
    app.channel("sms", provider="two")(send_sms)
    offers = app.declared.offers
    sms = (await made(offers, channels={"sms": {"max_attempts": 2}}))["sms"]
    assert ways(sms) == [("one", "FunctionChannel"), ("two", "FunctionChannel")]
    assert [(one.limits.rate, one.limits.max_attempts) for one in sms.providers] == [(1.0, 2), (None, 2)]
    with pytest.raises(
        InvalidSettings, match=r"channels\.sms has providers .* the app declares a channel sms"
    ):
        await made(offers, channels={"sms": {"providers": [{"kind": "log"}]}})
    with pytest.raises(InvalidSettings, match=r"channels\.push .* has limits, but nobody to send by"):
        await made(offers, channels={"push": {"rate": 1.0}})


async def test_a_class_carries_its_limits() -> None:
    """A channel's attribute `limits` holds where nobody says more."""

    class Slow:
        name = "slow"
        limits = ChannelLimits(concurrency=1)

        async def send(self, message: Message) -> Sent:
            return Sent(message.delivery_id)

    app = App()
    app.channel("slow")(Slow)
    assert (await made(app.declared.offers))["slow"].limits.concurrency == 1


WRONG: dict[str, tuple[Any, str]] = {
    "the inbox": ({"in_app": {}}, "channels.in_app (command line) cannot be set up: in_app is the inbox"),
    "log has no providers": (
        {"log": {"providers": [{"kind": "log"}]}},
        "channels.log (command line) cannot have",
    ),
    "no table": ({"email": 3}, "channels.email is 3 (command line); right would be a table"),
    "a rate below nothing": (
        {"email": {"rate": -1.0}},
        "channels.email.rate is -1.0 (command line); right would be a number above 0",
    ),
    "a burst of nothing": (
        {"email": {"burst": 3}},
        "channels.email.burst is 3 (command line); right would be a rate",
    ),
    "a misspelt limit": (
        {"email": {"providers": [SMTP | {"tmeout": "PT1S"}]}},
        "channels.email.providers[0].tmeout (command line) is not a setting; did you mean timeout?",
    ),
    "an unknown kind": (
        {"email": {"providers": [SMTP, {"kind": "smpt"}]}},
        "channels.email.providers[1].kind is 'smpt' (command line); right would be one of smtp, ",
    ),
    "no kind": ({"email": {"providers": [{}]}}, "channels.email.providers[0].kind is not set (command line)"),
    "no sender": (
        {"email": {"providers": [{"kind": "smtp", "url": "smtp://ada:hunter2@h"}]}},
        "channels.email.providers[0].from is not set (command line), and must be",
    ),
    "a name twice": (
        {"email": {"providers": [SMTP | {"name": "a"}, SMTP | {"name": "a"}]}},
        "channels.email.providers[1].name is 'a' (command line), as another's before it",
    ),
    "a secret twice": (
        {"hook": {"providers": [{"kind": "webhook", "secrets": '{"a": "hunter2", "a": "hunter2"}'}]}},
        "channels.hook.providers[0].secrets is a text of 32 characters, not shown",
    ),
    "a channel without a name": ({"": {}}, "channels.'' (command line) cannot be set up: a channel's name"),
}


@pytest.mark.parametrize(("given", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_is_refused_by_its_path(given: Any, told: str) -> None:
    """Each fault is told when settings are read, before anything is opened; no secret is shown."""
    with pytest.raises(InvalidSettings) as caught:
        configured(Settings(channels=given))
    assert str(caught.value).startswith(f"invalid_settings: {told}")
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "JSON, like"),
        ("[]", "a valid dictionary"),
        ('{"email": {}, "email": {}}', "JSON whose objects have each name once"),
        ('{"email": {"rate": NaN}}', "JSON, which has no NaN"),
        ("[" * 100_000, "JSON that is not nested so deep"),
        ('{"email": {"burst": ' + "9" * 5_000 + "}}", "JSON whose integers have at most 100 digits"),
    ],
)
def test_the_environment_speaks_json(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CHIMEWAY_CHANNELS is JSON, read strictly, and not shown when it is none."""
    monkeypatch.setenv("CHIMEWAY_CHANNELS", '{"email": {"concurrency": 3}}')
    assert configured(Settings())["email"].table.concurrency == 3
    monkeypatch.setenv("CHIMEWAY_CHANNELS", text)
    with pytest.raises(InvalidSettings, match=f"CHIMEWAY_CHANNELS is a text of {len(text)} char.*{told}"):
        Settings()


def test_what_is_set_is_shown_without_secrets(tmp_path: Path) -> None:
    """--print-settings has a row for each value of the table, masked; its own row has names only."""
    (tmp_path / "chimeway.toml").write_text(
        '[channels.email]\nconcurrency = 8\n[[channels.email.providers]]\nkind = "smtp"\n'
        'url = "smtp://ada:hunter2@h"\nfrom = "a@example.org"\n'
    )
    settings = Settings()
    assert [tuple(row) for row in described(settings)] == [
        ("channels.email.concurrency", "8", "chimeway.toml"),
        ("channels.email.providers[0].kind", "smtp", "chimeway.toml"),
        ("channels.email.providers[0].url", "smtp://ada:***@h", "chimeway.toml"),
        ("channels.email.providers[0].from", "a@example.org", "chimeway.toml"),
    ]
    assert ("CHIMEWAY_CHANNELS", "email", "chimeway.toml") in settings.describe()
