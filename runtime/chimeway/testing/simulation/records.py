"""What the reference model remembers of a run and of its messages: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

from chimeway.testing.simulation.facts import Born, Said
from chimeway.workflow.definition import Step

LIVE: Final = ("active", "waiting")
OPEN: Final = ("pending", "failed", "deferred", "digested")
ENDED: Final = ("succeeded", "suppressed", "cancelled")
_FAILED: Final = ("retries_exhausted", "permanent_failure", "bounced")
_FEEDBACK: Final[Mapping[str, tuple[int, str, str | None]]] = {
    "delivered": (1, "succeeded", None),
    "failed": (2, "cancelled", "permanent_failure"),
    "bounced": (3, "cancelled", "bounced"),
}
Left: TypeAlias = tuple[Step, datetime | None] | None
"""A wait that was left, and when it had been entered: its `stop` conditions stay armed (5a)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery, with what its attempts came to. `told`: the gravest that its provider said later."""

    id: str
    step: str
    status: str
    reason: str | None = None
    ended: datetime | None = None
    attempts: int = 0
    failed: int = 0
    stop_requested: bool = False
    told: int = 0
    unanswered: frozenset[int] = frozenset()
    called: frozenset[int] = frozenset()

    @property
    def outcome(self) -> str | None:
        """Its outcome: the table of section 4."""
        if self.status == "cancelled":
            return self.reason if self.reason in _FAILED else None
        if self.status in ENDED:
            return "delivered" if self.status == "succeeded" else "suppressed"
        return "temporary_failure" if self.failed else None

    def told_of(self, kind: str, at: datetime) -> "Message":
        """Return it after feedback: it is what the gravest says, in whichever order they come."""
        rank, status, reason = _FEEDBACK[kind]
        if rank <= self.told or (self.status, self.reason) == (status, reason):
            return replace(self, told=max(rank, self.told))
        return replace(self, told=rank, status=status, reason=reason, ended=at)


@dataclass(frozen=True, slots=True)
class Journey:
    """The run. `mail` is what is unconsumed, by number; `deliveries` are by visit."""

    state: str = "active"
    step: str | None = None
    visit: int = 0
    status_reason: str = "workflow_started"
    held: bool = False
    paused: bool = False
    entered: datetime | None = None
    due: datetime | None = None
    waits_since: str | None = None  # the outcome of its message with which a wait after it began
    armed: Left = None
    rounds: Mapping[str, int] = field(default_factory=dict)
    mail: tuple[tuple[int, Said], ...] = ()
    deliveries: Mapping[int, Message] = field(default_factory=dict)
    trail: tuple[tuple[str, str, str | None, int], ...] = ()

    def says(self, reason: str, state: str, status: str | None = None) -> "Journey":
        """Return the run after one transition that stays on its step."""
        row = (reason, state, self.step, self.visit)
        return replace(self, state=state, status_reason=status or reason, trail=(*self.trail, row))

    def having(self, visit: int, delivery: Message) -> "Journey":
        """Return the run with this delivery."""
        return replace(self, deliveries={**self.deliveries, visit: delivery})

    def bearing(self, born: Born | None, now: datetime) -> "Journey":
        """Return the run with its new message as it was born, where it has one.

        One that is cancelled in the very decision that plans it was pending until then (5a).
        """
        each = self.deliveries.get(self.visit)
        if each is None or born is None or born.reason == "stopped_before_send":
            return self
        ended = now if born.status in ENDED else None
        each = replace(each, id=born.id, status=born.status, reason=born.reason, ended=ended)
        return self.having(self.visit, each)

    def stopped(self, reason: str) -> "Journey":
        """Return the run stopped: what is on its way is not repeated, the rest is cancelled (section 7)."""
        after = dict(self.deliveries)
        for visit, each in after.items():
            if each.status in OPEN:
                after[visit] = replace(each, status="cancelled", reason="run_stopped")
            elif each.status == "dispatched":
                after[visit] = replace(each, stop_requested=True)
        return replace(self.says(reason, "stopped"), deliveries=after, armed=None, held=False)
