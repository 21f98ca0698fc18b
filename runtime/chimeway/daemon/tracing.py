"""Traces: what a node does for a run, as spans of its trigger's trace (OpenTelemetry, extra `otel`).

A trigger says whose trace it belongs to (`chimeway.trace_context`), and its event keeps that: so a span of an
e-mail that leaves two days later, after a restart, by another node, stands in the producer's trace all the
same. There is one for each durable decision, and one for each call of a provider, which is the current span
while the channel sends: webhooks hand it on, and so does whatever a channel of one's own is instrumented
with. What was triggered without a trace has none here either.

**Off unless it is set up**: by OpenTelemetry's own variables (an endpoint, or `OTEL_TRACES_EXPORTER=otlp`),
or by a host that has set a provider of its own before the node starts. Else each decision asks whether it is
on, and that is all. While it is on nobody waits for it but an attempt, half a second at most, for its run's
trace; what cannot be told in time is dropped: a trace may be incomplete, a message may not.
"""

import asyncio
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from chimeway.clock import Clock
from chimeway.engine.seam import Committed
from chimeway.errors import MissingExtra
from chimeway.extras import imported
from chimeway.limits import LOAD_BATCH, TRACED_DECISIONS, TRACES_KNOWN
from chimeway.log import Events
from chimeway.store import traces
from chimeway.store.batching import Batcher
from chimeway.store.deliveries import Outcome, Sendable
from chimeway.store.faults import fault_of
from chimeway.store.pool import Database

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_log = Events()
_WAITS_S: Final = 0.5
_FLUSH_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Who:
    """The node, as spans name it."""

    name: str
    id: UUID
    version: str


class _Decided(NamedTuple):
    done: Committed
    at: datetime


class Tracing:
    """Makes spans of what was decided and sent."""

    def __init__(self, database: Database, clock: Clock, tracer: "Tracer") -> None:
        """Take where runs' traces stand, and what makes spans."""
        self._database = database
        self._clock = clock
        self._tracer = tracer
        self._decided: deque[_Decided] = deque(maxlen=TRACED_DECISIONS)
        self._bell = asyncio.Event()
        self._known: OrderedDict[UUID, str | None] = OrderedDict()
        self._asked: Batcher[UUID, str | None] = Batcher(self._ask, told="trace_contexts", limit=LOAD_BATCH)

    def decided(self, done: Committed) -> None:
        """A decision is durable."""
        self._decided.append(_Decided(done, self._clock.now()))
        self._bell.set()

    @asynccontextmanager
    async def attempt(
        self, delivery: Sendable, provider: str, attempt: int
    ) -> AsyncIterator[Callable[[Outcome], None]]:
        """Make a provider's call a span; the block is told with the outcome."""
        parent = await self._context(delivery.run_id)
        if parent is None:
            yield _nothing
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415  (an extra)

        about: dict[str, str | int] = {
            "chimeway.delivery_id": str(delivery.id), "chimeway.run_id": str(delivery.run_id),
            "chimeway.tenant_id": delivery.tenant_id, "chimeway.channel": delivery.channel,
            "chimeway.provider": provider, "chimeway.step": delivery.step_id, "chimeway.attempt": attempt,
        }  # fmt: skip
        with self._tracer.start_as_current_span(
            f"send {delivery.channel}", context=_as_context(parent), kind=SpanKind.CLIENT, attributes=about
        ) as span:

            def ended(outcome: Outcome) -> None:
                span.set_attribute("chimeway.outcome", outcome.outcome or "")
                if outcome.error_class is not None:
                    span.set_attribute("error.type", outcome.error_class)
                    span.set_status(Status(StatusCode.ERROR, outcome.error_class))

            yield ended

    async def serve(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._asked.serve(), name="trace-contexts")
            while True:
                await self._bell.wait()
                self._bell.clear()
                await self.tell()

    async def tell(self) -> None:
        """Make spans of all decisions that wait for it; what cannot be looked up now is dropped."""
        while self._decided:
            batch = [self._decided.popleft() for _ in range(min(LOAD_BATCH, len(self._decided)))]
            found = await self._contexts([one.done.entry.run_id for one in batch])
            for one in batch:
                if (parent := found.get(one.done.entry.run_id)) is not None:
                    self._tell(one, parent)

    def _tell(self, one: _Decided, parent: str) -> None:
        decision, loaded = one.done.entry.decision, one.done.loaded
        workflow, version = loaded.workflow
        span = self._tracer.start_span(
            f"decide {workflow}",
            context=_as_context(parent),
            start_time=_nanoseconds(decision.now),
            attributes={
                "chimeway.run_id": str(one.done.entry.run_id),
                "chimeway.tenant_id": loaded.recipient.tenant_id,
                "chimeway.workflow": workflow, "chimeway.workflow_version": version,
                "chimeway.decision": decision.kind, "chimeway.reason": decision.after.status_reason,
                "chimeway.step": decision.after.step or "",
            },
        )  # fmt: skip
        span.end(end_time=max(_nanoseconds(one.at), _nanoseconds(decision.now)))

    async def _context(self, run_id: UUID) -> str | None:
        if run_id in self._known:
            return self._known[run_id]
        try:
            async with asyncio.timeout(_WAITS_S):
                return await self._asked(run_id)
        except TimeoutError:
            return None
        except Exception as error:
            if fault_of(error) is None:
                raise
            return None

    async def _ask(self, run_ids: Any) -> list[str | None]:
        found = await traces.contexts_of(self._database, run_ids)
        return [self._remembered(run_id, found.get(run_id)) for run_id in run_ids]

    async def _contexts(self, run_ids: list[UUID]) -> Mapping[UUID, str | None]:
        unknown = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._known]
        found = {run_id: self._known[run_id] for run_id in run_ids if run_id in self._known}
        try:
            return found | dict(zip(unknown, await self._ask(unknown), strict=True)) if unknown else found
        except Exception as error:
            if fault_of(error) is None:
                raise
            return found

    def _remembered(self, run_id: UUID, context: str | None) -> str | None:
        self._known[run_id] = context
        if len(self._known) > TRACES_KNOWN:
            self._known.popitem(last=False)
        return context


