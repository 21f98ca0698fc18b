"""Hints: asked for while few come, refused in a storm, done without when they cannot be heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from chimeway.clock import SystemClock
from chimeway.engine.listener import Listener
from chimeway.engine.lookout import Lookout
from chimeway.limits import AWAKE_ABOVE_HINTS
from chimeway.store import nodes
from chimeway.store.pool import Database
from kit.home import email, workflow
from kit.machine import START, install
from kit.proxy import proxy_to
from kit.rows import Rows, rows_of
from kit.waiting import DEADLINE_S, wait_for

LISTENER = "test listener"
NEVER_S = 3600.0
"""An idle second that does not end: what is looked at was hinted."""


class Resting(Lookout):
    """A lookout of which can be seen that it waits for hints, and has done with all that it heard."""

    _waits = False

    async def _heard(self, at_most_s: float) -> None:
        self._waits = True
        try:
            await super()._heard(at_most_s)
        finally:
            self._waits = False

    @property
    def rests(self) -> bool:
        """Whether nothing but another hint makes it look."""
        return self._waits and self._listener.mode == "hinted" and not self._listener.heard.is_set()


@dataclass
class Watch:
    """A lookout, what it hears by, and how often it looked."""

    rows: Rows
    node: UUID = field(default_factory=uuid4)
    looks: int = 0
    found: int = 0
    listener: Listener | None = None
    lookout: Resting | None = None

    def look(self) -> None:
        """Count a look."""
        self.looks += 1

    async def asleep(self) -> bool:
        """Say whether producers are asked for hints."""
        return bool(await self.rows.value("select asleep from chimeway.nodes where id = $1", self.node))

    async def at_rest(self) -> int:
        """Wait until it sleeps, having looked after it said so; return the looks so far."""

        async def rests() -> bool:
            assert self.lookout is not None
            return await self.asleep() and self.lookout.rests

        await wait_for(rests, "the node sleeps")
        return self.looks


@asynccontextmanager
async def watching(database: Database, url: str | None = None) -> AsyncIterator[Watch]:
    """Run listener and lookout while the block lasts."""
    clock = SystemClock()
    async with rows_of(database.url) as rows:
        watch = Watch(rows)
        await nodes.enrol(database, watch.node, "node", "0", [])
        watch.listener = Listener(url or database.url, LISTENER, watch.node, clock)
        watch.lookout = Resting(
            watch.listener,
            database,
            watch.node,
            look=lambda: watch.look(),  # noqa: PLW0108  (a test may put another in its place)
            found=lambda: watch.found,
        )
        parts = [asyncio.ensure_future(part.serve()) for part in (watch.listener, watch.lookout)]
        try:
            yield watch
            assert not any(part.done() for part in parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)


async def _hint(rows: Rows, many: int = 1) -> None:
    """Notify, each time in a transaction of its own, as producers do."""
    for _ in range(many):
        await rows.all("select pg_notify('chimeway', '')")


async def _kill_listener(rows: Rows) -> None:
    sql = """select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = $1"""
    assert await rows.all(sql, LISTENER)


@pytest.fixture
def no_idle_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks but for a reason."""
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", NEVER_S)


@pytest.mark.usefixtures("no_idle_look")
async def test_who_finds_something_looks_again_soon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An awake node rests between looks only while they find nothing."""
    monkeypatch.setattr("chimeway.engine.lookout.AWAKE_LOOK_S", NEVER_S)
    async with watching(database) as watch:
        await watch.at_rest()

        def look() -> None:
            watch.looks += 1
            watch.found += 1

        watch.look = look  # type: ignore[method-assign]
        await _hint(watch.rows, AWAKE_ABOVE_HINTS + 1)
        before = watch.looks

        async def looks() -> bool:
            return not await watch.asleep() and watch.looks > before + 50

        await wait_for(looks, "it looks again and again")


@pytest.mark.usefixtures("no_idle_look")
async def test_a_trigger_wakes_a_sleeping_node(database: Database) -> None:
    """A node at rest asks for hints, sleeps, and looks when a producer commits: no idle second passes."""
    await install(database, workflow(email()))
    async with watching(database) as watch:
        looks = await watch.at_rest()
        await watch.rows.value(START, "mention_escalation", "ada", "default")
        await wait_for(lambda: watch.looks > looks, "it has looked")
        looks = await watch.at_rest()
        async with watch.rows.connection.transaction():
            await watch.rows.value(START, "mention_escalation", "bob", "default")
            await asyncio.sleep(0.05)
            assert watch.looks == looks, "nobody is told of what is not committed"
        await wait_for(lambda: watch.looks > looks, "it has looked")


async def test_a_look_comes_also_when_no_hint_does(database: Database) -> None:
    """A node at rest, to which nobody says anything, looks again a second later."""
    async with watching(database) as watch:
        looks = await watch.at_rest()
        await wait_for(lambda: watch.looks > looks + 1, "it has looked unasked")


@pytest.mark.usefixtures("no_idle_look")
async def test_the_last_look_is_after_the_flag(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between "I sleep" and sleep the node looks once more, so that a producer who read "awake" is found."""
    told: list[str] = []
    set_asleep = nodes.set_asleep

    async def noted(database: Database, node: UUID, *, asleep: bool) -> None:
        await set_asleep(database, node, asleep=asleep)
        told.append("asleep" if asleep else "awake")

    monkeypatch.setattr(nodes, "set_asleep", noted)
    async with watching(database) as watch:
        count = watch.look
        monkeypatch.setattr(watch, "look", lambda: (count(), told.append("look")))
        await watch.at_rest()
        _, asleep, after = " ".join(told).rpartition("asleep")
        assert (asleep, "look" in after) == ("asleep", True)


