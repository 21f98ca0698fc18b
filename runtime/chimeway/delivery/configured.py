"""Channels as the settings have them: `[channels.email]`, its limits and its providers.

    [channels.email]
    concurrency = 8
    [[channels.email.providers]]
    kind = "smtp"
    url = "smtp://mail.example.org"

The limits of a channel hold for all its providers; a provider's own go before them. Limits may be set for any
channel, also for one that an app declares; providers for none that an app declares. Nothing here connects.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pydantic import Field

from chimeway.clock import Clock
from chimeway.delivery.channel import BUILT_IN, Channel
from chimeway.delivery.kinds import KINDS, kind_called
from chimeway.delivery.pacing import ChannelLimits
from chimeway.errors import InvalidInput, InvalidSettings
from chimeway.limits import MAX_IDENTIFIER_CHARS
from chimeway.setting_kinds import Duration
from chimeway.setting_tables import Options, Place, Setting, parted, read_table
from chimeway.setting_words import quoted


class ProviderLimits(Options):
    """What can be said of each provider by itself."""

    timeout: Duration | None = None
    rate: float | None = None
    burst: int | None = None
    breaker_failures: int | None = None
    breaker_pause: Duration | None = None

    def over(self, limits: ChannelLimits) -> ChannelLimits:
        """Return the limits with what is set here in their place.

        Raises:
            InvalidSettings: a value cannot be.
        """
        given: dict[str, Any] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name in ChannelLimits.__slots__:
                given[name] = value
            elif isinstance(value, timedelta):
                given[f"{name}_s"] = value.total_seconds()
        try:
            return replace(limits, **given)
        except InvalidInput as fault:
            place = self._place.of(str(fault.details["field"]).removesuffix("_s"))
            wanted = str(fault).partition("wanted ")[2]
            told = f"is {quoted(fault.details['given'])} ({place.origin}); right would be {wanted}"
            raise place.fault(told) from None


class ChannelTable(ProviderLimits):
    """`[channels.<name>]`."""

    concurrency: int | None = None
    max_attempts: int | None = None
    max_age: Duration | None = None
    providers: list[Any] = Field(default=[], repr=False)  # read one by one, each as its kind says


class ProviderTable(ProviderLimits):
    """What `[[channels.<name>.providers]]` has in common, whatever its kind."""

    kind: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ConfiguredProvider:
    """One provider: its name, and all there is to build it of."""

    name: str
    table: ProviderTable
    options: Options
    place: Place

    def build(self, channel: str, clock: Clock) -> Channel:
        """Make it; nothing is connected to yet."""
        try:
            return kind_called(self.table.kind).build(self.options, channel, clock)
        except (InvalidSettings, InvalidInput) as fault:
            raise self.place.fault(f"cannot be used ({self.place.origin}): {fault.message}") from None


@dataclass(frozen=True, slots=True)
class ConfiguredChannel:
    """One channel's limits, as far as they are set, and its providers in the order of failover."""

    name: str
    table: ChannelTable
    providers: tuple[ConfiguredProvider, ...]
    place: Place

    def describe(self) -> Iterator[Setting]:
        """Go through all that is set, secrets masked."""
        yield from (row for row in self.table.describe() if not row.name.endswith(".providers"))
        for one in self.providers:
            yield from one.table.describe()
            yield from one.options.describe()


Configured = Mapping[str, ConfiguredChannel]


def read_channels(given: Mapping[str, Any], place: Place, sender: str | None = None) -> Configured:
    """Read the table of all channels.

    Args:
        given: channel's name → its table.
        place: how faults name it.
        sender: who sends e-mails, where an smtp provider does not say it.

    Raises:
        InvalidSettings: a fault, with its path.
        MissingExtra: a provider's package is not installed.
    """
    return {name: _channel(name, table, place, sender) for name, table in given.items()}


def _channel(name: str, given: object, places: Place, sender: str | None) -> ConfiguredChannel:
    place = places.of(name)
    if name == "in_app" or not _is_name(name):
        why = BUILT_IN.get(name, f"a channel's name is a text of 1 to {MAX_IDENTIFIER_CHARS} characters")
        raise place.fault(f"({place.origin}) cannot be set up: {why}")
    table = read_table(ChannelTable, given, place)
    table.over(ChannelLimits())
    if table.providers and name in BUILT_IN:
        raise place.fault(f"({place.origin}) cannot have providers: {BUILT_IN[name]}")
    providers: dict[str, ConfiguredProvider] = {}
    kinds: Counter[str] = Counter()
    for position, one in enumerate(table.providers):
        made = _provider(one, place.of("providers").of(position), sender, kinds)
        if made.name in providers:
            told = f"is {quoted(made.name)} ({place.origin}), as another's before it: give it another"
            raise made.place.of("name").fault(told)
        made.table.over(table.over(ChannelLimits()))
        providers[made.name] = made
    return ConfiguredChannel(name, table, tuple(providers.values()), place)


def _provider(given: object, place: Place, sender: str | None, kinds: Counter[str]) -> ConfiguredProvider:
    """Read a provider, and count it among its kind: the second smtp one is called smtp-2."""
    own, rest = parted(given, ProviderTable)
    table = read_table(ProviderTable, own, place)
    if table.kind not in KINDS:
        told = f"is {quoted(table.kind)} ({place.origin}); right would be one of {', '.join(KINDS)}"
        raise place.of("kind").fault(told)
    if table.name is not None and not _is_name(table.name):
        told = f"a text of 1 to {MAX_IDENTIFIER_CHARS} characters, without control characters"
        raise place.of("name").fault(f"is {quoted(table.name)} ({place.origin}); right would be {told}")
    if table.kind == "smtp" and sender is not None and isinstance(rest, dict):
        rest.setdefault("from", sender)
    options = read_table(kind_called(table.kind).Options, rest, place, also=ProviderTable.model_fields)
    kinds[table.kind] += 1
    name = table.name or f"{table.kind}-{kinds[table.kind]}"
    return ConfiguredProvider(name, table, options, place)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= MAX_IDENTIFIER_CHARS and name.isprintable()
