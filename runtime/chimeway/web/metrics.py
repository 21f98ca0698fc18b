"""`GET /metrics`: a node's numbers, as Prometheus reads them.

Each node has a registry of its own (a process may hold several nodes), filled when somebody scrapes: nothing
of this costs anything while nobody does. Names, labels and what they say stand in `docs/metrics.md`, and a
test holds that table against a scrape. Labels have values from closed sets, or of what the node is set up
with; whose a message is (tenant, recipient, workflow) is never among them: their number has no bound.

**Who may read it.** Numbers say how much is sent and how well, so they are not for everybody. Where the node
listens on its own machine alone anybody there may, but no stranger's page in a browser there (see `hosts`);
elsewhere only who has the token, and without one there is no `/metrics`. The token is a setting and no row:
what watches is to be let in when the database is down.
"""

import hmac
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from chimeway.progression.decision import NoopReason
from chimeway.progression.outcome import outcome_of
from chimeway.tally import CALL_S, Spread, Tally
from chimeway.web.hosts import by_address
from chimeway.web.problems import problem
from chimeway.web.readings import Brake, Facts, Read, Readings, Sample
from chimeway.workflow.definition import OUTCOMES

_STAGES: Final = ("starting", "standing_by", "working", "draining")
_MODES: Final = ("hinted", "polling")
_TROUBLES: Final = ("lost", "refused", "slow")
_BREAKERS: Final = ("closed", "open", "trial")
_NODE_STATES: Final = ("working", "standing_by", "draining", "silent", "no_lease", "gone")
_DECISIONS: Final = ("advanced", "waiting", "completed", "stopped")
_NOOPS: Final[tuple[str, ...]] = get_args(NoopReason)
_ANSWERS: Final = ("applied", "stale", "busy", "refused", "gone", "failed")
_OUTCOMES: Final = (*OUTCOMES, "deferred", "cancelled")
REASONS: Final = (
    "no_address", "preference", "quiet_hours", "cap", "retries_exhausted", "permanent_failure", "bounced",
    "superseded", "stopped_before_send", "run_stopped", "recipient_forgotten",
)  # fmt: skip
"""Why a message is not sent, or not any more."""
RESULTS: Final = (
    "succeeded", "transient", "timeout", "rate_limited", "unknown", "permanent", "configuration", "bounced",
)  # fmt: skip
"""How a call can end: the classes of errors, and that it went well."""
_OTHER: Final = "other"
_STATUSES: Final = (
    "400", "401", "403", "404", "405", "408", "409", "410", "413", "415", "421", "422", "429", "500", "503",
)  # fmt: skip
"""By which statuses requests are refused."""
IN_APP: Final = "in_app"


class Metrics:
    """Answers scrapes of one node."""

    def __init__(self, read: Read, token: str | None = None) -> None:
        """Take what reads the node, and what whoever asks must show; None: nothing."""
        self._read = read
        self._token = None if token is None else f"Bearer {token}".encode()
        self._shown = _Shown()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._shown)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def routes(self) -> Sequence[BaseRoute]:
        """Return what the node's site takes in."""
        return (Route("/metrics", self.answer, methods=["GET"]),)

    async def answer(self, request: Request) -> Response:
        """Answer one scrape."""
        given = request.headers.get("authorization", "").encode("latin-1")
        if self._token is not None and not hmac.compare_digest(given, self._token):
            refused = problem(401, "no_token", "give CHIMEWAY_METRICS_TOKEN as Authorization: Bearer ...")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if self._token is None and not by_address(request):
            hint = "ask 127.0.0.1 or localhost, or set CHIMEWAY_METRICS_TOKEN"
            return problem(421, "wrong_host", f"without a token only who asks by address: {hint}")
        self._shown.readings = await self._read()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), media_type=None, headers={"content-type": content_type})


class _Shown(Collector):
    """What was read, as families of metrics."""

    readings: Readings | None = None

    def collect(self) -> Iterable[Metric]:
        """Go through all of them; nothing before anything was read."""
        if self.readings is None:
            return
        yield from _of_tally(self.readings.tally, self.readings.facts.brakes)
        yield from _of_facts(self.readings.facts)
        yield from _of_sample(self.readings.facts.sample)


