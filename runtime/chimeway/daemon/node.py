"""A node's life: settings in, database checked, lease begun, work, and the way down in order.

A node begins a lease, works on the shards that it is given until others end the lease or it is told to
end, and begins another. Nothing of a tenure outlives it.
"""

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final
from uuid import uuid4

from chimeway import log
from chimeway.clock import SystemClock
from chimeway.daemon.channels import configured, routes
from chimeway.daemon.checking import check_templates
from chimeway.daemon.collecting import collecting
from chimeway.daemon.door import doubts, heard, http_server, unsubscribing
from chimeway.daemon.folders import read_templates, register_workflows
from chimeway.daemon.machine import Node, work
from chimeway.daemon.metering import measured
from chimeway.daemon.readiness import Readiness
from chimeway.daemon.tracing import Who, tracing
from chimeway.daemon.vigil import vigil
from chimeway.delivery.declared import NOTHING_DECLARED, Declared
from chimeway.engine import loop_lag
from chimeway.engine.ownership import Ownership, Tenure
from chimeway.engine.pruner import Pruner
from chimeway.errors import ChimewayError, SchemaMismatch
from chimeway.limits import BEAT_S
from chimeway.log import Events
from chimeway.render.renderers import Renderers
from chimeway.settings import Settings
from chimeway.store import nodes, restoring, schema
from chimeway.store.catalogue import Catalogue
from chimeway.store.faults import fault_of
from chimeway.store.health import own_health
from chimeway.store.meant import database_meant
from chimeway.store.pool import Database, open_database, persistently
from chimeway.store.pruning import retention_of
from chimeway.store.words import in_our_words, refusal

_log = Events()
_POOL: Final = 16
_MEASURES: Final = 5
_LEAVE_S: Final = 2.5


async def serve(
    settings: Settings, declared: Declared = NOTHING_DECLARED, after_restore: datetime | None = None
) -> None:
    """Be a node, and nothing else, until SIGTERM or SIGINT; then drain and return.

    Logging and signals of the process are ours here.

    Args:
        settings: all there is to set.
        declared: what an application adds to what its folders hold.
        after_restore: when the backup was taken that the database was restored from.

    Raises:
        as `live`.
    """
    log.configure(settings.log_format, settings.log_level)
    stop = _on_signals()
    async with collecting(), vigil(stop) as ready:

        def settled(node: Node) -> None:
            _settle()
            ready(node)

        await live(settings, declared, stop, settled, after_restore)


def _settle() -> None:
    """Pass over all that the start made, once and for all: it stays for the process's life."""
    gc.collect()
    gc.freeze()


async def live(
    settings: Settings,
    declared: Declared,
    stop: asyncio.Event,
    settled: Callable[[Node], None],
    after_restore: datetime | None = None,
) -> None:
    """Be a node until `stop` is set; then drain and return. The process belongs to whoever calls.

    Args:
        settings: all there is to set.
        declared: what an application adds to what its folders hold.
        stop: ends the node.
        settled: called once all is registered and the node works, or stands by for another that does.
        after_restore: as in `serve`.

    Raises:
        InvalidSettings: a setting that serving needs is missing or wrong.
        SchemaMismatch: the database has no schema, one too new, or one for tests.
        DatabaseUnavailable: nothing answers there.
        InvalidDefinition: a file in the workflows' folder has faults.
        ExceptionGroup: a part failed; the next process begins where this one ended.
    """
    began = time.monotonic()
    async with (
        _node(settings, declared, after_restore) as node,
        http_server(
            settings, node.database, node.clock, node.renderers.templates,
            lambda: node.readiness.asked(node.database), lambda: measured(settings, node),
            stands=lambda: node.readiness.stands, refused=node.tally.refused,
        ) as http,
    ):  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(_beat(node), name="beat")
                check = group.create_task(
                    persistently(check_templates, node.database, node.renderers, node.channels),
                    name="check-templates",
                )
                prune = group.create_task(_prune(node, settings), name="prune")
                lag = group.create_task(loop_lag.watch(node.tally.loop_lag), name="loop-lag")
                spans = group.create_task(_trace(node), name="traces")
                if http is not None:
                    group.create_task(http.serve(), name="http")
                await _tenures(node, settings, stop, began, lambda: settled(node))
                beat.cancel()
                check.cancel()
                prune.cancel()
                lag.cancel()
                spans.cancel()
                if http is not None:
                    http.close()
        except BaseExceptionGroup as group:
            for error in group.exceptions:
                _log.error("daemon.failed", node=node.name, error=repr(error))
            raise _ours_in(group) or group from None
    _log.info("daemon.stopped", node=settings.node_name, seconds=round(time.monotonic() - began, 3))


