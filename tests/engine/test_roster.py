"""The roster: one actor for a run, once more for a wake that came meanwhile, and a bound on how many."""

import asyncio
from collections import Counter, deque
from typing import Any
from uuid import UUID, uuid4

import pytest

from chimeway.clock import Clock, ManualClock, SystemClock
from chimeway.engine.actor import Actor
from chimeway.engine.roster import Roster
from chimeway.groups import begin
from kit.waiting import Gate, wait_for


class Stage:
    """Where actors play: each stands at the run's gate, if it has one, and who plays is counted."""

    def __init__(self) -> None:
        """Begin empty."""
        self.gates: dict[UUID, Gate] = {}
        self.played: Counter[UUID] = Counter()
        self.at_once: Counter[UUID] = Counter()

    async def play(self, run_id: UUID, _tenant: str | None) -> None:
        """Be an actor."""
        self.at_once[run_id] += 1
        assert self.at_once[run_id] == 1, "two actors for one run"
        self.played[run_id] += 1
        gate = self.gates.get(run_id)
        if gate is not None:
            await gate.passes()
        else:
            await asyncio.sleep(0)
        self.at_once[run_id] -= 1

    def roster(self, group: asyncio.TaskGroup, clock: Clock | None = None, **given: Any) -> Roster:
        """Return a roster whose actors play here, each in a task of its own."""

        async def live(actor: Actor) -> None:
            again = True
            while again:
                actor.woken = False
                await self.play(actor.run_id, actor.owner)
                again = roster.rest(actor)

        def play(actor: Actor) -> bool:
            return begin(group, live(actor), f"run-{actor.run_id}")

        roster = Roster(play, SystemClock() if clock is None else clock, **given)
        return roster

    def held(self, many: int) -> list[UUID]:
        """Return runs whose actors will stand at their gates."""
        runs = [uuid4() for _ in range(many)]
        self.gates |= {run: Gate() for run in runs}
        return runs


async def test_a_wake_at_work_is_one_more_look() -> None:
    """However often a run is nudged while it is at work, it is evaluated once more, and not beside itself."""
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        (run,) = stage.held(1)
        roster.nudge(run, "a")
        await stage.gates[run].reached.wait()
        assert (len(roster), run in roster) == (1, True)
        for _ in range(3):
            roster.nudge(run, "a")
            await roster.admit(run, "a")
        stage.gates[run].release()
        await roster.emptied()
        assert stage.played[run] == 2
        assert (len(roster), run in roster) == (0, False)
        roster.nudge(run, "a")
        await roster.emptied()
        assert stage.played[run] == 3


async def test_a_wake_at_the_last_moment_is_not_lost() -> None:
    """A run that is nudged by its own actor, as the last thing that it does, is evaluated again."""
    stage = Stage()

    async def play(run_id: UUID, _tenant: str | None) -> None:
        stage.played[run_id] += 1
        if stage.played[run_id] < 3:
            roster.nudge(run_id, "a")

    stage.play = play  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        roster.nudge(uuid4(), "a")
        await roster.emptied()
    assert stage.played.total() == 3


async def test_who_brings_wakes_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound `admit` waits until somebody leaves; `nudge`, for one's own follow-ups, does not."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 2)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 2)
    monkeypatch.setattr("chimeway.engine.roster._LINE", 0)
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        one, two, three, four = stage.held(4)
        for run in (one, two):
            await roster.admit(run, "a")
        await asyncio.wait_for(roster.admit(one, "a"), 5)
        waiting = asyncio.ensure_future(roster.admit(three, "a"))
        roster.nudge(four, "a")
        await stage.gates[four].reached.wait()
        assert (waiting.done(), len(roster)) == (False, 3)
        for run in (four, one):
            stage.gates[run].release()
        await asyncio.wait_for(waiting, 5)
        assert three in roster
        for run in (two, three):
            stage.gates[run].release()
        await roster.emptied()


