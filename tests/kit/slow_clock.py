"""A clock on which time goes by with each question: whatever is measured by it took long."""

from chimeway.clock import SystemClock


class SlowClock(SystemClock):
    """The system's clock, but for what is measured."""

    def __init__(self) -> None:
        """Begin at zero."""
        super().__init__()
        self.seconds, self.each = 0.0, 1.0

    def monotonic(self) -> float:
        """Return the seconds, `each` more each time."""
        self.seconds += self.each
        return self.seconds
