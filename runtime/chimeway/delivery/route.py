"""The providers of one channel, in declared order, and which of them the next attempt goes to.

An attempt is one call of one provider. The rule, pure in `next_of` and `at_once`:

1. **After an uncertain failure (`unknown`, `timeout`) the delivery stays with that provider**, for all its
   further attempts: it may have the message, and only it knows our idempotency key. Another would make two.
2. Else the next provider not yet tried in this round is asked; a round ends when all have been. So after a
   failure that is surely no delivery (`transient`, `rate_limited`, `configuration`) another is asked at
   once; when there is none, the round is over and the pause of retrying comes before the next.
3. Who answered `configuration` is not asked again for this delivery, as long as another is left: it is
   set up wrong, and only somebody's hand changes that.
4. A provider whose gate is closed is passed over. When all that may be asked are closed, the delivery waits
   until the first of them opens; nothing is counted for that.

`permanent` and `bounced` end the delivery: what one provider says of a message or an address holds for all.
An attempt that names no provider (the schema was older then) was one of the first declared. One of a provider
that is no longer there says nothing of the others; but where it was uncertain, the delivery has to stay with
somebody, and again that is the first.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from chimeway.clock import Clock
from chimeway.delivery.channel import Channel, ErrorClass, Sent, classify, needs_address, retry_after
from chimeway.delivery.gate import Gate
from chimeway.delivery.pacing import ChannelLimits, limits_of
from chimeway.store.deliveries import Sendable

UNCERTAIN: Final[frozenset[ErrorClass]] = frozenset({"unknown", "timeout"})
"""After these the provider may have the message."""


class Tried(NamedTuple):
    """A failed attempt: which provider, and its error class."""

    provider: str | None
    error_class: ErrorClass


def tried(delivery: Sendable) -> list[Tried]:
    """Return what failed of a delivery so far, the oldest first."""
    return [Tried(provider, error_class) for provider, error_class in delivery.history]


def next_of(names: Sequence[str], closed: Mapping[str, float], history: Sequence[Tried]) -> str | float:
    """Return which provider the next attempt goes to, or in how many seconds to ask again.

    Args:
        names: the channel's providers, in declared order: at least one.
        closed: for how many seconds each is closed; 0.0: it is open.
        history: the failed attempts of the delivery, the oldest first.
    """
    may = _may_be_asked(names, history)
    asked = _round(names, history)
    in_turn = [name for name in may if name not in asked] + [name for name in may if name in asked]
    for name in in_turn:
        if closed[name] <= 0.0:
            return name
    return min(closed[name] for name in may)


def at_once(names: Sequence[str], closed: Mapping[str, float], history: Sequence[Tried]) -> bool:
    """Say whether another provider can be asked at once, after the last failure of `history`."""
    asked = _round(names, history)
    return any(name not in asked and closed[name] <= 0.0 for name in _may_be_asked(names, history))


def none_left(names: Sequence[str], history: Sequence[Tried]) -> bool:
    """Say whether all who may be asked have answered `configuration`."""
    return set(_may_be_asked(names, history)) <= _set_up_wrong(names, history)


def _may_be_asked(names: Sequence[str], history: Sequence[Tried]) -> list[str]:
    """Return the providers that rules 1 and 3 allow, in declared order."""
    for one in reversed(history):
        if one.error_class in UNCERTAIN:
            return [_asked(names, one) or names[0]]
    wrong = _set_up_wrong(names, history)
    return [name for name in names if name not in wrong] or list(names)


def _set_up_wrong(names: Sequence[str], history: Sequence[Tried]) -> set[str | None]:
    return {_asked(names, one) for one in history if one.error_class == "configuration"}


def _round(names: Sequence[str], history: Sequence[Tried]) -> set[str]:
    """Return who was tried in the present round: one who is tried again begins a new one."""
    asked: set[str] = set()
    for one in history:
        name = _asked(names, one)
        if name is not None:
            asked = {name} if name in asked else asked | {name}
    return asked


def _asked(names: Sequence[str], one: Tried) -> str | None:
    """Return which of these providers an attempt went to; None: one that is no longer there."""
    if one.provider is None:
        return names[0]
    return one.provider if one.provider in names else None


@dataclass(frozen=True, slots=True)
class Provider:
    """One way out of a channel, with its limits and its gate."""

    name: str
    channel: Channel
    limits: ChannelLimits
    gate: Gate

    def endpoint(self, address: str | None) -> str | None:
        """Return whose answer a call for this address gives; None: the provider's own."""
        ask = getattr(self.channel, "endpoint", None)
        if ask is None or address is None:
            return None
        try:
            found = ask(address)
        except Exception:  # noqa: BLE001  (an address it cannot read: its send says what is wrong)
            return None
        return found if isinstance(found, str) and found else None

    def take(self, address: str | None) -> float:
        """Take the right to make one call now: 0.0; else return in how many seconds to come again."""
        return self.gate.take(self.endpoint(address))

    def give_back(self, address: str | None) -> None:
        """The call was not made after all."""
        self.gate.give_back(self.endpoint(address))

    def record(self, answer: Sent | Exception, address: str | None) -> None:
        """Take how the call ended."""
        error_class = classify(answer) if isinstance(answer, Exception) else None
        asked = retry_after(answer) if isinstance(answer, Exception) else None
        self.gate.record(error_class, asked, self.endpoint(address))