def _of_tally(tally: Tally, brakes: Sequence[Brake]) -> Iterator[Metric]:
    yield _counter(
        "chimeway_decisions", "Decisions that are durable.", "kind", tally.decisions, known=_DECISIONS
    )
    yield _counter(
        "chimeway_noops", "Evaluations from which nothing followed.", "reason", tally.noops, known=_NOOPS
    )
    late = HistogramMetricFamily(
        "chimeway_lateness_seconds",
        "From when a run was due until its decision was durable.",
        labels=["of"],
    )
    _spread(late, ["start"], tally.late_starts)
    _spread(late, ["due"], tally.late_waits)
    yield late
    yield _histogram(
        "chimeway_mailbox_depth", "Signals in a run's mailbox when it was decided about.", tally.mailboxes
    )
    yield _histogram("chimeway_ledger_batch_size", "Decisions in one transaction.", tally.batch_sizes)
    yield _histogram(
        "chimeway_ledger_batch_seconds", "How long until a batch was answered.", tally.batch_seconds
    )
    yield _counter(
        "chimeway_ledger_answers", "What the ledger answered to decisions.", "answer", tally.answers,
        known=_ANSWERS,
    )  # fmt: skip
    yield from _of_deliveries(tally, brakes)
    yield _histogram(
        "chimeway_hint_round_trip_seconds", "The node's calls to itself through the database.", tally.hints
    )
    yield _histogram("chimeway_event_loop_lag_seconds", "By how much the event loop is late.", tally.loop_lag)
    yield _histogram("chimeway_lease_renewal_seconds", "How long renewing the lease took.", tally.beats)
    yield _refused(tally.refused)
    taken = CounterMetricFamily("chimeway_shards_taken_over", "Shards taken over from nodes that died.")
    taken.add_metric([], tally.taken_over)
    yield taken


def _refused(counted: Mapping[int, int]) -> Metric:
    told = dict.fromkeys((*_STATUSES, _OTHER), 0)
    for status, many in counted.items():
        told[_known(str(status), set(_STATUSES))] += many
    return _counter("chimeway_http_refused", "Requests by HTTP that were refused.", "status", told)


def _of_deliveries(tally: Tally, brakes: Sequence[Brake]) -> Iterator[Metric]:
    """Yield what was sent; all that there can be is there from the beginning, so that a first rise is one."""
    channels = {one.channel for one in brakes} | {IN_APP}
    ended = CounterMetricFamily(
        "chimeway_deliveries", "What was recorded of deliveries.", labels=["channel", "outcome"]
    )
    told = {(channel, outcome): 0 for channel in channels for outcome in _OUTCOMES}
    for (channel, status, reason), many in tally.deliveries.items():
        key = (_known(channel, channels), _outcome(status, reason))
        told[key] = told.get(key, 0) + many
    for labels, many in sorted(told.items()):
        ended.add_metric(labels, many)
    yield ended
    yield _not_sent(tally, channels)
    yield from _of_calls(tally, brakes, channels)


def _not_sent(tally: Tally, channels: set[str]) -> Metric:
    why = CounterMetricFamily(
        "chimeway_deliveries_not_sent", "Messages that nobody gets any more.", labels=["channel", "reason"]
    )
    told = {(channel, reason): 0 for channel in channels for reason in REASONS}
    for (channel, status, reason), many in tally.deliveries.items():
        if status in {"suppressed", "cancelled"}:
            key = (_known(channel, channels), _known(reason or _OTHER, set(REASONS)))
            told[key] = told.get(key, 0) + many
    for labels, many in sorted(told.items()):
        why.add_metric(labels, many)
    return why


def _of_calls(tally: Tally, brakes: Sequence[Brake], channels: set[str]) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "chimeway_attempts", "Calls to providers that ended.", labels=["channel", "provider", "result"]
    )
    ended = {(one.channel, one.provider, result): 0 for one in brakes for result in RESULTS}
    for (channel, provider, result), many in tally.attempts.items():
        key = (_known(channel, channels), provider, result)
        ended[key] = ended.get(key, 0) + many
    for of_attempt, many in sorted(ended.items()):
        attempts.add_metric(of_attempt, many)
    yield attempts
    calls = HistogramMetricFamily(
        "chimeway_attempt_seconds", "How long calls to providers took.", labels=["channel", "provider"]
    )
    for one in brakes:
        whose = (one.channel, one.provider)
        _spread(calls, whose, tally.calls.get(whose) or Spread(CALL_S))
    yield calls


def _known(name: str, names: set[str]) -> str:
    """Return a name that is known, as of a channel of this node, or one word for all others."""
    return name if name in names else _OTHER


def _outcome(status: str, reason: str | None) -> str:
    """Return the word of semantics §4; or of what is no outcome: put off, cancelled otherwise."""
    if status == "deferred":
        return "deferred"
    return outcome_of(status, reason, 1 if status == "failed" else 0) or "cancelled"  # type: ignore[arg-type]