@asynccontextmanager
async def tracing(database: Database, clock: Clock, who: Who) -> AsyncIterator[Tracing | None]:
    """Trace while the block lasts, if that is set up; else None."""
    hosts = _hosts_provider()
    if hosts is None and not asked_for(os.environ):
        yield None
        return
    provider = _own_provider(who) if hosts is None else hosts
    if provider is None:
        yield None
        return
    made = Tracing(database, clock, provider.get_tracer("chimeway", who.version))
    try:
        yield made
    finally:
        await _tell_the_last(made)
        if hosts is None:
            await _shut_down(provider)


def asked_for(environment: Mapping[str, str]) -> bool:
    """Say whether OpenTelemetry's variables ask for traces to be exported."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporters:
        return exporters == "otlp"
    return any(
        environment.get(name)
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def _hosts_provider() -> Any:
    """Return the provider that whoever hosts the node has set, or None."""
    api: Any = sys.modules.get("opentelemetry.trace")
    sdk: Any = sys.modules.get("opentelemetry.sdk.trace")
    if api is None or sdk is None:
        return None
    found = api.get_tracer_provider()
    return found if isinstance(found, sdk.TracerProvider) else None


def _own_provider(who: Who) -> Any:
    """Return a provider that exports by OTLP over HTTP; its variables say where to, and what is sampled.

    None, with a warning, where the packages are missing: such variables are often set for all that runs on a
    machine, and nobody meant that a node should not start.
    """
    try:
        with imported("otel"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  (an extra)
                OTLPSpanExporter,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except MissingExtra as missing:
        _log.warning("settings.warning", text=f"OTEL_* ask for traces, and none are made: {missing.message}")
        return None

    named = {"service.version": who.version, "service.instance.id": str(who.id), "chimeway.node": who.name}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        named["service.name"] = "chimeway"
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def _tell_the_last(made: Tracing) -> None:
    """Make spans of what was decided at the end; a database that is gone has nothing more to say."""
    try:
        async with asyncio.timeout(_WAITS_S):
            await made.tell()
    except TimeoutError:
        return


async def _shut_down(provider: Any) -> None:
    """Export what is left, but not for long: a collector that is away keeps nobody from ending."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def shut_down() -> None:
        try:
            provider.shutdown()
        finally:
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:  # the loop has ended; nobody waits any more
                return

    threading.Thread(target=shut_down, name="traces", daemon=True).start()
    try:
        async with asyncio.timeout(_FLUSH_S):
            await done.wait()
    except TimeoutError:
        return


def _as_context(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415  (an extra)
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000


def _nothing(_outcome: Outcome) -> None:
    """Take an outcome of which no span tells."""
