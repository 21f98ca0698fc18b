"""Who plays: nodes, each as its tasks would live in a process, and those who do one thing each."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from chimeway.daemon.machine import Node, work
from chimeway.delivery.pacing import ChannelLimits
from chimeway.delivery.route import Route, single
from chimeway.engine.ownership import Tenure
from chimeway.engine.seam import Seam
from chimeway.render.functions import Content
from chimeway.render.message import RenderContext
from chimeway.render.renderers import Renderers
from chimeway.store import nodes
from chimeway.store.catalogue import Catalogue
from chimeway.store.ledger import Answer, Entry, Fence, commit_decisions
from chimeway.store.migrations import VERSION
from chimeway.store.pool import persistently
from chimeway.store.runs import Loaded, load_runs, oldest_due
from chimeway.store.simulating import beat, begin_lease, do_deed, end_deed, end_lease, hand_over
from chimeway.testing.simulation.loop import SteppedLoop
from chimeway.testing.simulation.real_parts import (
    GatedDatabase,
    GatedListener,
    GatedMachine,
    GatedProvider,
    GatedTenure,
)
from chimeway.testing.simulation.real_stories import Deed
from chimeway.testing.simulation.real_time import SteppedClock
from chimeway.testing.simulation.scheduler import Draw, Gates

_LOOKS: Final = 3
_CHANNELS: Final = ("email", "push")
_LIMITS: Final = ChannelLimits(max_attempts=4, breaker_failures=0)
"""Few attempts, so that deliveries end; no breaker, for one shut would make every history the same."""


def _written(context: RenderContext) -> Content:
    return Content("for you", context.recipient.id)


_RENDERERS: Final = Renderers(fallback=_written)
"""Of all nodes: pure, and dear to make."""


@dataclass(slots=True)
class Stage:
    """What all players of a scenario share."""

    loop: SteppedLoop
    gates: Gates
    clock: SteppedClock
    draw: Draw
    url: str


@dataclass(eq=False, slots=True)
class PlayedNode:
    """A node from its start to its death; `owner` is its name in the history."""

    stage: Stage
    owner: str
    channels: tuple[str, ...] = _CHANNELS
    tenure: GatedTenure | None = None
    fence: Fence | None = None
    """Of the lease that it has begun and of whose end it does not know: while it works, and after."""
    machine: GatedMachine | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ear(self) -> GatedListener | None:
        """What hears hints, while it works."""
        return None if self.machine is None else getattr(self.machine, "ear", None)

    async def live(self) -> None:
        """Have a lease and work under it, again and again while others end it; end it oneself at the end."""
        node = self._node()
        await persistently(
            nodes.enrol, node.database, node.id, node.name, node.version, sorted(node.channels)
        )
        while not self.stop.is_set():
            owner = UUID(bytes=self.stage.draw.bytes(16))
            fence = await self._gate(
                "lease", "begin a lease", partial(begin_lease, owner=owner, node=node.id)
            )
            self.fence = fence
            self.tenure = tenure = GatedTenure(
                fence, clean=True, trusted_until=float("inf"), shards=frozenset(), on_leaving=self.leaving.set
            )
            keeping = asyncio.get_running_loop().create_task(self._keep(tenure))
            try:
                await work(node, tenure, self.stop, lambda: None, self._built)
            finally:
                keeping.cancel()
                self.tenure = self.machine = None
            if not tenure.lost.is_set():
                await self._gate("lease", "end the lease", partial(end_lease, fence=fence))
            self.fence = None

    async def _keep(self, tenure: Tenure) -> None:
        """Do what `engine.keeper` does: beat, learn what is ours, give away what is too much."""
        while (found := await self._gate("beat", "beat", partial(beat, fence=tenure.fence))) is not None:
            shards, suspect = found.shards, found.suspect
            tenure.hold(shards, suspect)
            if self.leaving.is_set() and not tenure.handed_over.is_set():
                await self._hand_over(tenure, shards, leaving=True)
                tenure.handed_over.set()
            elif found.surplus:
                # What is under suspicion goes last.
                given = frozenset(
                    sorted(shards, key=lambda shard: (shard in suspect, shard))[: found.surplus]
                )
                await tenure.let_go(given)
                await self._hand_over(tenure, given, leaving=False)
        tenure.lost.set()

    async def _hand_over(self, tenure: Tenure, shards: frozenset[int], *, leaving: bool) -> None:
        act = partial(hand_over, fence=tenure.fence, shards=shards, leaving=leaving)
        await self._gate("lease", "hand over", act)

    def _built(self, node: Node, tenure: Tenure, group: asyncio.TaskGroup) -> GatedMachine:
        self.machine = GatedMachine(node, tenure, group)
        return self.machine

    async def _gate(self, kind: str, label: str, act: Callable[[Any], Any]) -> Any:
        return await self.stage.gates.ask(self.owner, kind, label, act)

    def _node(self) -> Node:
        stage = self.stage
        database = GatedDatabase(stage.gates, self.owner, stage.url)
        return Node(
            id=UUID(bytes=stage.draw.bytes(16)),
            name=self.owner,
            version="0",
            direct_url=stage.url,
            database=database,
            clock=stage.clock,
            catalogue=Catalogue(database),
            renderers=_RENDERERS,
            channels=self._routes(),
            max_lateness_s=5.0,
            schema_version=VERSION,
        )

    def _routes(self) -> Mapping[str, Route]:
        stage = self.stage
        return {
            name: single(GatedProvider(stage.gates, self.owner, name, _LIMITS), stage.clock, _LIMITS)
            for name in self.channels
        }


async def _progress(stage: Stage, owner: str) -> None:
    """Evaluate what is due by hand, without a lease and beside the nodes, as `progress_due_runs` does."""
    database = GatedDatabase(stage.gates, owner, stage.url)
    catalogue = Catalogue(database)

    async def load(ids: Sequence[UUID]) -> Sequence[Loaded | None]:
        return await load_runs(database, catalogue, ids)

    async def commit(entries: Sequence[Entry]) -> Sequence[Answer]:
        return await commit_decisions(database, None, entries)

    seam = Seam(load, commit, _RENDERERS, ())
    for _ in range(_LOOKS):
        for run_id in await oldest_due(database, stage.clock.now(), 10):
            await seam.evaluate(run_id, stage.clock.now)


async def do(stage: Stage, owner: str, deed: Deed, begun: asyncio.Event) -> None:
    """Do one deed, when its time has come: at once, or in a transaction that stays open for a while."""
    if deed.after_s >= 0.0 and deed.statement != "simulation_trigger":
        await begun.wait()
    await asyncio.sleep(max(0.0, deed.after_s))
    if deed.label == "progress":
        await _progress(stage, owner)
        return

    async def ask(kind: str, label: str, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        await stage.gates.ask(owner, kind, label, act)

    begin = deed.transaction
    try:
        await ask(
            "begin" if begin else "deed",
            deed.label,
            lambda line: do_deed(line, deed.statement, deed.args, begin=begin),
        )
    finally:
        if deed.statement == "simulation_trigger":
            begun.set()
    if begin:
        await ask("end", f"{deed.ends}: {deed.label}", lambda line: end_deed(line, deed.ends))
