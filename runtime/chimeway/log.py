"""What the daemon says about itself: a closed table of events, and how their lines are written.

Events have names and fields, never sentences with values in them: programs search for them. A name
that is not in `EVENTS` is a mistake, found in tests by `configure(strict=True)`. What other
libraries log comes out in the same form, as `library.logged`. Lines go to standard error. This is
not the audit: why something was sent is in the rows, for ever; a log line may be lost.

No line bears a password: fields of such names are masked, and passwords in URLs wherever they are.
"""

import logging
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A node's life
        "daemon.starting": "version, node, node_id: the process begins to build its parts",
        "daemon.ready": "node, seconds: workflows registered, first sweep done",
        "daemon.draining": "node, reason, deadline_s: no new work is taken; what runs may end",
        "daemon.drain_expired": "runs, deadline_s: what was under way did not end in time and is cut off",
        "daemon.stopped": "node, seconds: all parts are closed",
        "daemon.failed": "node, part, error: a part died, and the daemon with it",
        "settings.warning": "text: a setting is doubtful, but nothing is refused",
        # The database
        "database.lost": "error, code, operation: it cannot be reached; everything waits and tries again",
        "database.refused": "error, code, operation, hint, times: it answers, and says no for now (a full "
        "disk, too many connections, a deadlock, a timeout); it is asked again",
        "database.slow": "operation, seconds: a call is not answered for so long; it is waited for",
        "database.back": "seconds: it does all that it is asked again, after so long",
        "schema.other": "version, known: it works; an older one is brought up by chimeway db migrate",
        "restore.held": "taken_at, deliveries, runs, again: messages that may have been sent since this "
        "backup wait for an operator (chimeway deliveries restored); so will those of so many runs",
        # The server of our own, where no database is named
        "embedded.started": "url, data_dir, seconds, created: it runs, and this process started it",
        "embedded.attached": "url: it ran already",
        "embedded.lost": "data_dir: it ended although we need it; it is started anew",
        "embedded.failed": "data_dir, error: it could not be started anew (tried again), or does not end",
        "embedded.stopped": "seconds: nobody needed it any more; so long its end took",
        # Ownership
        "lease.acquired": "shards, epoch, nodes, taken_over: these are ours, too, now; their owner had died",
        "lease.released": "shards: given to others on purpose",
        "lease.lost": "shards, reason: others ended our lease, and took these",
        "lease.late": "late_s, ttl_s: a renewal took long, but was in time",
        "lease.unreachable": "error: the server does not answer where leases are, for longer than one lasts",
        "lease.standby": "nodes: all shards are held by others, for now",
        "run.struck": "run_id, strikes: taken over from a node that died on it, tried alone",
        # What wakes runs
        "listener.mode": "mode (hinted, polling), reason: how wakes arrive from now on",
        "listener.pooled": "hint: a pooler stands between, through which nothing is heard; said once",
        "listener.silent": "seconds: the connection answers no probe and is replaced",
        "sweep.finished": "runs, seconds: what no wake had brought",
        "clock.stepped": "by_s: the database's clock was put forward, or (below zero) back; it is followed",
        "timekeeper.clock_set_back": "by_s: the database's clock; timers are armed anew",
        "overload.began": "lateness_s, of (run, delivery, signal), runs, deliveries, signals (what waits, "
        "counted to a bound), at_work: what waits in the database is later than allowed; nothing is lost",
        "overload.over": "seconds, lateness_s and of (of the latest): it is in time again, after so long",
        "work.stands": "part, seconds: it has something to do, gets nowhere, and the database is well; the "
        "service manager's watchdog is not fed any more",
        "work.moves": "part: it gets on again, and the watchdog is fed",
        "prune.removed": "seconds, rows: what left by its age in so long, by table (bodies: messages' texts)",
        "prune.failed": "part, error: nothing leaves of this part; said hourly, and tried again each minute",
        # Live changes of inboxes
        "inbox.mode": "mode (hinted, polling), reason: how a client learns of changes from now on",
        "inbox.silent": "seconds: its connection answers no probe and is replaced",
        # What is asked by HTTP
        "http.put_off": "route, reason: a request was sent away to come again",
        "http.failed": "route, error: a request met a fault of ours",
        "http.use_not_noted": "token_id, reason: that it was used today could not be written; another time",
        # Decisions
        "decision.committed": "run_id, workflow, kind, reason, step: a decision is durable",
        "decision.put_off": "run_id, answer (busy: locked elsewhere; refused: our clock is ahead)",
        "decision.stale": "run_id, guard, attempt: the rows moved on; it is made again",
        "ledger.batch_split": "decisions, error: one of them is bad; halves are tried",
        "run.held": "run_id, workflow, reason, error: it waits for an operator",
        "run.put_off": "run_id, error: the server fails at its rows, or it cannot be held; again soon",
        "run.stuck": "run_id, workflow, reason: it cannot move by itself",
        "zone.unknown": "zone: this machine's tzdata lacks it, and it counts as UTC; said once",
        "workflow.registered": "workflow, version, digest, known: a definition is in the database",
        "template.fault": "render_key, channel, template, line, code, workflows, fault: a message of a "
        "registered workflow cannot be made, or not for all readers; nothing is refused",
        "template.checked": "workflows, errors, warnings, complete, seconds: `templates check` tells more",
        "workflow.rejected": "file, faults: a definition has faults and is not registered",
        "run.waiting_for_capable_node": "run_id, workflow, needs: this node lacks something",
        # What leaves
        "delivery.attempt": "delivery_id, run_id, channel, attempt: the attempt is durable",
        "delivery.outcome": "delivery_id, run_id, channel, attempt, outcome, error_class, seconds",
        "delivery.held_back": "delivery_id, run_id, channel, verdict, reason: policy does not let it go",
        "delivery.unknown": "delivery_id, run_id, channel, attempt: nobody recorded how it ended",
        "delivery.rendered": "delivery_id, run_id, locale (of its template; null: the plain one)",
        "delivery.render_failed": "delivery_id, run_id, render_key, channel, fault: cancelled",
        "delivery.failed": "delivery_id, run_id, error: a fault of ours kept it from being sent; again soon",
        "delivery.waiting_for_capable_node": "delivery_id, needs: another node has its channel",
        "delivery.logged": "delivery_id, run_id, tenant_id, recipient_id, channel, subject, body",
        "feedback.told": "source, and how many events were recorded, repeat, unknown, unsent, busy",
        "feedback.refused": "source, reason: a request that is not signed, or not readable",
        "feedback.put_off": "source, reason: whoever sent it is asked to send it again",
        "feedback.failed": "source, error: a fault of ours",
        "feedback.subscribed": "topic: Amazon's question whether it may send was answered with yes",
        "console.signed_in": "name, tenant: somebody signed in to the operators' pages by this token",
        "console.failed": "path, error: a page could not be made: a fault of ours",
        "unsubscribe.no_link": "workflow, channel: ids too long for one in a header; said once for these two",
        "unsubscribe.done": "workflow, channel, delivery_id, undone: by a signed link; or it is taken back",
        "unsubscribe.unknown": "workflow, channel, delivery_id: its recipient is forgotten, or not known",
        "unsubscribe.put_off": "workflow, channel, delivery_id, reason: whoever asked is asked to come again",
        "unsubscribe.failed": "workflow, channel, delivery_id, error: a fault of ours",
        "metrics.failed": "error: a fault of ours kept figures from being asked for; the last ones stand",
        "http.listening": "host, port: requests are answered there",
        "channel.missing": "channel, workflows: these send by it, and nothing is set up for it here; their "
        "messages wait for a node that has it, and fail where none has",
        "channel.opened": "channel, provider: ready to send",
        "channel.breaker": "channel, provider, state (open, trial, closed), failures, pause_s, endpoint",
        "channel.full": "channel, waiting, under_way, shut_s: what finds no room waits in the database",
        "channel.caught_up": "channel: nothing waits for it here any more",
        "channel.paused": "channel, provider, seconds, endpoint: the provider asked for fewer calls",
        "library.logged": "logger, text: a line of another library",
    }
)
"""Every event: its fields, and what it says."""

