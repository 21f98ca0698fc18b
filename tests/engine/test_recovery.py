"""Recovery: who takes over from the dead finds out which run killed, and holds that one alone."""

import asyncio
from collections.abc import AsyncIterator, Collection
from uuid import UUID

import asyncpg
import pytest

from chimeway.clock import SystemClock
from chimeway.engine.recovery import find_suspects, try_out
from chimeway.limits import SUSPECTS_AT_ONCE
from chimeway.store import runs as store_runs
from chimeway.store.pool import Database
from kit.home import email, workflow
from kit.machine import install
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

ONE = workflow(email(), key="email")


class Death(Exception):  # noqa: N818  (no error of the program's: it is dead)
    """The process has ended."""


class Node:
    """A node that takes over, evaluates, and dies of some runs."""

    def __init__(self, database: Database, deadly: Collection[UUID] = ()) -> None:
        """Take what it dies of."""
        self._database = database
        self._deadly = deadly
        self._at_work = 0
        self.played: list[tuple[UUID, bool]] = []

    async def lives(self) -> int:
        """Recover; return how many runs were evaluated."""
        suspects = await find_suspects(self._database, SystemClock())
        return await try_out(self._database, suspects, self.play)

    async def dies(self) -> None:
        """Recover, and die of it."""
        with pytest.raises(BaseExceptionGroup) as caught:
            await self.lives()
        assert caught.group_contains(Death)

    async def play(self, run_id: UUID) -> None:
        """Evaluate a run; who is at work at the same time is noted."""
        self._at_work += 1
        try:
            await asyncio.sleep(0)  # those of its group begin as well
            self.played.append((run_id, self._at_work == 1))
            if run_id in self._deadly:
                raise Death
        finally:
            self._at_work -= 1


@pytest.fixture
async def rows(database_url: str, database: Database) -> AsyncIterator[Rows]:
    """What the rows say, where a workflow is registered."""
    await install(database, ONE)
    async with rows_of(database_url) as opened:
        yield opened


async def _due(rows: Rows, many: int) -> list[UUID]:
    """Start runs that are due, oldest first."""
    sql = """select t.run_id from chimeway.trigger_many('email', 'default',
                array(select 'user_' || n from generate_series(1, $1::int) n)) t"""
    started = [row["run_id"] for row in await rows.all(sql, many)]
    await rows.all(
        """update chimeway.workflow_runs r set wake_at = chimeway.clock() + (n - 3600) * interval '1 s'
             from unnest($1::uuid[]) with ordinality u(id, n) where u.id = r.id""",
        started,
    )
    return started


async def _strikes(rows: Rows, runs: Collection[UUID]) -> list[int]:
    found = await rows.all("select id, strikes from chimeway.workflow_runs")
    strikes = {row["id"]: row["strikes"] for row in found}
    return [strikes[run] for run in runs]


async def test_without_a_death_nothing_stays(rows: Rows, database: Database) -> None:
    """All overdue runs are evaluated once, with a strike during it and none after."""
    runs, seen = await _due(rows, 5), list[asyncpg.Record]()
    later = await rows.value("select chimeway.trigger('email', recipient_id => 'x', at => now() + '1 hour')")

    class Looking(Node):
        async def play(self, run_id: UUID) -> None:
            await super().play(run_id)
            async with database.acquire() as connection:
                sql = "select strikes from chimeway.workflow_runs where id = $1"
                seen.append(await connection.fetchval(sql, run_id))

    node = Looking(database)
    assert await node.lives() == 5
    assert [run for run, _ in node.played] == runs
    assert later not in dict(node.played)
    assert seen == [1] * 5
    assert await _strikes(rows, [*runs, later]) == [0] * 6


async def test_three_deaths_hold_the_deadly_run_alone(rows: Rows, database: Database) -> None:
    """The first death marks its group, the second and third are of one run alone, which is then held."""
    runs = await _due(rows, 4)
    deadly = runs[2]
    await Node(database, [deadly]).dies()
    assert await _strikes(rows, runs) == [1, 1, 1, 1]

    for strikes in (2, 3):
        node = Node(database, [deadly])
        await node.dies()
        assert node.played[-1] == (deadly, True), "alone, and the last thing that it did"
        assert await _strikes(rows, [deadly]) == [strikes]
        assert (await rows.run(deadly))["held_reason"] is None

    node = Node(database, [deadly])
    await node.lives()
    assert deadly not in dict(node.played)
    held = await rows.run(deadly)
    assert (held["held_reason"], held["state"]) == ("three_strikes", "active")
    last = (await rows.transitions(deadly))[-1]
    assert (last["reason"], last["note"].startswith("three_strikes")) == ("run_held", True)
    innocents = [run for run in runs if run != deadly]
    assert {run for run, _ in node.played} >= set(innocents)
    assert await _strikes(rows, innocents) == [0, 0, 0]
    assert [(await rows.run(run))["held_reason"] for run in innocents] == [None] * 3


