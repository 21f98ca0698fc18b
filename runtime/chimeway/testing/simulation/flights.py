"""What a node has under way: a decision or an attempt, on its way through the door, and what comes of it.

A flight has phases. The first is in the node's memory: `made`. Three are in the server, where a dead node's
transaction still goes on: `called`, `locked`, `looked` (see `rows`). Then the answer is on its way back:
`answered`. An attempt that was begun goes on in the node: `calling` its provider, and with a `result` to be
recorded.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from chimeway.testing.simulation.posting import Result
from chimeway.testing.simulation.rows import Answer
from chimeway.testing.simulation.tables import Entry, SignalRow

Phase: TypeAlias = Literal["made", "called", "locked", "looked", "answered", "calling", "result"]
IN_SERVER: tuple[Phase, ...] = ("called", "locked", "looked")


@dataclass(frozen=True, slots=True)
class Flight:
    """One flight. `entry` is a decision's; `visit`, `seen`, `attempt` and `result` are an attempt's.

    `node` None: its node is gone, and its transaction goes on alone. `called_at` and `looked_at`: how many
    signals
    had been committed then; `found`: what the look found.
    """

    number: int
    node: int | None
    run_id: UUID
    phase: Phase = "made"
    entry: Entry | None = None
    visit: int = 0
    seen: tuple[int, int] = (0, 0)
    called_at: int = 0
    looked_at: int = 0
    found: tuple[SignalRow, ...] = ()
    answer: Answer | None = None
    attempt: int = 0
    result: Result | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What matters of it for what may come: all but its number."""
        seen = None
        if self.entry is not None:
            decision = self.entry.decision
            seen = (decision.seen, decision.now, decision.consumed, decision.kind, decision.after.step)
        found = tuple(signal.arrival for signal in self.found)
        way = (
            self.node is None,
            self.called_at,
            self.looked_at,
            found,
            self.answer,
            self.attempt,
            self.result,
        )
        return (str(self.run_id), self.visit, self.phase, self.seen, seen, way)