@asynccontextmanager
async def _node(
    settings: Settings, declared: Declared, after_restore: datetime | None
) -> AsyncIterator[Node]:
    """Open what a process has from its start to its end."""
    health = own_health()
    direct = settings.direct_database_url
    node_id, package = uuid4(), version("chimeway")
    _log.info("daemon.starting", version=package, node=settings.node_name, node_id=str(node_id))
    for text in [*settings.warnings(), *doubts(settings)]:
        _log.warning("settings.warning", text=text)
    found = configured(settings)
    heard(settings)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_meant(settings))
        database = await stack.enter_async_context(
            open_database(
                url, name=f"chimeway {settings.node_name}"[:60], size=_POOL, for_node=True, warmed=True
            )
        )
        with in_our_words():  # a role may be let in, and not be a node's
            there = await _check(database)
            if after_restore is not None:
                await _hold(database, after_restore, settings.node_name)
        clock = await _clock(database)
        renderers = Renderers(declared.renderers, read_templates(settings.templates_dir))
        for name in renderers.shadowed():
            _log.warning("settings.warning", text=f"the app renders this itself, {name} is not used")
        await register_workflows(database, settings.workflows_dir, declared)
        channels = await stack.enter_async_context(routes(found, declared.offers, clock))
        who = Who(settings.node_name, node_id, package)
        traced = await stack.enter_async_context(tracing(database, clock, who))
        node = Node(
            id=node_id,
            name=settings.node_name,
            version=package,
            direct_url=direct.get_secret_value() if direct else url,
            database=database,
            clock=clock,
            catalogue=Catalogue(database),
            renderers=renderers,
            channels=channels,
            max_lateness_s=settings.max_lateness.total_seconds(),
            schema_version=there,
            unsubscribing=unsubscribing(settings),
            readiness=Readiness(health=health),
            tracing=traced,
        )
        with in_our_words():
            await _enrol(node)
        stack.push_async_callback(_leave, node)
        yield node


async def _tenures(
    node: Node, settings: Settings, stop: asyncio.Event, began: float, settled: Callable[[], None]
) -> None:
    name = f"chimeway {node.name} lease"[:60]
    ownership = Ownership(node.direct_url, name, settings.lease_ttl, node.id, node.tally)
    node.readiness.lease_lost_by = ownership.unreachable

    def ready() -> None:
        node.readiness.stage = "working"
        _log.info("daemon.ready", node=node.name, seconds=round(time.monotonic() - began, 3))
        settled()

    while not stop.is_set():
        async with AsyncExitStack() as stack:
            holding = asyncio.ensure_future(stack.enter_async_context(ownership.hold()))
            if not await _begun(holding, stop):
                break
            await work(node, holding.result(), stop, ready)
            node.readiness.stage = "standing_by"
    node.readiness.stage = "draining"


async def _begun(holding: "asyncio.Future[Tenure]", stop: asyncio.Event) -> bool:
    """Wait until a lease has begun (True), or the node is to end; then nothing goes on that would keep one.

    Also where the node is cut off, or a part of it has failed: whoever hosts it lives on, and a lease that
    a thread keeps for nobody would have shards on which nobody works.
    """
    waiting = asyncio.ensure_future(stop.wait())
    try:
        either: set[asyncio.Future[Any]] = {waiting, holding}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return holding.done()
    finally:
        waiting.cancel()
        if not holding.done():
            holding.cancel()
            await asyncio.wait({holding})
            if not holding.cancelled():
                holding.exception()  # nobody asks any more


def _ours_in(group: BaseExceptionGroup[BaseException]) -> ChimewayError | None:
    """Return the first error in our words in a group of groups, if there is one: it says what to do."""
    for error in group.exceptions:
        found = _ours_in(error) if isinstance(error, BaseExceptionGroup) else _ours(error)
        if found is not None:
            return found
    return None


def _ours(error: BaseException) -> ChimewayError | None:
    """Return it where it is in our words, or what a statement was refused with: a right is gone, say."""
    return error if isinstance(error, ChimewayError) else refusal(error)


async def _check(database: Database) -> int:
    """Return the schema's version, or raise why this node cannot work on it."""
    there = await schema.require(database)
    if there.number != schema.VERSION:
        _log.warning("schema.other", version=there.number, known=schema.VERSION)
    if await schema.has_test_clock(database):
        raise SchemaMismatch("time stands still in this database: its schema was installed for tests")
    return there.number


async def _hold(database: Database, taken_at: datetime, name: str) -> None:
    """Hold what may have been sent after a backup was taken, before anything is sent."""
    begun = await restoring.begin(database, taken_at, name)
    _log.warning(
        "restore.held", taken_at=taken_at.isoformat(), deliveries=begun.deliveries, runs=begun.runs,
        again=begun.again,
    )  # fmt: skip


async def _clock(database: Database) -> SystemClock:
    """Return a clock that follows the database's; of a few measures the quickest counts."""
    clock = SystemClock()
    for _ in range(_MEASURES):
        await nodes.synchronise(database, clock)
    return clock


async def _enrol(node: Node) -> None:
    await nodes.enrol(node.database, node.id, node.name, node.version, sorted(node.channels))


async def _beat(node: Node) -> None:
    """Say now and then that this node lives, and which channels it has."""
    while True:
        await asyncio.sleep(BEAT_S)
        await persistently(_enrol, node)


async def _prune(node: Node, settings: Settings) -> None:
    """Remove what has ended long ago, unless that is left to `chimeway prune`."""
    if settings.prune == "on":
        readiness = node.readiness
        pruner = Pruner(
            node.database, node.clock, retention_of(settings),
            overloaded=lambda: readiness.gauge is not None and readiness.gauge.overloaded(),
        )  # fmt: skip
        await pruner.serve()


async def _trace(node: Node) -> None:
    """Make traces of what was decided, where that is set up."""
    if node.tracing is not None:
        await node.tracing.serve()


async def _leave(node: Node) -> None:
    """Take the node off the list; a database that is gone forgets it by itself."""
    try:
        async with asyncio.timeout(_LEAVE_S):
            await nodes.leave(node.database, node.id)
    except Exception as error:
        if fault_of(error) is None:
            raise


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