@pytest.mark.usefixtures("no_idle_look")
async def test_a_storm_takes_the_flag_away_and_quiet_brings_it_back(database: Database) -> None:
    """Above so many hints a second the node looks unasked while it finds something, then sleeps again."""
    async with watching(database) as watch:
        await watch.at_rest()

        async def awake() -> bool:
            await _hint(watch.rows, AWAKE_ABOVE_HINTS + 10)  # again, where they took longer than a second
            watch.found += 1
            return not await watch.asleep()

        await wait_for(awake, "the flag is taken away")
        looks = watch.looks
        async with asyncio.timeout(DEADLINE_S):
            while watch.looks < looks + 60:  # half a second and more, by a hundred looks a second
                watch.found += 1
                await asyncio.sleep(0.01)
        assert not await watch.asleep(), "it finds something, and stays awake"
        await watch.at_rest()


async def test_who_hears_nothing_asks_for_no_hints(database: Database) -> None:
    """Where nobody answers a listener the node polls: it looks again and again, and never says "asleep"."""
    async with watching(database, "postgresql://postgres@127.0.0.1:1/nothing") as watch:
        await wait_for(lambda: watch.looks >= 4, "it looks")
        assert watch.listener is not None
        assert (watch.listener.mode, await watch.asleep()) == ("polling", False)


async def test_who_is_deaf_polls(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not hear its own call is given up, and told; nobody had relied on it."""
    monkeypatch.setattr("chimeway.store.hints.PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("chimeway.engine.listener._AGAIN_S", 0.05)
    async with proxy_to(database.url) as proxy:
        gates = [proxy.hold_request("pg_notify") for _ in range(50)]
        with capture_logs() as lines:
            async with watching(database, proxy.url) as watch:
                silent = lambda: [line for line in lines if line["event"] == "listener.silent"]  # noqa: E731
                await wait_for(silent, "it is told")
                gates[0].release()
                await wait_for(gates[1].reached.is_set, "it has connected anew")
                assert watch.listener is not None
                assert watch.listener.mode == "polling"
                for gate in gates[1:]:  # one that comes too late for its probe is followed by another
                    gate.release()
                listener = watch.listener
                await wait_for(lambda: listener.mode == "hinted", "it has heard its own call")
        modes = [line["mode"] for line in lines if line["event"] == "listener.mode"]
        assert modes[0] == "hinted"


@pytest.mark.usefixtures("no_idle_look")
async def test_a_lost_connection_is_replaced(database: Database) -> None:
    """Cut off, the node looks by itself, connects again, asks for hints and is woken by them."""
    async with watching(database) as watch:
        looks = await watch.at_rest()
        with capture_logs() as lines:
            await _kill_listener(watch.rows)
            await wait_for(lambda: watch.looks > looks, "it looks at once")
            told = ["polling", "hinted"]
            modes = lambda: [line["mode"] for line in lines if line["event"] == "listener.mode"]  # noqa: E731
            await wait_for(lambda: modes() == told, "it hears again")
        looks = await watch.at_rest()
        await _hint(watch.rows)
        await wait_for(lambda: watch.looks > looks, "it is woken by a hint")


async def test_the_flag_of_the_dead_is_taken_away(database: Database) -> None:
    """A node that died asleep is marked awake by the next that goes to sleep: nobody pays for it for ever."""
    dead = uuid4()
    await nodes.enrol(database, dead, "dead", "0", [])
    await nodes.set_asleep(database, dead, asleep=True)
    async with watching(database) as watch:
        await watch.rows.all(
            "update chimeway.nodes set seen_at = now() - interval '3 minutes' where id = $1", dead
        )
        await nodes.set_asleep(database, watch.node, asleep=True)
        assert await watch.rows.value("select asleep from chimeway.nodes where id = $1", dead) is False


async def test_who_was_forgotten_asks_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was frozen for long, marked awake or taken off the list, is hinted again soon after."""
    monkeypatch.setattr("chimeway.engine.lookout.ASK_AGAIN_S", 0.2)
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", 0.05)
    async with watching(database) as watch:
        await wait_for(watch.asleep, "it sleeps")
        await watch.rows.all("delete from chimeway.nodes")
        await nodes.enrol(database, watch.node, "node", "0", [])
        await wait_for(watch.asleep, "it asks again", deadline_s=10)
