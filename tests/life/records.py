"""What the model of a life keeps: its runs, their messages, and what was said of each."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from life.cast import Plan, meets
from life.wants import Json, Said

ENDED: Final = frozenset({"succeeded", "suppressed", "cancelled"})


@dataclass(frozen=True)
class Failing:
    """How a provider fails: its class, after how many seconds it wants to be asked again, what arrived."""

    kind: str
    after_s: float = 0.0
    arrived: bool = False


@dataclass(frozen=True)
class Judged:
    """One row of the trace. `stage` is "planned" or "before_send"."""

    stage: str
    said: Said
    at: datetime


@dataclass
class Mail:
    """A message."""

    step: str
    visit: int
    channel: str
    at: datetime
    status: str = "pending"
    reason: str | None = None
    ended: datetime | None = None
    due: datetime | None = None
    address: str | None = None
    attempts: list[tuple[datetime, str]] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    def end(self, status: str, reason: str | None, now: datetime) -> None:
        """Put an end to it."""
        self.status, self.reason, self.ended, self.due = status, reason, now, None


@dataclass
class Run:
    """A journey."""

    plan: Plan
    data: Json
    number: int
    began: datetime
    state: str = "active"
    place: int | None = None
    visit: int = 0
    due: datetime | None = None
    over: datetime | None = None
    ended: datetime | None = None
    mail: Mail | None = None
    armed: list[Json] = field(default_factory=list)
    box: list[tuple[str, Json]] = field(default_factory=list)
    rounds: Counter[str] = field(default_factory=Counter)
    mails: list[Mail] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it goes on."""
        return self.state in {"active", "waiting"}

    def hears(self, conditions: list[Json]) -> bool:
        """Whether its mailbox holds what one of these wants."""
        return any(meets(one, signal, self.data) for signal in self.box for one in conditions)
