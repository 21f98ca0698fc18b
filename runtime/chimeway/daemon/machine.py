"""What works while a node has a lease: parts and wires. They live and die with one tenure.

    lookout ─look→ near sweeps, router ─admit→ roster ─play→ actor ─commit→ ledger
                   wheel ───────────────admit→                └─offer→ dispatcher ─nudge→ roster

Engine and delivery know nothing of each other; the two wires between them, `offer` and `nudge`, are
tied here. Both may be lost: what they say stands in rows.

All of it looks only at the shards that are this node's (`Feed`): these come and go while it works.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from chimeway.clock import Clock, set_within
from chimeway.daemon.doors import Ledger
from chimeway.daemon.feed import Feed
from chimeway.daemon.feed import Wires as Following
from chimeway.daemon.readiness import Readiness
from chimeway.daemon.tracing import Tracing
from chimeway.delivery.abandoned import Foundling
from chimeway.delivery.dispatcher import Dispatcher, Wires
from chimeway.delivery.lane import OpenWay, Way
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.results import Results
from chimeway.delivery.route import Route
from chimeway.delivery.sending import Parts, Sender
from chimeway.delivery.unsubscribing import NOWHERE, Unsubscribing
from chimeway.engine.actor import Acting, Actor, Tenant
from chimeway.engine.actor import Wires as ActorWires
from chimeway.engine.follower import Follower
from chimeway.engine.gauge import AtWork, Gauge, Sources
from chimeway.engine.glance import Glance
from chimeway.engine.headway import Sign
from chimeway.engine.listener import Listener
from chimeway.engine.lookout import Lookout
from chimeway.engine.ownership import Tenure
from chimeway.engine.recovery import find_suspects, try_out
from chimeway.engine.roster import Roster
from chimeway.engine.rounds import Rounds
from chimeway.engine.router import Router
from chimeway.engine.seam import Seam
from chimeway.engine.strain import Late
from chimeway.engine.sweeper import Sweeper
from chimeway.engine.taker import Taker
from chimeway.engine.timekeeper import Sweeps, Timekeeper
from chimeway.limits import (
    AHEAD_PAGE_PER_SHARD,
    ALONE_S,
    DRAIN_S,
    DUE_PAGE_PER_SHARD,
    LAST_TRIAL_S,
)
from chimeway.log import Events
from chimeway.render.renderers import Renderers
from chimeway.store import leases, nodes, runs
from chimeway.store.catalogue import Catalogue
from chimeway.store.due import Kind, Pages
from chimeway.store.faults import LeaseLost
from chimeway.store.pool import Database, persistently
from chimeway.store.turns import Kind as KindInTurn
from chimeway.store.turns import Turns
from chimeway.tally import Tally

_log = Events()
_KINDS_OF_RUNS: Final[tuple[KindInTurn, ...]] = ("new run", "run")
_RUNS_EVERY_S: Final = 0.1
_DELIVERIES_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Node:
    """What a process has from its start to its end, whatever its lease."""

    id: UUID
    name: str
    version: str
    direct_url: str
    database: Database
    clock: Clock
    catalogue: Catalogue
    renderers: Renderers
    channels: Mapping[str, Route]
    max_lateness_s: float
    schema_version: int
    """As it was at the start: a program works on the version before its own, too."""
    unsubscribing: Unsubscribing = NOWHERE
    readiness: Readiness = field(default_factory=Readiness)
    tally: Tally = field(default_factory=Tally)
    tracing: Tracing | None = None


class Machine:
    """All parts of one tenure, in one task group."""

    def __init__(self, node: Node, tenure: Tenure, group: asyncio.TaskGroup) -> None:
        """Build and wire; nothing runs yet."""
        database, clock = node.database, node.clock
        addressless = frozenset(r.name for r in node.channels.values() if not r.needs_address)
        self._node, self._tenure, self._group = node, tenure, group
        traces = node.tracing
        self._feed = Feed(tenure)
        self._neighbours = asyncio.Event()
        self._ledger = Ledger(database, node.catalogue, tenure, clock, node.tally)
        seam = Seam(self._ledger.load, self._ledger.commit, node.renderers, addressless, node.channels)
        self._follower = Follower(database, clock)
        out = ActorWires(
            arm=self._arm_run, put_off=self._put_off_run, offer=self._offer, defer=self._arm_delivery,
            doubt=self._follower.doubt, put_aside=self._put_aside,
        )  # fmt: skip
        self._acting = Acting(database, clock, out, node.tally, traces.decided if traces else None)
        self._rounds = Rounds(seam, self._acting, clock, group, self._ledger.company, self._rests)
        self._roster = Roster(self._rounds.play, clock, self._feed.ours, self._show_again)
        self._results = Results(self._ledger.record, clock, node.channels)
        sender = Sender(
            Parts(
                database, clock, tenure.fence.owner, node.renderers, node.channels, self._ledger.begin,
                self._ledger.hold_back, self._results, tenure.trusted, self._nudge,
                node.unsubscribing, node.tally, traces.attempt if traces else None,
            )
        )  # fmt: skip
        wires = Wires(
            arm=self._arm_delivery, put_off=self._put_off_delivery, has_room=self._look_at_deliveries,
            nudge=self._nudge, way=self._way, ours=self._feed.ours,
        )  # fmt: skip
        self._dispatcher = Dispatcher(database, clock, node.catalogue, sender, self._results, wires, group)
        roster, dispatcher = self._roster, self._dispatcher
        # (What stands aside need not be handed on.)
        runs_to = Taker(
            roster.offer, roster.admit, lambda run_id: run_id in roster or not self._feed.ours(run_id)
        )
        self._run_keeper = self._keeper(
            "run",
            runs_to,
            [Turns(database, kind, roster.crowded, self._feed.shards) for kind in _KINDS_OF_RUNS],
        )
        self._delivery_keeper = self._keeper(
            "delivery",
            Taker(dispatcher.offer, dispatcher.admit, dispatcher.__contains__),
            [Turns(database, "delivery", dispatcher.full_lines, self._feed.shards)],
        )
        self._sweeper = Sweeper(database, node.catalogue, clock, roster.admit, roster.offer, self._feed.share)
        self._glance = Glance(
            database, clock, self._follower, self._feed.shards, self._look, self._sweeper.unpark
        )
        self._router = Router(
            database, runs_to, roster.crowded, self._sweeper.look, node.clock, self._feed.shards
        )
        self._foundling = Foundling(
            database, clock, tenure.fence.owner, self._dispatcher, self._results, self._nudge,
            self._feed.share,
        )  # fmt: skip
        sources = Sources(
            self._late, lambda: self._router.in_backlog, self._at_work, self._feed.shards, tenure.trusted
        )
        self._gauge = Gauge(database, clock, sources, node.max_lateness_s)
        self._feeders: list[asyncio.Task[None]] = []
        self._runs_looked_at = self._deliveries_looked_at = 0.0
        self._looks = 0

    async def start(self) -> None:
        """Start what works, deal with what a dead node left behind, then let in what is new."""
        for name, serve in self._ledger.parts():
            self._group.create_task(serve, name=name)
        self._group.create_task(self._rounds.serve(), name="rounds")
        self._group.create_task(self._dispatcher.serve(), name="dispatcher")
        self._group.create_task(self._tell_neighbours(), name="tell-neighbours")
        await self._follower.measure()  # who has stood by for days has a clock that has gone by itself
        self._group.create_task(self._follower.serve(), name="follow-clock")
        self._feed.wire(Following(self._look_anew, self._forget, self._look_through, self._roster.emptied))
        self._feed.begin()
        for name, feeder in self._feeding().items():
            self._feeders.append(self._group.create_task(feeder, name=name))
        self._node.readiness.gauge, self._node.readiness.shards = self._gauge, self._feed.shards
        self._node.readiness.signs = self._signs

    async def drain(self) -> None:
        """Give all shards to others, then wait for what is under way, as long as a drain may take."""
        _log.info("daemon.draining", node=self._node.name, reason="asked to end", deadline_s=DRAIN_S)
        self._node.readiness.stage = "draining"
        await self._tenure.leave()
        for feeder in self._feeders:
            feeder.cancel()
        self._roster.close()
        self._dispatcher.close()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._roster.emptied()
                await self._dispatcher.emptied()
        except TimeoutError:
            _log.warning("daemon.drain_expired", runs=len(self._roster), deadline_s=DRAIN_S)

    def _feeding(self) -> dict[str, Coroutine[Any, Any, None]]:
        node, listener = self._node, self._listening()
        node.readiness.listener = listener
        looks, glances = self._look, self._look_idly
        lookout = Lookout(listener, node.database, node.id, look=looks, found=self._found, glance=glances)
        return {
            "feed": self._feed.serve(),
            "listener": listener.serve(),
            "lookout": lookout.serve(),
            "glance": self._glance.serve(),
            "router": self._router.serve(),
            "run-keeper": self._run_keeper.serve(),
            "delivery-keeper": self._delivery_keeper.serve(),
            "sweeper": self._sweeper.serve(self._glance.watches),
            "foundling": self._foundling.serve(sorted(node.channels), self._glance.no_calls),
            "gauge": self._gauge.serve(),
        }

    def _listening(self) -> Listener:
        """Return the ear for hints; a simulated node has another."""
        node = self._node
        return Listener(node.direct_url, f"{node.name} listener", node.id, node.clock, node.tally)

    def _keeper(self, kind: Kind, taker: Taker, turns: Sequence[Turns]) -> Timekeeper:
        node = self._node
        near, far = (
            Pages(node.database, kind, self._feed.shards, rows, node.clock, self._dispatcher.full_channels)
            for rows in (DUE_PAGE_PER_SHARD, AHEAD_PAGE_PER_SHARD)
        )
        any_new = partial(runs.any_new, node.database) if kind == "run" else None
        return Timekeeper(Sweeps(near, far, turns, any_new), node.clock, taker)

    async def _look_through(self, shards: frozenset[int], go_on: Callable[[], None]) -> None:
        """Record a dead node's calls as unknown, and find out whether a run of these shards killed it."""
        database = self._node.database
        suspects, tried_alone = await find_suspects(database, self._node.clock, shards), asyncio.Event()
        self._feed.set_aside(suspects.ids())

        async def others() -> None:
            await set_within(tried_alone, ALONE_S)
            go_on()
            await self._foundling.sweep(shards)

        async with asyncio.TaskGroup() as group:
            group.create_task(others(), name="beside-suspects")
            await try_out(
                database, suspects, self._roster.settle, self._feed.release, tried_alone.set, LAST_TRIAL_S
            )
        await persistently(leases.absolve, database, self._tenure.fence, shards)

    def _look_anew(self) -> None:
        """Look for all that is due, now and soon: more shards are ours."""
        self._router.look()
        self._sweeper.look()
        self._run_keeper.begin_anew()
        self._delivery_keeper.begin_anew()

    def _forget(self, gone: Callable[[UUID], bool]) -> None:
        self._sweeper.forget(gone)
        self._run_keeper.forget(gone)
        self._delivery_keeper.forget(gone)

    def _look(self) -> None:
        """Look for new work. What waits is armed, deliveries are offered: looking finds the rest."""
        self._looks += 1
        self._router.look()
        now = self._node.clock.monotonic()
        if now - self._runs_looked_at > _RUNS_EVERY_S:
            self._runs_looked_at = now
            self._run_keeper.look()
        else:
            self._run_keeper.look_for_new()
        if now - self._deliveries_looked_at > _DELIVERIES_EVERY_S:
            self._deliveries_looked_at = now
            self._delivery_keeper.look()

    def _look_idly(self) -> None:
        self._looks += 1
        self._glance.look()

    def _signs(self) -> list[Sign]:
        """Show how far each part has got; what waits for a provider is no part of ours (`headway`)."""
        lease, rests, loads = self._tenure.fence.epoch, self._roster.rests, self._dispatcher.loads
        runs_due, sent_due = self._run_keeper.moved(), self._delivery_keeper.moved()
        heard = self._router.moved()
        found: dict[str, Hashable] = {
            "the look-out for new work": self._looks,
            "runs at work": rests if len(self._roster) else None,
            "rounds of runs": self._rounds.moved(),
            # Who reads a backlog waits for room, and there is some when others have got on.
            "signals": None if heard is None else (heard, rests),
            "due runs": None if runs_due is None else (runs_due, rests),
            "due deliveries": None if sent_due is None else (sent_due, loads),
            "deliveries to load": self._dispatcher.moved(),
            **self._ledger.moved(),
        }
        return [Sign(part, None if moved is None else (lease, moved)) for part, moved in found.items()]

    def _found(self) -> int:
        return self._run_keeper.found + self._router.found

    def _late(self) -> list[Late]:
        """Runs at work are late, too; deliveries may wait for their provider, which is told elsewhere."""
        of_runs = max(self._run_keeper.late_s(), self._roster.oldest_s())
        return [Late(of_runs, "run"), Late(self._delivery_keeper.late_s(), "delivery")]

    def _at_work(self) -> AtWork:
        runs, sent = self._roster, self._dispatcher
        return AtWork(len(runs), runs.oldest_s(), runs.lately.took(), len(sent), sent.oldest_s())

    def _nudge(self, run_id: UUID, tenant: Tenant) -> None:
        """Have a run looked at that has something to do: by us, or by the node that has it now."""
        if self._feed.ours(run_id):
            self._roster.nudge(run_id, tenant)
        else:
            self._neighbours.set()

    async def _tell_neighbours(self) -> None:
        """Wake other nodes when a call of ours ended after one of them got its shard: its run can move."""
        while True:
            await self._neighbours.wait()
            self._neighbours.clear()
            await persistently(nodes.hint, self._node.database)

    def _rests(self, actor: Actor) -> bool:
        return self._roster.rest(actor)

    def _put_aside(self, run_id: UUID) -> None:
        self._sweeper.put_aside(run_id)

    def _show_again(self, run_id: UUID) -> None:
        """See that a run which fell out of the roster's line is found: it may have mail, and not be due."""
        self._sweeper.show_again(run_id)

    def _arm_run(self, run_id: UUID, at: datetime | None, tenant: Tenant) -> None:
        self._run_keeper.arm(run_id, at, tenant)

    def _put_off_run(self, run_id: UUID, pause_s: float, tenant: Tenant) -> None:
        self._run_keeper.put_off(run_id, pause_s, tenant)

    def _arm_delivery(self, delivery_id: UUID, at: datetime | None) -> None:
        self._delivery_keeper.arm(delivery_id, at)

    def _look_at_deliveries(self) -> None:
        self._delivery_keeper.look()

    def _put_off_delivery(self, delivery_id: UUID, pause_s: float) -> None:
        self._delivery_keeper.put_off(delivery_id, pause_s)

    def _offer(self, delivery_id: UUID, tenant: str, channel: str) -> None:
        self._dispatcher.offer(delivery_id, tenant, channel)

    def _way(self, channel: str) -> tuple[Way, int]:
        """Return where the lane of a channel leads, and how many calls at once it makes."""
        route = self._node.channels.get(channel)
        return (
            (OpenWay(), ChannelLimits().concurrency) if route is None else (route, route.limits.concurrency)
        )


class _Ended(Exception):  # noqa: N818  (no error: the way out of a task group)
    """The tenure has ended, and all its tasks with it."""


async def work(
    node: Node,
    tenure: Tenure,
    stop: asyncio.Event,
    ready: Callable[[], None],
    build: Callable[[Node, Tenure, asyncio.TaskGroup], Machine] = Machine,
) -> None:
    """Work until the lease is lost (at once) or `stop` is set (after a drain); `build` makes the machine.

    Raises:
        ExceptionGroup: a part failed.
    """
    try:
        async with asyncio.TaskGroup() as group:
            machine = build(node, tenure, group)
            starting = group.create_task(_start(machine, ready), name="start")
            await _either(stop, tenure.lost)
            starting.cancel()  # it may wait for a database that the lease's own connection still reaches
            if not tenure.lost.is_set():
                await machine.drain()
            raise _Ended
    except* (_Ended, LeaseLost):
        pass
    finally:
        node.readiness.gauge, node.readiness.signs = None, tuple


async def _start(machine: Machine, ready: Callable[[], None]) -> None:
    await machine.start()
    ready()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
