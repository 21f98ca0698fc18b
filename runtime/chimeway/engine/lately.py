"""How long something took lately: what half, and nearly all, of the last thousand took at most. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import Final

_KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds: half took at most this, 99 of a hundred at most that, and the longest."""

    p50: float = 0.0
    p99: float = 0.0
    longest: float = 0.0


class Lately:
    """Remembers durations, the last thousand."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def add(self, seconds: float) -> None:
        """Take one more."""
        self._seconds.append(seconds)

    def took(self) -> Took:
        """Return what they took; all zero while there is none."""
        if not self._seconds:
            return Took()
        ordered = sorted(self._seconds)
        last = len(ordered) - 1
        return Took(ordered[last // 2], ordered[last * 99 // 100], ordered[last])
