"""One provider's gate: whether a call may be made to it now, and what its answers say about the next.

Three brakes (`brakes`): a breaker for a provider that fails, a rate that it must not exceed, a pause that it
asked for. A closed gate costs a delivery nothing: no attempt is begun, none counted, its place in the queue
is kept. What a gate knows is in memory, of this node: after a restart ten failures tell it again.

**Whose failure it is.** `transient`, `timeout` and `unknown` count against the provider; every other
answer, also a refusal, shows it at work. But where each message goes to a server of its own (webhooks: one
a customer), that server is the failing party, and its outage must not stop what is for others. Such a
channel says whose answer it is, by a method

    def endpoint(self, address: str) -> str | None      # for webhooks the host

and its result (`Provider.endpoint`) is the `endpoint` of the calls here. Then breaker and pause are that
endpoint's own, and only the rate is the provider's. `closed_for()` without an endpoint is what all calls
have in common: a lane asks that. Endpoints are remembered from their first failure to their next success,
and 10,000 of them at most; who is forgotten is simply asked again.
"""

from collections import OrderedDict

from chimeway.clock import Clock
from chimeway.delivery.brakes import Breaker, Bucket, Pause, State
from chimeway.delivery.channel import ErrorClass
from chimeway.delivery.pacing import ChannelLimits
from chimeway.limits import GATE_ENDPOINTS, PAUSE_MOST_S
from chimeway.log import Events

_log = Events()
_PROVIDERS_FAULT: frozenset[ErrorClass] = frozenset({"transient", "timeout", "unknown"})


class Gate:
    """Of one provider of one channel; for one event loop."""

    def __init__(self, channel: str, provider: str, limits: ChannelLimits, clock: Clock) -> None:
        """Take whose gate it is, for the log, and what holds for it."""
        self._told = {"channel": channel, "provider": provider}
        self._limits = limits
        self._clock = clock
        self._bucket = None if limits.rate is None else Bucket(limits.rate, limits.burst_of_rate)
        self._common = _Party(limits)
        self._parties: OrderedDict[str, _Party] = OrderedDict()

    @property
    def one_by_one(self) -> bool:
        """Whether calls must be let through singly, with a look at the gate before each."""
        return self._bucket is not None or self._common.breaker.state != "closed"

    def closed_for(self, endpoint: str | None = None) -> float:
        """Return the seconds until a call may be made; 0.0: now. Without any effect."""
        now = self._clock.monotonic()
        rate = self._bucket.closed_for(now) if self._bucket else 0.0
        return max(rate, self._common.closed_for(now), self._party(endpoint).closed_for(now))

    def state(self) -> State:
        """Return how the breaker stands that all its calls have in common."""
        return self._common.breaker.state

    def shut_endpoints(self) -> int:
        """Count the endpoints that are not called now, for they fail."""
        return sum(party.breaker.state != "closed" for party in self._parties.values())

    def failing_for(self, endpoint: str | None = None) -> float:
        """Return for how many seconds nothing but failures was heard, as far as this node knows."""
        return self._party(endpoint).breaker.failing_for(self._clock.monotonic())

    def take(self, endpoint: str | None = None) -> float:
        """Take the right to make one call now: 0.0; else return in how many seconds to come again.

        Whoever took it says with `record` how the call ended, or gives it back.
        """
        closed_for = self.closed_for(endpoint)
        if closed_for > 0.0:
            return closed_for
        now = self._clock.monotonic()
        if self._bucket is not None:
            self._bucket.take(now)
        party = self._party(endpoint)
        before = party.breaker.state
        party.breaker.take(now)
        self._tell(party, endpoint, before)
        return 0.0

    def give_back(self, endpoint: str | None = None) -> None:
        """The call was not made after all, and nothing was heard of the provider."""
        if self._bucket is not None:
            self._bucket.give_back()
        self._party(endpoint).breaker.give_back(self._clock.monotonic())

    def record(
        self,
        error_class: ErrorClass | None,
        retry_after_s: float | None = None,
        endpoint: str | None = None,
    ) -> None:
        """Take how a call ended: its error class, None when the provider took the message."""
        failed = error_class in _PROVIDERS_FAULT
        party = self._party(endpoint, remember=failed or error_class == "rate_limited")
        now, before = self._clock.monotonic(), party.breaker.state
        party.breaker.heard(now, failed=failed)
        self._tell(party, endpoint, before)
        if error_class == "rate_limited":
            self._pause(party, endpoint, now, retry_after_s)
        elif not failed:
            party.pause.taken(now)
            if endpoint is not None and not party.closed_for(now):
                self._parties.pop(endpoint, None)

    def _pause(self, party: "_Party", endpoint: str | None, now: float, retry_after_s: float | None) -> None:
        seconds = party.pause.refused(now, retry_after_s)
        if seconds:
            _log.warning("channel.paused", **self._told, seconds=round(seconds, 3), endpoint=endpoint)

    def _party(self, endpoint: str | None, *, remember: bool = False) -> "_Party":
        """Return what is known of an endpoint; nothing is remembered of one that works."""
        if endpoint is None:
            return self._common
        party = self._parties.get(endpoint)
        if party is None:
            party = _Party(self._limits)
            if remember:
                self._parties[endpoint] = party
                if len(self._parties) > GATE_ENDPOINTS:
                    self._parties.popitem(last=False)
        elif remember:
            self._parties.move_to_end(endpoint)
        return party

    def _tell(self, party: "_Party", endpoint: str | None, before: str) -> None:
        breaker = party.breaker
        if breaker.state == before:
            return
        told = {**self._told, "state": breaker.state, "failures": breaker.failures, "endpoint": endpoint}
        if breaker.state == "open":
            _log.warning("channel.breaker", **told, pause_s=self._limits.breaker_pause_s)
        else:
            _log.info("channel.breaker", **told)


class _Party:
    """Who answers: what is known of its failures, and of what it asked for."""

    def __init__(self, limits: ChannelLimits) -> None:
        self.breaker = Breaker(limits.breaker_failures, limits.breaker_pause_s, limits.timeout_s)
        self.pause = Pause(PAUSE_MOST_S)

    def closed_for(self, now: float) -> float:
        return max(self.breaker.closed_for(now), self.pause.closed_for(now))
