"""Plays a schedule on a world: each fault in turn, once what it needs is free and enough is under way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from faults import inflicting, measuring, schedule
from faults.acts import LOST
from faults.inflicting import Detail
from faults.journal import Journal, read
from faults.nodes import BEGUN, Node
from faults.schedule import SORTS, Fault, Happened
from faults.world import World

_LOOK_S: Final = 0.05
_MEASURE_S: Final = 2.0
_ENOUGH_S: Final = 300.0
_AT_ONCE: Final = 5
_ALONE_S: Final = 4.0
_TICK_S: Final = 0.1
_STALL_S: Final = 0.5
_COMMITS_EVERY_S: Final = 0.5
_SLOW_COMMIT_S: Final = 1.0
_HUNGER_LOOK_S: Final = 0.5
_HUNGRY: Final = 0.8
"""The part of a time that a thread waited for a processor, from which on its node counts as stopped."""
_HUNGRY_S: Final = 1.0
"""How long so: a node means to renew its lease once a second."""
_COMMIT: Final = "select pg_logical_emit_message(true, 'faults', 'a commit like any other')"
_ANYBODY: Final = 0.1
"""How often a fault of a node meets whoever's turn it is, be he only just beginning."""
_COUNTED: Final = ("sessions", "connections", "runs", "shards")
"""What a fault says that it met, by number."""


