"""Rounds: actors are evaluated in company, and each bears only what is its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from chimeway.clock import SystemClock
from chimeway.engine.actor import Acting, Actor, Wires
from chimeway.engine.roster import Roster
from chimeway.engine.rounds import Rounds
from chimeway.engine.seam import Evaluation, Refused, Seam
from chimeway.fair import Company
from chimeway.store.faults import LeaseLost
from kit.waiting import Gate, wait_for


@dataclass
class Played:
    """Stands where rows would: what each evaluation of a run finds is the test's to say; else "gone"."""

    answers: dict[UUID, list[Evaluation | Exception]] = field(default_factory=dict)
    rounds: list[list[UUID]] = field(default_factory=list)
    evaluated: Counter[UUID] = field(default_factory=Counter)
    gates: list[Gate] = field(default_factory=list)
    lost: LeaseLost | None = None

    async def evaluate_all(
        self, ids: Sequence[UUID], _now: Callable[[], datetime]
    ) -> Sequence[Evaluation | Exception]:
        """Be the seam."""
        assert len(set(ids)) == len(ids), "two actors for one run"
        self.rounds.append(list(ids))
        self.evaluated.update(ids)
        if self.gates:
            await self.gates.pop(0).passes()
        if self.lost:
            raise self.lost
        return [self.answers[each].pop(0) if self.answers.get(each) else Refused("gone") for each in ids]

    def hold(self) -> Gate:
        """Hold the next round."""
        self.gates.append(Gate())
        return self.gates[-1]


def _wires(put_off: list[UUID]) -> Wires:
    """Return wires that lead nowhere, but for those put off."""

    def nowhere(*_: object) -> None:
        return

    return Wires(nowhere, lambda run_id, *_: put_off.append(run_id), nowhere, nowhere, nowhere, nowhere)


@asynccontextmanager
async def playing(played: Played, put_off: list[UUID] | None = None) -> AsyncIterator[Roster]:
    """Serve rounds while the block lasts."""
    clock, wires = SystemClock(), _wires([] if put_off is None else put_off)

    def rests(actor: Actor) -> bool:
        return roster.rest(actor)

    async with asyncio.TaskGroup() as group:
        rounds = Rounds(
            cast("Seam", played), Acting(cast("Any", None), clock, wires), clock, group, Company(),
            rests,
        )  # fmt: skip
        roster = Roster(rounds.play, clock)
        serving = group.create_task(rounds.serve())
        yield roster
        serving.cancel()


async def test_who_comes_meanwhile_goes_together() -> None:
    """While a lane is at work the next round gathers; each run is in it once."""
    played = Played()
    gates = [played.hold() for _ in range(3)]
    async with playing(played) as roster:
        first = [uuid4() for _ in range(3)]
        for run, gate in zip(first, gates, strict=True):
            roster.nudge(run, "a")
            await gate.reached.wait()
        rest = [uuid4() for _ in range(5)]
        for run in (*rest, *rest):
            roster.nudge(run, "a")
        for gate in gates:
            gate.release()
        await asyncio.wait_for(roster.emptied(), 5)
    assert played.rounds == [[run] for run in first] + [rest]


async def test_a_wake_after_the_look_began_is_another_look() -> None:
    """A wake before its round begins is served by it; one that comes later has the run looked at again."""
    played = Played()
    gate = played.hold()
    async with playing(played) as roster:
        run = uuid4()
        roster.nudge(run, "a")
        roster.nudge(run, "a")
        await gate.reached.wait()
        roster.nudge(run, "a")
        roster.nudge(run, "a")
        gate.release()
        await asyncio.wait_for(roster.emptied(), 5)
    assert played.evaluated[run] == 2


async def test_what_is_stale_is_decided_again_and_not_for_ever() -> None:
    """Stale is evaluated at once; who is stale fifty times comes again later, and holds up nobody."""
    put_off: list[UUID] = []
    twice, always, other = (uuid4() for _ in range(3))
    stale = Refused("stale")
    played = Played({twice: [stale, stale], always: [stale] * 100})
    async with playing(played, put_off) as roster:
        for run in (twice, always, other):
            roster.nudge(run, "a")
        await asyncio.wait_for(roster.emptied(), 5)
    assert played.evaluated == Counter({twice: 3, always: 50, other: 1})
    assert put_off == [always]


async def test_a_fault_of_a_moment_puts_off_its_run_alone() -> None:
    """What one run's evaluation raised keeps none of its round from its rest."""
    put_off: list[UUID] = []
    bad, good = uuid4(), uuid4()
    played = Played({bad: [ConnectionResetError("the line is gone")]})
    async with playing(played, put_off) as roster:
        for run in (bad, good):
            roster.nudge(run, "a")
        await asyncio.wait_for(roster.emptied(), 5)
    assert (played.rounds, put_off) == ([[bad, good]], [bad])


async def test_a_lost_lease_ends_all() -> None:
    """It is no fault of a run: the engine ends, and who is woken then is left to the next node."""
    played = Played(lost=LeaseLost("another has taken over"))
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012  (the group is what ends)
        async with playing(played) as roster:
            roster.nudge(uuid4(), "a")
            await wait_for(lambda: played.rounds, "it was tried")
            await asyncio.Event().wait()
    assert caught.group_contains(LeaseLost)
    roster.nudge(uuid4(), "a")
    assert len(played.rounds) == 1


async def test_an_actor_that_is_woken_as_it_rests_is_played_again() -> None:
    """`rest` gives back who has been woken; who was not is let go."""
    clock = SystemClock()
    roster = Roster(lambda _: True, clock)
    run = uuid4()
    roster.nudge(run, "a")
    (actor,) = roster._actors.values()
    assert roster.rest(actor), "its first look has not begun"
    actor.woken = False
    assert not roster.rest(actor)
    assert run not in roster
    assert isinstance(actor, Actor)