async def test_room_grows_slowly_after_the_start(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """The bound begins low and doubles, up to its full height."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 1)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster._LINE", 0)
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group, clock)
        runs = stage.held(6)
        entering = [asyncio.ensure_future(roster.admit(run, str(run))) for run in runs]
        for room in (1, 2, 4, 4):
            await wait_for(lambda room=room: len(roster) == room, f"{room} at work")  # type: ignore[misc]
            clock.advance(0.25)
        for run in runs:
            stage.gates[run].release()
        await asyncio.wait_for(asyncio.gather(*entering), 5)
        await roster.emptied()
        assert stage.played == Counter(runs)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands."""
    return ManualClock(SystemClock().now())


async def test_a_closed_roster_takes_nobody_in() -> None:
    """After `close` who is at work ends his look, and no other begins."""
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        run, other = stage.held(2)
        roster.nudge(run, "a")
        await stage.gates[run].reached.wait()
        roster.close()
        roster.nudge(run, "a")
        await roster.admit(other, "a")
        emptied = asyncio.ensure_future(roster.emptied())
        await asyncio.sleep(0)
        assert not emptied.done()
        stage.gates[run].release()
        await asyncio.wait_for(emptied, 5)
        assert stage.played == Counter([run])


async def test_who_settles_a_run_waits_until_it_rests() -> None:
    """`settle` has a run evaluated, once more if it was woken meanwhile, and waits for no other."""
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        run, other, first = stage.held(3)
        for one in (other, first):
            roster.nudge(one, "a")
        settled = [group.create_task(roster.settle(run)) for _ in range(2)]
        await stage.gates[run].reached.wait()
        roster.nudge(run, "a")
        stage.gates[first].release()
        await wait_for(lambda: first not in roster, "another has left")
        await asyncio.sleep(0)
        assert not any(task.done() for task in settled)
        stage.gates[run].release()
        await asyncio.wait_for(asyncio.gather(*settled), 5)
        assert stage.played[run] == 2
        assert (run in roster, other in roster) == (False, True)
        stage.gates[other].release()


async def test_a_closed_roster_settles_nobody() -> None:
    """After `close` a run that rests is not evaluated, and nobody waits for it."""
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        roster.close()
        await asyncio.wait_for(roster.settle(uuid4()), 5)
    assert not stage.played


async def test_a_flood_leaves_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant has at most three quarters of the places; who comes new has one at once."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 8)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 8)
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        flood, few = stage.held(20), stage.held(1)
        for run in flood:
            roster.offer(run, "a")
        assert len(roster) == 6
        roster.offer(few[0], "b")
        await asyncio.wait_for(stage.gates[few[0]].reached.wait(), 5)
        assert roster.crowded() == []
        for run in (*flood, *few):
            stage.gates[run].release()
        await roster.emptied()
    assert stage.played.keys() >= {*few, *flood[:14]}


async def test_what_finds_no_room_falls_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant's line is short: what is more is not remembered, and may be offered again."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster._LINE", 2)
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group)
        runs = stage.held(8)
        for run in runs:
            roster.offer(run, "a")
        taken = [run in roster for run in runs]
        assert taken == [True] * 5 + [False] * 3
        assert roster.crowded() == ["a"]
        waiting = asyncio.ensure_future(roster.admit(runs[7], "a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        for run in runs:
            stage.gates[run].release()
        await asyncio.wait_for(waiting, 5)
        await roster.emptied()
    assert stage.played == Counter([*runs[:5], runs[7]])


async def test_who_must_make_room_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a full line the newest of the longest falls out for who has less: it may have mail alone."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster.WAITING_RUNS", 3)
    stage, fell_out = Stage(), list[UUID]()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group, fell_out=fell_out.append)
        flood, held, other = stage.held(6), stage.held(1), stage.held(1)
        for run in flood:
            roster.offer(run, "a")
        roster.offer(held[0], "b")  # the last place
        assert (len(roster), roster.crowded(), fell_out) == (4, ["a"], [])
        roster.offer(other[0], "c")
        assert fell_out == [flood[5]]
        assert [run in roster for run in (*flood, *held, *other)] == [True] * 5 + [False] + [True] * 2
        for run in (*flood, *held, *other):
            stage.gates[run].release()
        await roster.emptied()
    assert stage.played == Counter([*flood[:5], *held, *other])


async def test_places_follow_from_how_many_leave(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """Who is slow lets in the least number; when more come to rest in a second, more are let in."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 1_000)
    monkeypatch.setattr("chimeway.engine.roster._LINE", 0)
    stage = Stage()
    async with asyncio.TaskGroup() as group:
        roster = stage.roster(group, clock)
        clock.advance(10)
        runs = stage.held(1_000)
        for run in runs:
            roster.offer(run, str(run))
        assert len(roster) == 200
        for run in (uuid4() for _ in range(500)):
            roster.nudge(run, "quick")
        await wait_for(lambda: len(roster) == 200, "these have come and gone")
        for run in runs:
            roster.offer(run, str(run))
        assert len(roster) == 500, "as many as came to rest in two seconds"
        clock.advance(10)
        for run in runs:
            roster.offer(run, str(run))
        assert len(roster) == 500
        for run in runs:
            stage.gates[run].release()
        await roster.emptied()


async def test_what_falls_due_while_all_ends_is_left_to_others() -> None:
    """Parts of parts hear a little later that a lease was lost: what they bring then begins nothing."""
    stage = Stage()
    with pytest.raises(ExceptionGroup) as ended:  # noqa: PT012  (the group is what ends)
        async with asyncio.TaskGroup() as group:
            roster = stage.roster(group)

            async def late() -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    roster.nudge(uuid4(), "a")
                    roster.offer(uuid4(), "b")

            group.create_task(late())
            await asyncio.sleep(0)
            raise ConnectionError
    assert [type(error) for error in ended.value.exceptions] == [ConnectionError]
    assert (len(roster), stage.played) == (0, Counter())


async def test_ones_own_follow_ups_take_no_turn(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """Whose runs are nudged again and again is next when his turn comes, however many are new meanwhile."""
    monkeypatch.setattr("chimeway.engine.roster._FIRST_ACTORS", 4)
    monkeypatch.setattr("chimeway.engine.roster.LIVE_ACTORS", 4)
    at_work: deque[Actor] = deque()

    def play(actor: Actor) -> bool:
        actor.woken = False
        at_work.append(actor)
        return True

    roster, due = Roster(play, clock), uuid4()
    for number in range(4):
        roster.nudge(uuid4(), f"at work {number}")
    roster.offer(due, "t")
    for number in range(3):
        roster.nudge(uuid4(), "t")
        roster.offer(uuid4(), f"new {number}")
        follow_up = at_work.pop()
        assert follow_up.owner == "t"
        roster.rest(follow_up)
    roster.rest(at_work.popleft())
    assert at_work[-1].run_id == due
