"""The routes of a played journey: gates that are always open, for time stands while it is played."""

from collections.abc import Iterator, Mapping

from chimeway.clock import Clock
from chimeway.delivery.channel import Channel, ErrorClass
from chimeway.delivery.gate import Gate
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import Provider, Route
from chimeway.progression.retry import RetryPolicy


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

    def __init__(self, channels: Mapping[str, Channel], clock: Clock, retry: RetryPolicy) -> None:
        """Take what is sent by, and the limits of retrying."""
        self._channels = channels
        self._clock = clock
        self._limits = ChannelLimits(max_attempts=retry.max_attempts, max_age_s=retry.max_age_s)
        self._made: dict[str, Route] = {}

    def __getitem__(self, name: str) -> Route:
        """Return the route of a channel."""
        if name not in self._made:
            gate = OpenGate(name, name, self._limits, self._clock)
            self._made[name] = Route(name, [Provider(name, self._channels[name], self._limits, gate)])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names of channels."""
        return iter(self._channels)

    def __len__(self) -> int:
        """Count them."""
        return len(self._channels)
