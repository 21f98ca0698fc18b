"""What keeps calls from a provider: a breaker, a rate, a pause. Pure: each is asked and told with the time.

The three know nothing of each other; `gate` puts them together. Seconds are of a clock that never goes back.
"""

from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "trial"]

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_TRIAL_LOOK_S: Final = 1.0
ALMOST_S: Final = 1e-6
"""Less than this is now: no clock of ours counts finer, and a sleep so short would not move it."""


class Breaker:
    """Opens after so many failures in a row; after a pause it lets one call through, whose end decides.

    Whatever is heard counts, whoever asked: a success closes it also when it is that of a call begun long
    ago, for the provider works; a failure while it is on trial opens it anew. A trial nobody tells the end of
    (its sender died) is another's after `trial_s`.
    """

    def __init__(self, failures: int, pause_s: float, trial_s: float) -> None:
        """Take how many failures open it (0: none ever do), how long for, and how long a trial may take."""
        self._opens_at = failures
        self._pause_s = pause_s
        self._trial_s = trial_s
        self._until = 0.0
        self.failures = 0
        self._failing_since = 0.0
        self.state: State = "closed"

    def closed_for(self, now: float) -> float:
        """Return how long no call may be made; on trial, when to ask again, for the end is not known."""
        if self.state == "closed":
            return 0.0
        left = _left(self._until, now)
        return min(left, _TRIAL_LOOK_S) if self.state == "trial" else left

    def failing_for(self, now: float) -> float:
        """Return how long ago the first of the present failures in a row was heard; 0.0: there are none."""
        return now - self._failing_since if self.failures else 0.0

    def take(self, now: float) -> None:
        """A call is made, which was free to be."""
        if self.state != "closed":
            self.state, self._until = "trial", now + self._trial_s

    def give_back(self, now: float) -> None:
        """The call was not made after all."""
        if self.state == "trial":
            self.state, self._until = "open", now

    def heard(self, now: float, *, failed: bool) -> None:
        """A call ended: with a failure of the provider, or with any answer that shows it at work."""
        if not failed:
            self.failures, self.state = 0, "closed"
            return
        if not self.failures:
            self._failing_since = now
        self.failures += 1
        on_trial = self.state == "trial"
        if on_trial or (self.state == "closed" and 0 < self._opens_at <= self.failures):
            self.state, self._until = "open", now + self._pause_s


class Bucket:
    """So many calls a second, and so many at once after a rest: a token bucket, kept as one instant.

    That instant is when the bucket will be full again; each call moves it by one interval, and a call is free
    to be made while it is less than a whole bucket away.
    """

    def __init__(self, rate: float, burst: int) -> None:
        """Take calls a second, and how many at once."""
        self._interval = 1.0 / rate
        self._depth = (burst - 1) * self._interval
        self._full_at: float | None = None

    def closed_for(self, now: float) -> float:
        """Return how long no call may be made."""
        return 0.0 if self._full_at is None else _left(self._full_at - self._depth, now)

    def take(self, now: float) -> None:
        """A call is made, which was free to be."""
        self._full_at = max(now, now if self._full_at is None else self._full_at) + self._interval

    def give_back(self) -> None:
        """The call was not made after all."""
        if self._full_at is not None:
            self._full_at -= self._interval


class Pause:
    """The provider asked for fewer calls: none for as long as it said, or for ever longer where it did not.

    Of many calls under way at once each hears the same refusal: only the first of a pause makes it longer.
    """

    def __init__(self, most_s: float) -> None:
        """Take the longest pause that a provider may ask for."""
        self._most_s = most_s
        self._until = 0.0
        self._next_s = _FIRST_PAUSE_S

    def closed_for(self, now: float) -> float:
        """Return how long no call may be made."""
        return _left(self._until, now)

    def refused(self, now: float, retry_after_s: float | None) -> float:
        """The provider refused a call for being one too many; return for how long there is a new pause."""
        left = self.closed_for(now)
        if retry_after_s is None:
            if left:
                return 0.0
            pause_s, self._next_s = self._next_s, min(2 * self._next_s, _LONGEST_PAUSE_S)
        else:
            pause_s = min(max(retry_after_s, 0.0), self._most_s)
        if pause_s <= left:
            return 0.0
        self._until = now + pause_s
        return 0.0 if left else pause_s

    def taken(self, now: float) -> None:
        """The provider took a call: once a pause is over, the next one is short again."""
        if not self.closed_for(now):
            self._next_s = _FIRST_PAUSE_S


def _left(until: float, now: float) -> float:
    left = until - now
    return left if left > ALMOST_S else 0.0