async def test_former_suspects_go_first_and_alone(rows: Rows, database: Database) -> None:
    """After a death its suspects are evaluated one at a time, before all others; the innocent are cleared."""
    runs = await _due(rows, 3)
    await Node(database, runs[:1]).dies()
    newer = await _due(rows, 6)
    node = Node(database)
    await node.lives()
    first = node.played[:3]
    assert {run for run, _ in first} == set(runs)
    assert all(alone for _, alone in first)
    assert {run for run, _ in node.played[3:]} >= set(newer)
    assert not all(alone for _, alone in node.played[3:])
    assert await _strikes(rows, [*runs, *newer]) == [0] * 9


async def test_a_death_marks_its_group_only(rows: Rows, database: Database) -> None:
    """Of many overdue runs those at work when the node died are struck, and those behind them are not."""
    runs = await _due(rows, SUSPECTS_AT_ONCE + 20)
    await Node(database, [runs[5]]).dies()
    struck = await _strikes(rows, runs)
    assert struck == [1] * SUSPECTS_AT_ONCE + [0] * 20


async def test_a_small_tenants_run_is_a_suspect_too(
    rows: Rows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadly run that had its turn before another tenant's older ones is found out all the same."""
    monkeypatch.setattr("chimeway.engine.recovery.SUSPECTS", 5)
    monkeypatch.setattr("chimeway.store.turns.TURN_ROWS", 4)
    runs = await _due(rows, 20)
    deadly = await rows.value("select chimeway.trigger('email', tenant_id => 'small', recipient_id => 'x')")
    await Node(database, [deadly]).dies()
    assert (await _strikes(rows, [deadly]), await _strikes(rows, runs[10:])) == ([1], [0] * 10)


async def test_where_little_is_due_tenants_are_not_gone_through(
    rows: Rows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take-over does not wait for a walk over all tenants that have something to do later."""
    runs, asked = await _due(rows, 20), list[str]()
    fetch = database.fetch

    async def noted(name: str, *args: object) -> list[asyncpg.Record]:
        asked.append(name)
        return await fetch(name, *args)

    monkeypatch.setattr(database, "fetch", noted)
    found = await find_suspects(database, SystemClock())
    assert (found.former, found.overdue) == ([], runs)
    assert asked == ["struck_runs", "oldest_due_runs"]


async def test_the_ended_and_the_held_are_no_suspects(rows: Rows, database: Database) -> None:
    """A struck run that was cancelled or held meanwhile is not evaluated; a resumed one begins at nothing."""
    runs = await _due(rows, 3)
    await Node(database, runs[:1]).dies()
    await rows.all("select outcome from chimeway.cancel(run_id => $1)", runs[0])
    await rows.value("select chimeway.hold_run($1, 'held_by_request')", runs[1])
    node = Node(database)
    await node.lives()
    assert {run for run, _ in node.played} == {runs[2]}
    await rows.value("select chimeway.resume_run($1)", runs[1])
    assert await _strikes(rows, runs[1:]) == [0, 0]


@pytest.mark.parametrize("former", [False, True], ids=["overdue", "former suspect"])
async def test_who_is_told_to_end_leaves_no_strike(rows: Rows, database: Database, former: bool) -> None:
    """Recovery that is cancelled while its suspects are evaluated takes their strikes away: nobody died."""
    runs = await _due(rows, 3)
    if former:
        await Node(database, runs[:1]).dies()

    class Hanging(Node):
        async def play(self, run_id: UUID) -> None:
            await super().play(run_id)
            await asyncio.Event().wait()

    node = Hanging(database)
    recovering = asyncio.ensure_future(node.lives())
    await wait_for(lambda: len(node.played) == (1 if former else 3), "they are evaluated")
    at_work = [run for run, _ in node.played]
    assert await _strikes(rows, at_work) == ([2] if former else [1] * 3)
    recovering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovering
    assert await _strikes(rows, at_work) == [0] * len(at_work)


async def test_who_is_told_to_end_while_the_database_is_away_ends(
    rows: Rows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strikes that cannot be taken away at once are taken away a little later, and no node fails of it."""
    runs, tries = await _due(rows, 2), list[int]()
    clear = store_runs.clear_strikes

    async def refused_once(database: Database, ids: list[UUID]) -> None:
        tries.append(len(ids))
        if len(tries) == 1:
            raise ConnectionResetError
        await clear(database, ids)

    class Hanging(Node):
        async def play(self, run_id: UUID) -> None:
            await super().play(run_id)
            await asyncio.Event().wait()

    monkeypatch.setattr(store_runs, "clear_strikes", refused_once)
    node = Hanging(database)
    recovering = asyncio.ensure_future(node.lives())
    await wait_for(lambda: len(node.played) == 2, "they are evaluated")
    recovering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recovering
    assert tries == [2, 2]
    assert await _strikes(rows, runs) == [0, 0]
