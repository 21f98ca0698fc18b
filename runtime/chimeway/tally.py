"""What a node has done, counted: plain numbers, so cheap that every decision can be counted.

A node has one `Tally`, and its parts add to it: an integer more, or a place in a short list of bounds. Who
shows it (`chimeway.web.metrics`) reads it now and then and makes of it what he needs: here stand keys as they
fall, such as a delivery's status and reason, and nothing is put into words.

No locks: all but the lease's numbers belong to the node's event loop. Those (`beats`, `beaten_at`,
`taken_over`) are written by the lease's thread alone, and whoever reads them may be one beat behind.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Final

LATENESS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""From what is felt as at once to what is an outage; five seconds are what is promised by default."""
SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""A batch, a beat, a hint, a turn of the loop."""
CALL_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""A provider's call; none takes longer than its channel's timeout."""
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0)
DEPTHS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0, 1000.0)


class Spread:
    """How values are spread: how many were at most each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Take the bounds, in order; what is above the last has a place of its own."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take one more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def many(self) -> int:
        """Return how many were added."""
        return sum(self.counts)


class Tally:
    """One node's numbers since it began."""

    __slots__ = (
        "answers", "attempts", "batch_seconds", "batch_sizes", "beaten_at", "beats", "calls", "decisions",
        "deliveries", "hints", "late_starts", "late_waits", "loop_lag", "mailboxes", "noops", "refused",
        "taken_over",
    )  # fmt: skip

    def __init__(self) -> None:
        """Begin with nothing done."""
        self.decisions: Counter[str] = Counter()
        """Durable decisions by kind."""
        self.noops: Counter[str] = Counter()
        """Evaluations from which nothing followed, by reason."""
        self.late_starts = Spread(LATENESS_S)
        """Seconds from a trigger until its first decision was durable."""
        self.late_waits = Spread(LATENESS_S)
        """The same of what was due otherwise, from its due time."""
        self.mailboxes = Spread(DEPTHS)
        """Signals that were in a run's mailbox, not consumed, when it was decided about."""
        self.answers: Counter[str] = Counter()
        """What the ledger answered to decisions."""
        self.batch_sizes = Spread(SIZES)
        self.batch_seconds = Spread(SHORT_S)
        self.deliveries: Counter[tuple[str, str, str | None]] = Counter()
        """Changes of deliveries that were recorded, by channel, status and reason."""
        self.attempts: Counter[tuple[str, str, str]] = Counter()
        """Calls to providers that ended, by channel, provider, and `succeeded` or the error's class."""
        self.calls: defaultdict[tuple[str, str], Spread] = defaultdict(lambda: Spread(CALL_S))
        """How long they took, by channel and provider."""
        self.hints = Spread(SHORT_S)
        """A listener's calls to itself through the database."""
        self.loop_lag = Spread(SHORT_S)
        """By how much the event loop came late to a sleeper."""
        self.beats = Spread(SHORT_S)
        """Renewals of the lease."""
        self.beaten_at: float | None = None
        """When the last of them was asked for, on the monotonic clock; None: there was none."""
        self.refused: Counter[int] = Counter()
        """Answers by HTTP that refuse, by status."""
        self.taken_over = 0
        """Shards that came from nodes that had died."""

    def beaten(self, asked_at: float, took_s: float) -> None:
        """The lease was renewed (the lease's thread)."""
        self.beats.add(took_s)
        self.beaten_at = asked_at
