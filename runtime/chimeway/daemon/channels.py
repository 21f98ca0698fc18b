"""What a node sends by: channels of the app, channels of the settings, and `log`; the route of each."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from chimeway.clock import Clock
from chimeway.delivery.channel import opened
from chimeway.delivery.channels.log import LogChannel
from chimeway.delivery.configured import Configured, ConfiguredChannel, read_channels
from chimeway.delivery.declared import Offer
from chimeway.delivery.gate import Gate
from chimeway.delivery.pacing import limits_of
from chimeway.delivery.route import Provider, Route
from chimeway.errors import InvalidSettings
from chimeway.log import Events
from chimeway.setting_tables import Setting
from chimeway.settings import Settings

_log = Events()
_EMAIL: Final = "email"


def configured(settings: Settings) -> Configured:
    """Read the channels of the settings; `CHIMEWAY_SMTP_URL` is the short way for one provider of e-mail.

    Raises:
        InvalidSettings: something in them is missing or wrong.
        MissingExtra: a provider's package is not installed.
    """
    given, place = settings.table("channels")
    channels = dict(read_channels(given, place, settings.email_from))
    if settings.smtp_url is None:
        return channels
    if settings.email_from is None:
        raise InvalidSettings(
            "CHIMEWAY_EMAIL_FROM is not set, and CHIMEWAY_SMTP_URL is: who sends the e-mails?",
            variable="CHIMEWAY_EMAIL_FROM",
        )
    if _EMAIL in channels and channels[_EMAIL].providers:
        raise InvalidSettings(
            f"CHIMEWAY_SMTP_URL is set, and channels.email has providers ({place.origin}): one of them",
            variable="CHIMEWAY_SMTP_URL",
        )
    table: dict[str, Any] = dict(given.get(_EMAIL, {}))
    table["providers"] = [{"kind": "smtp", "url": settings.smtp_url.get_secret_value()}]
    channels.update(read_channels({_EMAIL: table}, place, settings.email_from))
    return channels


def described(settings: Settings) -> Iterator[Setting]:
    """Go through what the table of channels sets, secrets masked; what has a row of its own is left out."""
    given, place = settings.table("channels")
    for channel in read_channels(given, place, settings.email_from).values():
        yield from channel.describe()


@asynccontextmanager
async def routes(
    found: Configured, offers: Sequence[Offer], clock: Clock
) -> AsyncIterator[Mapping[str, Route]]:
    """Open all channels while the block lasts, and give the route of each by its name.

    Raises:
        InvalidSettings: the settings and the app do not fit together, or a provider cannot be used.
    """
    made = list(_routes(found, [Offer(LogChannel(), "log"), *offers], clock))
    async with AsyncExitStack() as stack:
        for route in made:
            for provider in route.providers:
                await stack.enter_async_context(opened(provider.channel))
                _log.info("channel.opened", channel=route.name, provider=provider.name)
        yield {route.name: route for route in made}


def _routes(found: Configured, offers: Sequence[Offer], clock: Clock) -> Iterator[Route]:
    names = list(dict.fromkeys([offer.channel.name for offer in offers] + list(found)))
    for name in names:
        declared = [offer for offer in offers if offer.channel.name == name]
        table = found.get(name)
        if table is not None:
            _refuse_mixture(table, declared)
        yield Route(name, [*_of_app(declared, table, clock), *_of_settings(table, clock)])


def _refuse_mixture(table: ConfiguredChannel, declared: Sequence[Offer]) -> None:
    place = table.place
    if table.providers and declared:
        told = f"has providers ({place.origin}), and the app declares a channel {table.name} too"
        raise place.fault(f"{told}: one of them, please")
    if not table.providers and not declared:
        told = f"({place.origin}) has limits, but nobody to send by"
        raise place.fault(f"{told}: give it providers, or declare a channel {table.name} in the app")


def _of_app(declared: Sequence[Offer], table: ConfiguredChannel | None, clock: Clock) -> Iterator[Provider]:
    for offer in declared:
        limits = offer.limits or limits_of(offer.channel)
        if table is not None:
            limits = table.table.over(limits)
        yield Provider(
            offer.provider, offer.channel, limits, Gate(offer.channel.name, offer.provider, limits, clock)
        )


def _of_settings(table: ConfiguredChannel | None, clock: Clock) -> Iterator[Provider]:
    if table is None:
        return
    for one in table.providers:
        channel = one.build(table.name, clock)
        limits = one.table.over(table.table.over(limits_of(channel)))
        yield Provider(one.name, channel, limits, Gate(table.name, one.name, limits, clock))
