"""A clock on which time goes by with each question: whatever is measured by it took long."""

from chimeway.clock import SystemClock


class SlowClock(SystemClock):
    """The system's clock, but for what is measured."""

    def __init__(self) -> None:
        """Begin at zero."""
        super().__init__()
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Return the seconds, one more each time."""
        self.seconds += 1.0
        return self.seconds
