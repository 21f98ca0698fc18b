"""What a node shows to whoever measures it: its numbers, and what its database said when it was asked.

It needs no package that a node may lack, and knows of no other room: `daemon.metering` fills it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from chimeway.store.vitals import Vitals
from chimeway.tally import Tally


@dataclass(frozen=True, slots=True)
class Brake:
    """How a provider's breaker stands."""

    channel: str
    provider: str
    state: Literal["closed", "open", "trial"]
    shut_endpoints: int
    """Servers that fail, where each message goes to one of its own: they are not called for now."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the database said when it was last asked, and how many seconds ago it was."""

    vitals: Vitals | None
    age_s: float | None
    """None: it has not answered yet."""


@dataclass(frozen=True, slots=True)
class Facts:
    """How a node is at this moment."""

    node: str
    version: str
    schema_version: int
    stage: str
    mode: str | None
    """How wakes arrive; None: it works on nothing."""
    shards: int
    runs_at_work: int
    deliveries_at_work: int
    overloaded: bool
    brakes: Sequence[Brake]
    trouble: str | None
    """What keeps it from its work now: `lost`, `refused`, `slow`."""
    troubles: Sequence[tuple[str, int]]
    """How often calls of the database met each of them."""
    lease_age_s: float | None
    sample: Sample


@dataclass(frozen=True, slots=True)
class Readings:
    """All of it."""

    tally: Tally
    facts: Facts


Read: TypeAlias = Callable[[], Awaitable[Readings]]
"""Answers within a fraction of a second, whatever the database does."""
