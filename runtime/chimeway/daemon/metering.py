"""What a node shows to whoever measures it, gathered from its parts.

Whoever scrapes must get an answer whatever the database does: so that is asked at most every five seconds,
however many scrape, and nobody waits for it longer than a quarter of a second. A scrape gives the last answer
and its age; an answer that does not come leaves the old one standing, which grows older.
"""

import asyncio
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from chimeway.daemon.machine import Node
from chimeway.extras import imported
from chimeway.limits import VITALS_EVERY_S
from chimeway.log import Events
from chimeway.settings import Settings
from chimeway.store import vitals
from chimeway.store.faults import fault_of
from chimeway.store.vitals import Vitals
from chimeway.web.readings import Brake, Facts, Readings, Sample

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

_log = Events()
_WAITS_S: Final = 0.25
_GIVEN_UP_S: Final = 60.0


class Meter:
    """Reads one node."""

    def __init__(self, node: Node) -> None:
        """Take which; nothing is asked before somebody reads."""
        self._node = node
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._found: tuple[Vitals, float] | None = None

    async def read(self) -> Readings:
        """Return how the node stands; the database's part may be some seconds old."""
        await self._refreshed()
        return Readings(self._node.tally, self._facts())

    async def _refreshed(self) -> None:
        """Have the database asked, if it was not of late, and wait for a moment."""
        now, asking = time.monotonic(), self._asking
        pending = asking is not None and not asking.done()
        if now - self._asked_at >= (_GIVEN_UP_S if pending else VITALS_EVERY_S):
            self._asked_at = now
            self._asking = asking = asyncio.create_task(self._ask(), name="vitals")
        if asking is not None and not asking.done():
            await asyncio.wait({asking}, timeout=_WAITS_S)

    async def _ask(self) -> None:
        node, began = self._node, time.monotonic()
        shards = node.readiness.shards() if node.readiness.gauge is not None else frozenset[int]()
        try:
            found = await vitals.measure(node.database, shards, node.clock.now())
        except Exception as error:  # noqa: BLE001  (the old answer stands, and its age says so)
            if fault_of(error) is None:
                _log.error("metrics.failed", error=repr(error))
            return
        self._found = (found, began)

    def _facts(self) -> Facts:
        node, now = self._node, time.monotonic()
        readiness, gauge = node.readiness, node.readiness.gauge
        at_work = None if gauge is None else gauge.at_work()
        trouble, beaten_at = readiness.health.worst(), node.tally.beaten_at
        working = gauge is not None
        return Facts(
            node=node.name,
            version=node.version,
            schema_version=node.schema_version,
            stage=readiness.stage,
            mode=readiness.listener.mode if working and readiness.listener is not None else None,
            shards=len(readiness.shards()) if working else 0,
            runs_at_work=0 if at_work is None else at_work.runs,
            deliveries_at_work=0 if at_work is None else at_work.deliveries,
            overloaded=gauge is not None and gauge.overloaded(),
            brakes=[
                Brake(route.name, one.name, one.gate.state(), one.gate.shut_endpoints())
                for route in node.channels.values()
                for one in route.providers
            ],
            trouble=None if trouble is None else trouble.kind,
            troubles=sorted(readiness.health.met_so_far.items()),
            lease_age_s=None if beaten_at is None else now - beaten_at,
            sample=Sample(*((None, None) if self._found is None else (self._found[0], now - self._found[1]))),
        )


def measured(settings: Settings, node: Node) -> "Sequence[BaseRoute]":
    """Return what answers `/metrics`: nothing where nobody may read it, see `web.metrics`.

    Raises:
        MissingExtra: the packages of `web` are not installed.
    """
    if not may_be_read(settings):
        return ()
    with imported("web"):
        from chimeway.web.metrics import Metrics  # noqa: PLC0415  (few nodes need it)

    token = settings.metrics_token
    secret = None if token is None else token.get_secret_value()
    return Metrics(Meter(node).read, secret).routes()


def may_be_read(settings: Settings) -> bool:
    """Say whether `/metrics` is there: with a token, or where this machine alone can ask."""
    address = settings.http_address()
    return address is not None and (settings.metrics_token is not None or is_loopback(address[0]))


def is_loopback(host: str) -> bool:
    """Say whether whoever listens there hears this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
