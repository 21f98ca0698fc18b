"""How fast, how long and how often a channel's providers may be called: the values, nothing that acts.

A channel may carry one as its attribute `limits`. What acts on them: `lane` (concurrency), `gate` (rate and
breaker), `sending` (the timeout), `progression.retry` (attempts and age).
"""

import math
from dataclasses import dataclass
from typing import Final

from chimeway.errors import InvalidInput
from chimeway.limits import CHANNEL_CALLS, CHANNEL_CALLS_MOST, CHANNEL_LIMIT_S, SEND_TIMEOUT_S

_WHOLE: Final = {"concurrency": 1, "burst": 1, "max_attempts": 1, "breaker_failures": 0}
_MOST: Final = 2**31 - 1
_RATE_MOST: Final = 1e9
_SECONDS: Final = ("timeout_s", "max_age_s", "breaker_pause_s")


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """The limits of one channel; in the settings the durations are ISO 8601 and their names lack the `_s`.

    Raises:
        InvalidInput: a value cannot be; it names the field.
    """

    concurrency: int = CHANNEL_CALLS
    """Calls under way at once, of the whole channel: few enough for any provider, and at a tenth of a second
    a call enough for hundreds of messages a second."""
    timeout_s: float = SEND_TIMEOUT_S
    """Of one call: above any channel's own, which says more about what went wrong."""
    rate: float | None = None
    """Calls a second, of each provider; None: no limit, for only the provider's contract can name one."""
    burst: int | None = None
    """Calls at once after a rest; None: what the rate gives in a second, at least one."""
    max_attempts: int = 8
    """Attempts that count, of one delivery: with the pauses between them they outlast a restart."""
    max_age_s: float = 86_400.0
    """After the first attempt no other begins later: a day after, the message is news no more."""
    breaker_failures: int = 10
    """Failures in a row that open the breaker: a few are chance, ten are an outage. 0: no breaker."""
    breaker_pause_s: float = 30.0
    """How long it stays open before one call is tried: an end of the outage is noticed within that."""

    def __post_init__(self) -> None:
        """Check every value."""
        for name, least in _WHOLE.items():
            _check_whole(name, getattr(self, name), least)
        for name in _SECONDS:
            _check_number(name, getattr(self, name), 0.0, CHANNEL_LIMIT_S)
        if self.rate is not None:
            _check_number("rate", self.rate, 1 / CHANNEL_LIMIT_S, _RATE_MOST)
        if self.concurrency > CHANNEL_CALLS_MOST:
            raise _refused("concurrency", self.concurrency, f"at most {CHANNEL_CALLS_MOST}")
        if self.burst is not None and self.rate is None:
            raise _refused("burst", self.burst, "a rate beside it: alone it limits nothing")

    @property
    def burst_of_rate(self) -> int:
        """The burst that holds: as given, or what the rate gives in a second."""
        return self.burst or max(1, math.ceil(self.rate or 1))


def _check_whole(name: str, given: object, least: int) -> None:
    if given is None and name == "burst":
        return
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= _MOST:
        raise _refused(name, given, f"a whole number from {least} to {_MOST}")


def _check_number(name: str, given: object, least: float, most: float) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise _refused(name, given, "a number above 0")
    if not least <= given <= most:
        raise _refused(name, given, f"a number from {least:.3g} to {most:.3g}")


def _refused(name: str, given: object, wanted: str) -> InvalidInput:
    return InvalidInput(f"{name}: given {given!r}, wanted {wanted}", field=name, given=given)


def limits_of(channel: object) -> ChannelLimits:
    """Return the limits that a channel carries, or the usual ones."""
    own = getattr(channel, "limits", None)
    return own if isinstance(own, ChannelLimits) else ChannelLimits()