def _of_facts(facts: Facts) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "chimeway_build_info", "Which program this is.", labels=["version", "schema", "python", "node"]
    )
    build.add_metric([facts.version, str(facts.schema_version), platform.python_version(), facts.node], 1)
    yield build
    yield _states("chimeway_node_stage", "Where the node is in its life.", "stage", _STAGES, facts.stage)
    if facts.mode is not None:
        yield _states("chimeway_wake_mode", "How wakes arrive.", "mode", _MODES, facts.mode)
    yield _gauge("chimeway_shards_held", "Shards, of 256, that are this node's.", facts.shards)
    yield _gauge("chimeway_runs_at_work", "Runs that have something to do here now.", facts.runs_at_work)
    yield _gauge(
        "chimeway_deliveries_at_work", "Deliveries taken up, with those that wait in lanes.",
        facts.deliveries_at_work,
    )  # fmt: skip
    yield _gauge("chimeway_overloaded", "Whether work is later than allowed.", int(facts.overloaded))
    yield from _of_brakes(facts)
    trouble = GaugeMetricFamily(
        "chimeway_database_trouble", "Whether calls do not get through now.", labels=["kind"]
    )
    for kind in _TROUBLES:
        trouble.add_metric([kind], int(facts.trouble == kind))
    yield trouble
    yield _counter(
        "chimeway_database_troubles", "Calls that did not get through at first.", "kind",
        dict(facts.troubles), known=_TROUBLES,
    )  # fmt: skip
    if facts.lease_age_s is not None:
        yield _gauge(
            "chimeway_lease_renewed_age_seconds", "How long ago the lease was renewed.", facts.lease_age_s
        )


def _of_brakes(facts: Facts) -> Iterator[Metric]:
    labels = ["channel", "provider"]
    state = GaugeMetricFamily(
        "chimeway_breaker_state", "How a provider's breaker stands.", labels=[*labels, "state"]
    )
    shut = GaugeMetricFamily(
        "chimeway_endpoints_shut", "Servers of a provider that fail and are not called.", labels=labels
    )
    for one in facts.brakes:
        for each in _BREAKERS:
            state.add_metric([one.channel, one.provider, each], int(one.state == each))
        shut.add_metric([one.channel, one.provider], one.shut_endpoints)
    yield state
    yield shut


def _of_sample(sample: Sample) -> Iterator[Metric]:
    found = sample.vitals
    if found is None or sample.age_s is None:
        return
    yield _gauge(
        "chimeway_sample_age_seconds", "How old the figures are that the database was asked for.",
        sample.age_s,
    )  # fmt: skip
    yield _gauge("chimeway_due_runs", "Runs of its shards that are due.", found.backlog.runs)
    yield _gauge(
        "chimeway_due_deliveries", "Deliveries of its shards that are due.", found.backlog.deliveries
    )
    yield _gauge("chimeway_oldest_overdue_seconds", "How long the oldest run is due.", found.overdue_s)
    yield _gauge("chimeway_database_signals_unrouted", "Signals routed to no run.", found.backlog.signals)
    yield _gauge(
        "chimeway_database_oldest_unrouted_signal_seconds", "How long the oldest of them waits.",
        found.backlog.signal_s,
    )  # fmt: skip
    yield _gauge("chimeway_database_runs_waiting", "Runs that wait.", found.waiting)
    yield _gauge("chimeway_database_runs_held", "Live runs that are held.", found.held)
    yield _gauge("chimeway_database_runs_incapable", "Runs that wait for a node.", found.runs_for_node)
    yield _gauge(
        "chimeway_database_deliveries_incapable", "Deliveries that wait for a node.",
        found.deliveries_for_node,
    )  # fmt: skip
    yield _gauge("chimeway_database_attempts_open", "Attempts without an end.", found.dispatched)
    yield _gauge("chimeway_database_workflows_paused", "Versions that are paused.", found.paused)
    yield _gauge(
        "chimeway_database_notification_queue_ratio", "How full the queue of notifications is.",
        found.notifications,
    )  # fmt: skip
    nodes = GaugeMetricFamily("chimeway_database_nodes", "Nodes on the list.", labels=["state"])
    for state in _NODE_STATES:
        nodes.add_metric([state], found.nodes.get(state, 0))
    yield nodes
    yield _gauge("chimeway_database_shards_ownerless", "Shards that no living node has.", found.ownerless)


def _gauge(name: str, told: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, told)
    family.add_metric([], value)
    return family


def _states(name: str, told: str, label: str, all_of: Iterable[str], now: str) -> Metric:
    """Return one gauge for each state, 1 for the present one: so that each change is a change of a number."""
    family = GaugeMetricFamily(name, told, labels=[label])
    for state in all_of:
        family.add_metric([state], int(state == now))
    return family


def _counter(
    name: str, told: str, label: str, counted: Mapping[str, int], *, known: Iterable[str] = ()
) -> Metric:
    """Return a counter; `known` values are there from the beginning, so that a first rise is one."""
    family = CounterMetricFamily(name, told, labels=[label])
    for value in dict.fromkeys([*known, *sorted(counted)]):
        family.add_metric([value], counted.get(value, 0))
    return family


def _histogram(name: str, told: str, spread: Spread) -> Metric:
    family = HistogramMetricFamily(name, told)
    _spread(family, [], spread)
    return family


def _spread(family: HistogramMetricFamily, labels: Iterable[str], spread: Spread) -> None:
    below, buckets = 0, []
    for bound, many in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
        below += many
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), below))
    family.add_metric(list(labels), buckets, sum_value=spread.total)
