"""The loop that stands still, its gates and the death of those who wait there: no database here."""

import asyncio
import gc
from typing import Any

import pytest

from chimeway.testing.simulation.loop import SteppedLoop
from chimeway.testing.simulation.real_time import START, SteppedClock, calm_leap, drawn_leap, dues
from chimeway.testing.simulation.scheduler import Draw, Gates


@pytest.fixture
def loop() -> SteppedLoop:
    """A loop at rest."""
    return SteppedLoop()  # type: ignore[abstract]  # (what nobody here calls is left out)


def _nothing(_line: Any) -> None:
    """Do nothing in the outer world."""


def test_it_runs_what_is_ready_and_no_more(loop: SteppedLoop) -> None:
    """A task runs to its next wait for time, and goes on when its timer is fired, not when it is due."""
    seen: list[float] = []

    async def sleeper() -> None:
        for _ in range(2):
            await asyncio.sleep(1.5)
            seen.append(loop.time())

    task = loop.begin("ada", sleeper())
    loop.settle()
    assert (seen, loop.next_timer(), loop.due()) == ([], 1.5, [])
    loop.move_to(10.0)
    loop.settle()
    assert not seen
    (timer,) = loop.due()
    assert timer.owner == "ada"
    loop.fire(timer)
    assert (seen, loop.next_timer()) == ([10.0], 11.5)
    loop.move_to(11.5)
    loop.fire(loop.due()[0])
    assert task.done()
    assert (seen, loop.tasks, loop.next_timer()) == ([10.0, 11.5], {}, None)


def test_timeouts_are_its_own(loop: SteppedLoop) -> None:
    """`asyncio.timeout` and task groups go by the loop's time, and a timer that was cancelled is no timer."""
    told: list[str] = []

    async def impatient(seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(5.0))
        except TimeoutError:
            told.append(f"after {loop.time():g}")
        else:
            told.append("in time")

    loop.begin("ada", impatient(3.0))
    loop.begin("bob", impatient(7.0))
    loop.settle()
    loop.move_to(3.0)
    loop.fire(loop.due()[0])
    assert told == ["after 3"]
    loop.move_to(9.0)
    loop.fire(loop.due()[0])
    assert (told, loop.due()) == (["after 3", "in time"], [])


def test_who_waits_at_a_gate_waits_until_it_is_opened(loop: SteppedLoop) -> None:
    """Gates open one at a time, with an answer or with an error."""
    gates, told = Gates(loop), list[object]()

    async def asking(owner: str) -> None:
        try:
            told.append(await gates.ask(owner, "store", "load", _nothing))
        except ConnectionError as error:
            told.append(error)

    for owner in ("ada", "bob"):
        loop.begin(owner, asking(owner))
    loop.settle()
    first, second = gates.waiting
    assert (first.owner, second.owner, told) == ("ada", "bob", [])
    gates.open(second, 7)
    assert (told, gates.waiting) == ([7], [first])
    lost = ConnectionError("lost")
    gates.open(first, lost)
    assert (told, gates.waiting) == ([7, lost], [])


def test_the_dead_do_nothing_any_more(loop: SteppedLoop) -> None:
    """Whatever the tasks of a dead owner do while they are taken away reaches nobody; others live on."""
    gates, told = Gates(loop), list[str]()

    async def tidy(owner: str) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60.0))
                await gates.ask(owner, "store", "work", _nothing)
        finally:
            await asyncio.sleep(0)
            await gates.ask(owner, "store", "tidy up", _nothing)
            told.append(f"{owner} tidied up")

    dead, living = loop.begin("ada", tidy("ada")), loop.begin("bob", tidy("bob"))
    loop.settle()
    gates.kill("ada")
    assert dead.cancelled()
    assert [(gate.owner, gate.label) for gate in gates.waiting] == [("bob", "work")]
    assert {timer.owner for timer in loop.timers} == {"bob"}
    assert not living.done()
    gates.kill("bob")
    assert not told


def test_an_answer_that_the_dead_would_have_got_is_nobodys(loop: SteppedLoop) -> None:
    """What a statement says whose node has died is no fault that nobody caught, also where it is an error."""
    gates = Gates(loop)

    async def asking() -> None:
        await gates.ask("ada", "store", "work", _nothing)

    loop.begin("ada", asking())
    loop.settle()
    gate = gates.waiting[0]
    gates.mute(gate)
    gates.open(gate, ConnectionError("no longer yours"))
    gates.kill("ada")
    del gate
    gc.collect()
    assert loop.faults == []


def test_a_task_that_is_cancelled_leaves_its_gate(loop: SteppedLoop) -> None:
    """What a timeout cuts short does not happen any more."""
    gates = Gates(loop)

    async def impatient() -> str:
        try:
            async with asyncio.timeout(1.0):
                await gates.ask("ada", "channel", "call", _nothing)
        except TimeoutError:
            return "gave up"
        return "went through"

    task = loop.begin("ada", impatient())
    loop.settle()
    assert len(gates.waiting) == 1
    loop.move_to(1.0)
    loop.fire(loop.due()[0])
    assert (task.result(), gates.waiting) == ("gave up", [])


def test_a_circle_is_noticed(loop: SteppedLoop) -> None:
    """A task that never waits for the world is a mistake, and not for ever."""

    async def restless() -> None:
        while True:  # noqa: ASYNC110  (there is nothing to wait for)
            await asyncio.sleep(0)

    task = loop.begin("ada", restless())
    with pytest.raises(AssertionError, match="no rest"):
        loop.settle()
    task.cancel()
    loop.settle()


def test_time_goes_to_what_is_due(loop: SteppedLoop) -> None:
    """Leaps go forward, often to the very instant of what is due; in the calm always to that."""
    clock = SteppedClock(loop)
    assert clock.now() == START
    at = "2026-01-05T10:00:00+00:00"
    rows = {"runs": [{"wake_at": at}, {"wake_at": None}], "deliveries": [{"next_attempt_at": None}]}
    assert dues(rows) == [3600.0]
    draw = Draw(3)
    leaps = [drawn_leap(draw, 10.0, [3600.0, 4000.0], 11.0) for _ in range(200)]
    assert min(leaps) >= 10.0
    assert leaps.count(3600.0) > 100
    assert 11.0 in leaps
    assert calm_leap(10.0, [3600.0, 4000.0], 11.0) == 3600.0
    assert calm_leap(10.0, [3.0, 3600.0, 4000.0], 11.0) == 15.0
    assert calm_leap(10.0, [3.0, 12.0], 11.0) == 12.0
    assert calm_leap(10.0, [3.0], 11.0) == 15.0
