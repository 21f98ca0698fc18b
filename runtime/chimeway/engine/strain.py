"""Whether a node keeps up: one bit, with a slow hand on it. Pure.

It does not keep up when what it has to do has been late, beyond what is allowed, for a moment; it keeps up
again when nothing has been late by half of that for some moments. So a state that is told lasts, and is
told once.
"""

from dataclasses import dataclass
from typing import Final, Literal

_ENTERED_AFTER_S: Final = 1.0
_LEFT_AFTER_S: Final = 3.0
_LEFT_BELOW: Final = 0.5


@dataclass(frozen=True, slots=True)
class Late:
    """How late the latest is, in seconds, and what it is: `run`, `delivery` or `signal`."""

    seconds: float
    of: str


class Strain:
    """Fed with how late the latest is, now and then."""

    def __init__(self, max_lateness_s: float) -> None:
        """Take what is allowed."""
        self._most_s = max_lateness_s
        self._turning_since: float | None = None
        self.since: float | None = None
        """Since when it does not keep up; None: it does."""
        self.worst = Late(0.0, "run")
        """The latest of the present strain, or of the last."""

    def note(self, late: Late, now: float) -> Literal["began", "over"] | None:
        """Take how late the latest is at this time (seconds, never back); say what has changed by it."""
        if self.since is not None and late.seconds > self.worst.seconds:
            self.worst = late
        if not self._turning(late.seconds):
            self._turning_since = None
            return None
        if self._turning_since is None:
            self._turning_since = now
        if self.since is None:
            if now - self._turning_since < _ENTERED_AFTER_S:
                return None
            self.since, self.worst, self._turning_since = self._turning_since, late, None
            return "began"
        if now - self._turning_since < _LEFT_AFTER_S:
            return None
        self.since = self._turning_since = None
        return "over"

    def _turning(self, late_s: float) -> bool:
        return late_s > self._most_s if self.since is None else late_s <= self._most_s * _LEFT_BELOW