_MASK: Final = "***"
_SECRET_FIELDS: Final = frozenset(
    {"password", "passwd", "secret", "token", "authorization", "api_key", "credentials"}
)
_URL_PASSWORD: Final = re.compile(r"(://[^\s/@:]*:)\S+(?=@)|([?&]password=)[^\s&]+")


class Events:
    """What a module says its events by: `_log = Events()`.

    Where they go is for the process to say: to the lines of `configure`, when it is ours; else to the
    structlog that the host has set up; else, as is the way of libraries, to `logging.getLogger("chimeway")`,
    with the fields in `record.chimeway`.
    """

    def debug(self, event: str, /, **fields: Any) -> None:
        """Say what only a search for a fault wants to know."""
        if not _is_below(logging.DEBUG):
            _way_out().debug(event, **masked(None, "", fields))

    def info(self, event: str, /, **fields: Any) -> None:
        """Say what happened."""
        if not _is_below(logging.INFO):
            _way_out().info(event, **masked(None, "", fields))

    def warning(self, event: str, /, **fields: Any) -> None:
        """Say what somebody should look at some day."""
        _way_out().warning(event, **masked(None, "", fields))

    def error(self, event: str, /, **fields: Any) -> None:
        """Say what somebody should look at now."""
        _way_out().error(event, **masked(None, "", fields))


