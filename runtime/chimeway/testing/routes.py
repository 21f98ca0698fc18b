"""The routes of a played journey: gates that are always open, for time stands while it is played."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from chimeway.clock import Clock
from chimeway.delivery.channel import ErrorClass
from chimeway.delivery.declared import Offer
from chimeway.delivery.gate import Gate
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import Provider, Route
from chimeway.progression.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from chimeway.testing.recording import Recorders


class OpenGate(Gate):
    """Lets everything through, and remembers nothing."""

    def closed_for(self, endpoint: str | None = None) -> float:  # noqa: ARG002  (a gate's own signature)
        """Say that a call may be made."""
        return 0.0

    def take(self, endpoint: str | None = None) -> float:  # noqa: ARG002  (the same)
        """Let a call be made."""
        return 0.0

    def give_back(self, endpoint: str | None = None) -> None:
        """Forget that a call was to be made."""

    def record(
        self, error_class: ErrorClass | None, retry_after_s: float | None = None, endpoint: str | None = None
    ) -> None:
        """Forget how a call ended."""


class Routes(Mapping[str, Route]):
    """A route for each channel, made when it is first asked for."""

    def __init__(self, channels: Recorders, clock: Clock, retry: RetryPolicy) -> None:
        """Take what is sent by, and the limits of retrying; a channel's own hold where they are the usual."""
        self._channels = channels
        self._clock = clock
        self._retry = retry
        self._made: dict[str, Route] = {}

    def __getitem__(self, name: str) -> Route:
        """Return the route of a channel."""
        if name not in self._made:
            self._made[name] = Route(name, [self._provider(offer) for offer in self._channels.ways(name)])
        return self._made[name]

    def _provider(self, offer: Offer) -> Provider:
        limits = offer.limits or ChannelLimits()
        if self._retry is not DEFAULT_RETRY_POLICY:
            retry = self._retry
            limits = replace(limits, max_attempts=retry.max_attempts, max_age_s=retry.max_age_s)
        gate = OpenGate(offer.channel.name, offer.provider, limits, self._clock)
        return Provider(offer.provider, offer.channel, limits, gate)

    def __iter__(self) -> Iterator[str]:
        """Go through the names of channels."""
        return iter(self._channels)

    def __len__(self) -> int:
        """Count them."""
        return len(self._channels)