class Conductor:
    """Plays one schedule."""

    def __init__(
        self,
        world: World,
        faults: Sequence[Fault],
        *,
        seconds: float,
        least: int,
        told: Callable[[str], None],
    ) -> None:
        """Take the world and the faults; they are spread over so many seconds.

        `least`: so many journeys are to be under way at each fault: it waits for them. `told` is for whoever
        watches.
        """
        self._told = told
        self._world = world
        self._faults = faults
        self._every_s = seconds / max(1, len(faults))
        self._least = least
        self._journal = Journal(log_of(world.folder))
        self._provider = asyncio.Lock()
        self._free_producers = list(world.producers)
        self._under_way: set[asyncio.Task[None]] = set()
        self._alone: asyncio.Task[None] | None = None
        self.troubles: list[str] = []
        """What nodes did that no fault explains: one that ends by itself, or not as it is asked to."""

    async def play(self) -> None:
        """Play it, and wait until the last fault is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for place, fault in enumerate(self._faults):
                await _until(partial(_reached, began + place * self._every_s))
                await _until(partial(self._room_for, fault))
                doing = await self._chosen(fault)
                await self._enough()  # last: whoever is chosen may have been waited for
                task = group.create_task(doing)
                self._under_way.add(task)
                self._alone = task if fault.alone else None
                task.add_done_callback(self._under_way.discard)
                if place % 20 == 19:
                    self._told(
                        f"{place + 1} of {len(self._faults)} faults; journeys begun: {self._world.begun()}"
                    )
            await _until(lambda: not self._under_way)

    def _room_for(self, fault: Fault) -> bool:
        if self._alone is not None and not self._alone.done():
            return False
        if fault.alone:
            return not self._under_way and all(node.says(*BEGUN) for node in self._world.nodes)
        return len(self._under_way) < _AT_ONCE

    async def _enough(self) -> None:
        ends = time.monotonic() + _ENOUGH_S
        while self._world.live() < self._least:
            assert time.monotonic() < ends, f"not {self._least} journeys under way, but {self._world.live()}"
            await asyncio.sleep(_LOOK_S)

    async def watch(self) -> None:
        """See that nodes live, and write down when the machine does not; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_nodes())
            group.create_task(self._watch_for_stalls())
            group.create_task(self._watch_for_slow_commits())
            group.create_task(self._watch_for_hunger())

    async def _watch_nodes(self) -> None:
        while True:
            for node in self._world.nodes:
                node.measure()
            for node in self._world.nodes:
                if node.busy or node.runs():
                    continue
                if node.process.returncode == 0 or not node.ended_well():
                    self.troubles.append(f"{node.name} ended with {node.process.returncode}:\n{node.tail()}")
                self._world.start_node(node)
            await asyncio.sleep(_MEASURE_S)

    async def _watch_for_stalls(self) -> None:
        """Write down when the machine let nothing run: this loop carries all lines, and they stood still."""
        while True:
            began, before = time.time(), time.monotonic()
            await asyncio.sleep(_TICK_S)
            if (late_s := time.monotonic() - before - _TICK_S) > _STALL_S:
                self._stalled(began, late_s)

    async def _watch_for_slow_commits(self) -> None:
        """Write down when PostgreSQL could not commit although nothing was done to it: a disk stood still.

        A node cannot renew its lease then; what becomes of that is no needless repeat.
        """
        postgres = self._world.postgres
        while True:
            await asyncio.sleep(_COMMITS_EVERY_S)
            if postgres.busy.locked():
                continue
            began, before = time.time(), time.monotonic()
            with suppress(*LOST):
                await postgres.primary.sql(_COMMIT)
            took_s = time.monotonic() - before
            if took_s > _SLOW_COMMIT_S and not postgres.busy.locked():
                self._stalled(began, took_s)

    async def _watch_for_hunger(self) -> None:
        """Write down when a node was ready to run and got no processor: then, too, it renews no lease."""
        before: dict[str, dict[str, float]] = {}
        since: dict[str, float] = {}
        while True:
            began = time.time()
            await asyncio.sleep(_HUNGER_LOOK_S)
            for node in self._world.nodes:
                last, now = before.get(node.name, {}), node.hungry_s()
                before[node.name] = now
                if most_hungry_s(last, now) > _HUNGRY * (time.time() - began):
                    since.setdefault(node.name, began)
                elif node.name in since:
                    first = since.pop(node.name)
                    if began - first >= _HUNGRY_S:
                        self._stalled(first, began - first, node.name)

    def _stalled(self, began: float, late_s: float, whom: str = "*") -> None:
        stall = Happened(0, "stall", whom, began, time.time(), self._world.live(), {"late_s": late_s})
        self._journal.write({"w": "was", **asdict(stall)})

    async def _chosen(self, fault: Fault) -> Coroutine[Any, Any, None]:
        """Choose whom a fault meets, keep him for it, and return what does it."""
        world, kind = self._world, fault.kind
        if kind in inflicting.ON_NODE:
            node = await self._free_node(fault)
            return self._on_node(fault, node)
        if kind == "producer":
            await _until(lambda: bool(self._free_producers))
            child = self._free_producers.pop(fault.node % len(self._free_producers))
            whom = world.orders[world.producers.index(child)].name
            doing = self._inflicted(fault, whom, lambda: inflicting.producer(world, child, fault))
            return self._freed(doing, lambda: self._free_producers.append(child))
        if kind in inflicting.ON_POSTGRES:
            await world.postgres.busy.acquire()
            doing = self._inflicted(fault, "*", lambda: inflicting.ON_POSTGRES[kind](world, fault))
            return self._freed(doing, world.postgres.busy.release)
        if kind in inflicting.ON_PROVIDER:
            await self._provider.acquire()
            doing = self._inflicted(fault, "*", lambda: inflicting.ON_PROVIDER[kind](world, fault))
            return self._freed(doing, self._provider.release)
        if kind == "lock":
            async with world.postgres.busy:
                pass  # it is there now
        whom = "producers" if SORTS[kind].target == "producer" else "*"
        return self._inflicted(fault, whom, lambda: inflicting.ELSEWHERE[kind](world, fault))

    async def _free_node(self, fault: Fault) -> Node:
        nodes = self._world.nodes
        await _until(lambda: any(not node.busy for node in nodes))
        wanted = nodes[fault.node % len(nodes) :] + nodes[: fault.node % len(nodes)]
        free = [node for node in wanted if not node.busy]
        at_work = free if fault.chance < _ANYBODY else [node for node in free if node.says(*BEGUN)]
        node = (at_work or free)[0]
        node.busy = True
        return node

    async def _on_node(self, fault: Fault, node: Node) -> None:
        held: list[int] = []
        detail: Detail = {}
        with suppress(*LOST):
            held = await measuring.shards_of(self._world.postgres, node)
            detail["shards"] = len(held)
        if fault.kind in schedule.TAKEN_OVER:
            others = sum(not each.busy and each.says(*BEGUN) for each in self._world.nodes)
            detail |= {"others": others, "alone": fault.alone}

        async def doing() -> Detail:
            return detail | await inflicting.ON_NODE[fault.kind](self._world, node, fault)

        try:
            await self._inflicted(fault, node.name, doing, held)
            if fault.alone:
                await asyncio.sleep(_ALONE_S)
        finally:
            if not node.runs():
                self._world.start_node(node)
            node.busy = False

    async def _freed(self, doing: Awaitable[None], free: Callable[[], None]) -> None:
        try:
            await doing
        finally:
            free()

    async def _inflicted(
        self, fault: Fault, whom: str, doing: Callable[[], Awaitable[Detail]], held: Sequence[int] = ()
    ) -> None:
        """Do it, and write down when, to whom, and amid how much."""
        live, began = self._world.live(), time.time()
        self._journal.write({"w": "begins", "number": fault.number, "kind": fault.kind, "whom": whom})
        try:
            detail = await doing()
        except (*LOST, pytest.fail.Exception) as error:  # two faults met: this one could not be done
            detail = {"not_done": 1}
            self._told(f"{fault.kind} ({fault.number}) was not done: {error!r}")
        except AssertionError as wrong:
            detail = {"not_done": 1}
            self.troubles.append(str(wrong))
        if met_nobody(detail):
            detail["not_done"] = 1
        happened = Happened(fault.number, fault.kind, whom, began, time.time(), live, detail, tuple(held))
        self._journal.write({"w": "was", **asdict(happened)})


def most_hungry_s(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Return the longest wait for a processor of a thread that was there before."""
    return max((waited - before[thread] for thread, waited in now.items() if thread in before), default=0.0)


def met_nobody(detail: Detail) -> bool:
    """Say whether a fault was done to nothing: it may have hidden something, but is not counted."""
    return any(detail.get(name) == 0 for name in _COUNTED)


def log_of(folder: Path) -> Path:
    """Return where the faults of a run are written down."""
    return folder / "faults.jsonl"


def happened(folder: Path) -> list[Happened]:
    """Return the faults that a run has had so far, by the time at which they began."""
    found = [entry for entry in read(log_of(folder)) if entry["w"] == "was"]
    made = [
        Happened(**{k: v for k, v in entry.items() if k not in {"w", "t", "held"}}, held=tuple(entry["held"]))
        for entry in found
    ]
    return sorted(made, key=lambda each: each.began)


def _reached(due: float) -> bool:
    return time.monotonic() >= due


async def _until(so: Callable[[], bool]) -> None:
    while not so():  # noqa: ASYNC110  (processes and files are no events)
        await asyncio.sleep(_LOOK_S)