def _way_out() -> Any:
    return _structured if structlog.is_configured() else _plain


def _is_below(severity: int) -> bool:
    """Say whether a line is known to go nowhere, before anything is made of it: most are of this kind."""
    if structlog.is_configured():
        return severity < _ours.severity and structlog.get_config()["wrapper_class"] is _ours.wrapper
    return not _HOST.isEnabledFor(severity)


class _Filter(NamedTuple):
    """What `configure` has set up last: from which severity on lines are written, and by what."""

    severity: int
    wrapper: Any


_ours = _Filter(logging.NOTSET, None)


def configure(
    format: LogFormat = "console",  # noqa: A002  (the setting's own name)
    level: LogLevel = "info",
    *,
    strict: bool = False,
) -> None:
    """Set up all logging of this process; `strict` (for tests) refuses events not in the table."""
    severity = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ours: list[Processor] = [*shared, *([known_events_only] if strict else [])]
    ending = _ending(format)
    global _ours  # noqa: PLW0603  (logging is the process's own, as structlog's settings are)
    _ours = _Filter(severity, structlog.make_filtering_bound_logger(severity))
    structlog.configure(
        processors=[*ours, *ending],
        wrapper_class=_ours.wrapper,
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=not strict,
    )
    _adopt_libraries([*shared, _name_foreign], ending, severity)


def known_events_only(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Assert that the event is in the table: a name that is not there cannot be looked up."""
    assert event["event"] in EVENTS, f"{event['event']!r} is not in chimeway.log.EVENTS"
    return event


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide what must not be logged, whoever put it there, tracebacks included."""
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = _MASK
        elif isinstance(value, str) and "://" in value:
            event[name] = _URL_PASSWORD.sub(rf"\1\2{_MASK}", value)
    return event


def _as_record(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Turn an event into the arguments of a call of `logging`."""
    name, trace = event.pop("event"), event.pop("exception", None)
    text = " ".join([name, *(f"{field}={value!r}" for field, value in event.items())])
    extra = {"chimeway": {"event": name, **event}}
    return (text if trace is None else f"{text}\n{trace}",), {"extra": extra}


_HOST: Final = logging.getLogger("chimeway")
_structured: Final[Any] = structlog.get_logger()
_plain: Final[Any] = structlog.wrap_logger(
    _HOST,
    processors=[structlog.stdlib.filter_by_level, structlog.processors.format_exc_info, masked, _as_record],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)


def _ending(format: LogFormat) -> list[Processor]:  # noqa: A002  (as above)
    """Return what writes a line; tracebacks become text before they are masked."""
    if format == "json":
        return [structlog.processors.format_exc_info, masked, structlog.processors.JSONRenderer()]
    pretty = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
    return [structlog.processors.format_exc_info, masked, pretty]


def _name_foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Give another library's line a name of ours; what it said becomes a field."""
    record: Any = event.get("_record")
    text = event["event"]
    return {**event, "event": "library.logged", "logger": record.name, "text": text}


def _adopt_libraries(chain: list[Processor], ending: list[Processor], severity: int) -> None:
    """Send what other libraries log (asyncio's forgotten exceptions, above all) the same way."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=chain,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one.formatter, type(formatter))]:
        root.removeHandler(old)
    root.addHandler(stream)
    # Their "info" is chatter to us: aiosmtplib and asyncio are heard from warnings on.
    root.setLevel(max(severity, logging.WARNING))
