"""Tells the service manager how the node is, and that its work moves: READY, STATUS, WATCHDOG, STOPPING.

Only where the process is ours: a node inside an application leaves that to whoever runs the application. By
what rule the watchdog is fed stands in docs/design.md, "What a watchdog is fed by".
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from chimeway.clock import set_within
from chimeway.daemon.machine import Node
from chimeway.daemon.service_manager import ServiceManager, manager_in
from chimeway.engine.headway import Headway, Standing
from chimeway.errors import ChimewayError
from chimeway.log import Events
from chimeway.store.ids import shard_ranges

_log = Events()
STANDS_S: Final = 90.0
"""Who gets nowhere for so long stands. A batch with a bad row is split, in fourteen calls at most, and each
may take five seconds before the database counts as slow."""
_LOOK_S: Final = 2.0
_PINGS: Final = 4
"""In a watchdog's length: one that is late, or two that get lost, are none that is missed."""
_GAPS: Final = 5
_TROUBLES: Final = {"lost": "is lost", "refused": "refuses work", "slow": "does not answer"}


@asynccontextmanager
async def vigil(stop: asyncio.Event) -> AsyncIterator[Callable[[Node], None]]:
    """Watch whether the node's work moves while the block lasts, and keep a service manager informed.

    Yields what is to be told of a node that works or stands by, each time that it begins to.
    """
    manager = manager_in(os.environ) or ServiceManager()
    keeps = Vigil(manager, stop)
    task = asyncio.create_task(keeps.serve(), name="vigil")
    try:
        yield keeps.ready
    except BaseException as error:
        said = error.message if isinstance(error, ChimewayError) else repr(error)
        manager.tell("STOPPING=1", status=f"failed: {said}")
        raise
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


class Vigil:
    """Looks at a node several times in a watchdog's length."""

    def __init__(self, manager: ServiceManager, stop: asyncio.Event) -> None:
        """Take whom to tell, and what says that the node is to end."""
        self._manager = manager
        self._stop = stop
        self._every_s = min(_LOOK_S, (manager.watchdog_s or _LOOK_S * _PINGS) / _PINGS)
        self._headway = Headway(patience_s=STANDS_S, gap_s=_GAPS * self._every_s)
        self._node: Node | None = None
        self._standing: Standing | None = None
        self._lease_lost_at: float | None = None

    def ready(self, node: Node) -> None:
        """Say that the node works, or stands by; as `/readyz` would."""
        first, self._node = self._node is None, node
        self._manager.tell(*(["READY=1"] if first else []), status=self._status(node))

    async def serve(self) -> None:
        """Work until cancelled."""
        self._manager.tell(status="starting")
        while not self._stop.is_set():
            self.look()
            await set_within(self._stop, self._every_s)
        self._manager.tell("STOPPING=1", status="draining")
        while True:
            self.look()
            await asyncio.sleep(self._every_s)

    def look(self) -> None:
        """Look once; feed the watchdog if all that has something to do moves."""
        node, status = self._node, None
        if node is not None:
            self._look_at(node)
            status = None if self._stop.is_set() else self._status(node)
        fed = self._standing is None and self._manager.watchdog_s is not None
        self._manager.tell(*(["WATCHDOG=1"] if fed else []), status=status)

    def _look_at(self, node: Node) -> None:
        before, ready = self._standing, node.readiness
        excused = ready.stage != "working" or not ready.reaches_database()
        self._standing = self._headway.note(ready.signs(), asyncio.get_running_loop().time(), excused=excused)
        ready.stands = None if self._standing is None else self._standing.part
        if self._standing is not None and before is None:
            _log.error("work.stands", part=self._standing.part, seconds=round(self._standing.seconds, 1))
        elif self._standing is None and before is not None:
            _log.warning("work.moves", part=before.part)

    def _status(self, node: Node) -> str:
        """Return how the node is, in a line."""
        ready, now = node.readiness, asyncio.get_running_loop().time()
        trouble, lease = ready.health.worst(), ready.lease_lost_by()
        self._lease_lost_at = None if lease is None else self._lease_lost_at or now
        if trouble is not None:
            why = f"{trouble.operation}: {trouble.error}"
            return f"the database {_TROUBLES[trouble.kind]} since {_when(node, now - trouble.since)}: {why}"
        if lease is not None:
            since = _when(node, now - (self._lease_lost_at or now))
            return f"the database is lost since {since}: lease: {lease}"
        if self._standing is not None:
            since = _when(node, self._standing.seconds)
            return f"work stands still since {since}: {self._standing.part}; the watchdog is not fed"
        gauge, shards = ready.gauge, ready.shards()
        if gauge is None or not shards:
            return "standing by"
        late = gauge.late()
        state = "overloaded" if gauge.overloaded() else "working"
        in_time = "in time" if late.seconds < 1 else f"{late.seconds:.0f} s late ({late.of})"
        return f"{state}: {in_time}, shards {shard_ranges(shards)}"


def _when(node: Node, ago_s: float) -> str:
    """Return a moment of the past as people write it."""
    return f"{node.clock.now() - timedelta(seconds=ago_s):%Y-%m-%d %H:%M:%S} UTC"
