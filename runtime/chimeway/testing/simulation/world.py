"""A simulated world: rows, nodes and what they have under way, producers, a clock, and models that watch.

Nothing here is drawn. `choices` says what may happen next, `deeds` does one of it, `audit` looks at the
rows after it, `pure` draws at random and `exhaustive` tries all. Each deed is one step of one party, so
that anything of another may come between any two:

    producers    write a trigger or a signal, which then has its number and its time; commit it some time
    a node       decides about a run by what it sees and by a clock that may be wrong; sends a decision or an
                 attempt through the door, step by step; gets the answer, or never gets it and submits the
                 same again; calls a provider; records what came of it; dies at any of these steps
    the rest     routing; attempts of nodes that are gone, or only thought to be, become unknown; a provider
                 tells later how a message ended; operators cancel, hold, pause; time passes

There are no leases: every node may do everything at any time, which is more than leases let happen, for
leases are for speed and never for truth.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Births, Decision, Noop
from chimeway.progression.snapshot import Snapshot
from chimeway.testing.simulation.facts import Said
from chimeway.testing.simulation.flights import IN_SERVER, Flight
from chimeway.testing.simulation.journeys import Utterance
from chimeway.testing.simulation.model import Reference
from chimeway.testing.simulation.rows import Rows
from chimeway.testing.simulation.tables import IN_FORCE, Guards, RunRow, SignalRow
from chimeway.workflow.definition import Definition, NotifyAction, Step

Decide: TypeAlias = Callable[[Snapshot, datetime, Births], Decision | Noop]
Act: TypeAlias = tuple[Any, ...]
"""The name of a deed and its arguments: small numbers, words and instants."""
START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
ZONE: Final = "Europe/Berlin"
_RUN_IDS: Final = tuple(UUID(int=(place + 1) << 64) for place in range(16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a world is made of, and how much may happen in it.

    `runs` are (tenant, recipient) of each trigger. `births` say in turn how messages are born that are not
    in-app. `skews` are by how much a node's clock may be wrong, in milliseconds. `attempts`: so many, and a
    message's retries are exhausted. `answers` are what providers may say. The rest counts how often at most:
    signals are said, faults (crashes, lost answers, cut connections, late nodes) happen, operators order,
    providers
    tell later, and a run is woken for nothing.

    `brief`: of the door's steps only those stand apart between which something can come that matters: sent,
    looked, written. So there are fewer orders to try.
    """

    definition: Definition
    data: Mapping[str, Any]
    utterances: tuple[Utterance, ...] = ()
    runs: tuple[tuple[str, str], ...] = (("default", "ada"),)
    births: tuple[Birth, ...] = (Birth("pending"),)
    skews: tuple[int, ...] = (0,)
    nodes: int = 2
    attempts: int = 2
    answers: tuple[str, ...] = ("delivered", "temporary", "permanent", "bounced", "unknown")
    signals: int = 2
    faults: int = 3
    orders: int = 1
    feedback: int = 1
    spurious: int = 3
    brief: bool = False


@dataclass(slots=True)
class World:
    """All there is. `pending` is what producers wrote and have not committed; `left` what may still happen.

    `rested` says of which rows, and when, the core has said that nothing follows: it need not be asked again.
    """

    plan: Plan
    rows: Rows
    left: dict[str, int]
    decide: Decide = decide
    pending: dict[int, RunRow | SignalRow] = field(default_factory=dict)
    flights: dict[int, Flight] = field(default_factory=dict)
    models: dict[UUID, Reference] = field(default_factory=dict)
    rested: dict[UUID, tuple[object, ...]] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    written: int = 0
    number: int = 0

    @classmethod
    def of(cls, plan: Plan, *, guards: Guards = IN_FORCE, decide: Decide = decide) -> "World":
        """Return a world at its beginning."""
        names = ("signals", "faults", "orders", "feedback", "spurious")
        left = {name: getattr(plan, name) for name in names}
        return cls(plan, Rows(plan.definition, START, guards), left, decide)

    def copy(self) -> "World":
        """Return a world that is the same, and may go another way."""
        return replace(
            self,
            rows=self.rows.copy(),
            left=dict(self.left),
            pending=dict(self.pending),
            flights=dict(self.flights),
            models={run_id: copy(model) for run_id, model in self.models.items()},
            rested=dict(self.rested),
        )

    def next_number(self) -> int:
        """Return a number that nothing else has."""
        self.number += 1
        return self.number

    def run_id(self, place: int) -> UUID:
        """Return the id of the run of this trigger."""
        return _RUN_IDS[place]

    def births(self, now: datetime) -> Births:
        """Return how messages are born that are planned now."""

        def born(step: Step, visit: int) -> Birth:
            if isinstance(step.action, NotifyAction) and step.action.channel == "in_app":
                return Birth("succeeded")
            birth = self.plan.births[visit % len(self.plan.births)]
            return replace(birth, until=now + timedelta(minutes=30)) if birth.status == "deferred" else birth

        return born

    @property
    def key(self) -> tuple[object, ...]:
        """All that the future depends on: worlds with one key have one future."""
        by_node: dict[int | None, list[tuple[object, ...]]] = {}
        for flight in self.flights.values():
            by_node.setdefault(flight.node, []).append(flight.key)
        flights = sorted((tuple(sorted(keys, key=repr)) for keys in by_node.values()), key=repr)
        locked = tuple(sorted(str(run_id) for run_id in self.rows.locks))
        pending = tuple(sorted(row.arrival for row in self.pending.values()))
        return (self.rows.key, tuple(flights), locked, pending, tuple(self.left.values()), self.written)

    def stamp(self, run_id: UUID) -> tuple[object, ...]:
        """Return what the core's answer about a run depends on: it changes when that may."""
        row, clock = self.rows.runs[run_id], self.rows.clock
        messages = self.rows.messages[run_id]
        delivery = messages[row.run.visit].delivery.revision if row.run.visit in messages else None
        return (row.run.revision, row.run.mailbox_count, delivery, clock, self.rows.paused)

    @property
    def in_server(self) -> tuple[Flight, ...]:
        """The flights that are transactions now."""
        return tuple(flight for flight in self.flights.values() if flight.phase in IN_SERVER)