class Route:
    """A channel as deliveries see it: its name, its limits, and a provider for each attempt."""

    def __init__(self, name: str, providers: Sequence[Provider]) -> None:
        """Take the channel's name, and its providers in the order of failover: at least one."""
        assert providers, "a channel without a provider"
        self.name = name
        self.providers = tuple(providers)
        self.limits = providers[0].limits
        """What holds for the whole channel: concurrency, attempts, age."""
        self.needs_address = any(needs_address(one.channel) for one in providers)
        self._by_name = {one.name: one for one in providers}

    def closed_for(self) -> float:
        """Return for how many seconds no provider can be called; 0.0: one can."""
        return min(one.gate.closed_for() for one in self.providers)

    @property
    def one_by_one(self) -> bool:
        """Whether the way must be looked at before each call: a rate, or a breaker on trial."""
        return any(one.gate.one_by_one for one in self.providers)

    def choose(self, history: Sequence[Tried], address: str | None = None) -> Provider | float:
        """Return the provider of the next attempt, or in how many seconds to ask again."""
        chosen = next_of(tuple(self._by_name), self._closed(address), history)
        return self._by_name[chosen] if isinstance(chosen, str) else chosen

    def failing_for(self, history: Sequence[Tried], address: str | None = None) -> float:
        """Return for how many seconds all who may be asked have been failing."""
        may = [self._by_name[name] for name in _may_be_asked(tuple(self._by_name), history)]
        return min(one.gate.failing_for(one.endpoint(address)) for one in may)

    def whose(self, address: str | None) -> Hashable:
        """Return what all messages have in common that go to the same servers."""
        return tuple(one.endpoint(address) for one in self.providers)

    def another(
        self, history: Sequence[Tried], address: str | None = None
    ) -> Literal["at_once", "later", "none"]:
        """Say whether another provider can be asked, after the last failure of `history`."""
        names = tuple(self._by_name)
        if at_once(names, self._closed(address), history):
            return "at_once"
        return "none" if none_left(names, history) else "later"

    def _closed(self, address: str | None) -> dict[str, float]:
        return {one.name: one.gate.closed_for(one.endpoint(address)) for one in self.providers}


def single(channel: Channel, clock: Clock, limits: ChannelLimits | None = None) -> Route:
    """Return the route of a channel that has one way out, called as the channel is."""
    held = limits or limits_of(channel)
    return Route(
        channel.name, [Provider(channel.name, channel, held, Gate(channel.name, channel.name, held, clock))]
    )
