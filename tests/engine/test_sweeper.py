"""The sweeper: mail that no decision has seen is shown, each state of a mailbox once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from chimeway.clock import ManualClock, SystemClock
from chimeway.engine.sweeper import Sweeper
from chimeway.limits import SWEEP_EVERY_S
from chimeway.store import mailbox
from chimeway.store.catalogue import Catalogue
from chimeway.store.pool import Database
from kit.waiting import wait_for
from store.door import Door, opened

_FORGETS_S = 600


@asynccontextmanager
async def sweeping(world: Door, clock: ManualClock) -> AsyncIterator[list[UUID]]:
    """Sweep while the block lasts; the list is of whom was shown mail."""
    async with asked_to_sweep(world, clock) as (_, shown):
        yield shown


@asynccontextmanager
async def asked_to_sweep(world: Door, clock: ManualClock) -> AsyncIterator[tuple[Sweeper, list[UUID]]]:
    """The same, with who sweeps."""
    shown: list[UUID] = []

    async def admit(run_id: UUID, _tenant: str | None) -> None:
        shown.append(run_id)

    def offer(run_id: UUID, _tenant: str | None) -> None:
        shown.append(run_id)

    sweeper = Sweeper(world.database, Catalogue(world.database), clock, admit, offer)
    serving = asyncio.ensure_future(sweeper.serve())
    try:
        yield sweeper, shown
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _pass_until(
    clock: ManualClock, condition: Callable[[], bool], what: str, *, resting: int = 2
) -> None:
    """Move the clock from sleeper to sleeper until it is so; only while all of them rest.

    Time that passed while the database is asked would pass by how slow it is.
    """

    async def so() -> bool:
        if not condition() and len(clock._sleepers) >= resting:
            await clock.advance_to_next()
        return condition()

    await wait_for(so, what, every_s=0.005)


async def _say(world: Door, recipient: str, signal: str, document: int) -> None:
    """Record a signal and route it; whoever should have woken its run has died."""
    await world.say(recipient, signal, document)
    await mailbox.route(world.database, 0)


async def test_mail_that_fits_nothing_is_shown_once(clock_database: Database) -> None:
    """A run is shown its unread mail at one sweep and not at each; more mail is shown once more."""
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    for person in ("ada", "bob"):
        await world.start(person)
    ada, bob = world.runs["ada"], world.runs["bob"]
    await _say(world, "ada", "read", document=8)
    clock.advance(1)  # a machine's monotonic clock is never at its zero
    async with sweeping(world, clock) as shown:
        await _pass_until(clock, lambda: ada in shown, "ada is shown her mail")
        # Each of Bob's is found by a later sweep, and one that finds Bob has passed Ada.
        for number in range(1, 4):
            await _say(world, "bob", "read", document=8)
            await _pass_until(clock, lambda n=number: shown.count(bob) == n, "bob is shown his")  # type: ignore[misc]
        assert shown == [ada, bob, bob, bob]
        await _say(world, "ada", "read", document=9)
        await _pass_until(clock, lambda: shown.count(ada) == 2, "ada is shown what is new")
        assert clock.monotonic() < _FORGETS_S
        clock.advance(_FORGETS_S)
        await _pass_until(clock, lambda: shown.count(ada) == 3, "after long it is shown again")


async def test_mail_that_was_heard_is_not_shown(clock_database: Database) -> None:
    """Mail that a decision has seen, and that of held and ended runs, is no matter of the sweeper's."""
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    for person in ("reader", "held", "gone", "last"):
        await world.start(person)
        await _say(world, person, "read", document=8 if person != "reader" else 7)
    await world.progress("reader")
    await world.sql("select chimeway.hold_run($1, 'held_by_request')", world.runs["held"])
    await world.sql("select chimeway.cancel(run_id => $1)", world.runs["gone"])
    clock.advance(1)
    async with sweeping(world, clock) as shown:
        await _pass_until(clock, lambda: bool(shown), "the sweep has found something")
        await _say(world, "last", "read", document=8)
        await _pass_until(clock, lambda: len(shown) > 1, "another sweep has")
    assert shown == [world.runs["last"]] * 2


async def test_mail_is_shown_again_to_who_was_held(clock_database: Database) -> None:
    """Who was shown his mail, was held before he could act, and is resumed is shown it at the next sweep."""
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    await world.start("ada")
    ada = world.runs["ada"]
    await _say(world, "ada", "read", document=7)
    clock.advance(1)
    async with sweeping(world, clock) as shown:
        await _pass_until(clock, lambda: shown == [ada], "ada is shown her mail")
        await world.sql("select chimeway.hold_run($1, 'held_by_request')", ada)
        await world.sql("select chimeway.resume_run($1)", ada)
        await _pass_until(clock, lambda: shown == [ada, ada], "and again")
        assert clock.monotonic() < _FORGETS_S / 2


async def test_who_may_not_move_is_put_aside_with_his_mail(clock_database: Database) -> None:
    """A run of a paused workflow is shown no mail; it is parked, and comes back when the pause is over."""
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    await world.start("ada")
    await _say(world, "ada", "read", document=7)
    await world.sql("select chimeway.pause_workflow('escalation', true)")
    clock.advance(1)
    async with sweeping(world, clock) as shown:
        await wait_for(lambda: world.sql("select parked from chimeway.workflow_runs"), "ada's run is parked")
        assert shown == []
        await world.sql("select chimeway.pause_workflow('escalation', false)")
        await _pass_until(clock, lambda: shown == [world.runs["ada"]], "it is offered")
        assert clock.monotonic() < SWEEP_EVERY_S


async def test_no_more_is_remembered_than_there_is_room_for(
    clock_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many whose mail fits nothing some are remembered; the others are shown theirs at each sweep."""
    monkeypatch.setattr("chimeway.engine.sweeper.REMEMBERED", 1)
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    for person in ("ada", "bob"):
        await world.start(person)
        await _say(world, person, "read", document=8)
    first, other = sorted(world.runs.values())
    clock.advance(1)
    async with asked_to_sweep(world, clock) as (sweeper, shown):
        await _pass_until(clock, lambda: shown.count(other) == 2, "whoever found no room is shown it again")
        assert (shown.count(first), [*sweeper._shown]) == (1, [first])


async def test_who_is_asked_to_looks_at_once(clock_database: Database) -> None:
    """Without time passing: an answer was lost, and somebody has mail."""
    world, clock = await opened(clock_database), ManualClock(SystemClock().now())
    await world.start("ada")
    async with asked_to_sweep(world, clock) as (sweeper, shown):
        await wait_for(lambda: len(clock._sleepers) == 2, "the sweep is over")
        await _say(world, "ada", "read", 8)
        sweeper.look()
        await wait_for(lambda: shown == [world.runs["ada"]], "her mail is shown")
        await wait_for(lambda: len(clock._sleepers) == 3, "whoever was asked rests")
        sweeper.show_again(world.runs["ada"])
        await _pass_until(clock, lambda: len(shown) == 2, "and again, where that went for nothing", resting=3)
    assert clock.monotonic() <= SWEEP_EVERY_S
