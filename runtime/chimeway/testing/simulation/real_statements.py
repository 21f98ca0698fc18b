"""What a scenario knows of the statements of the store, and of what providers answer."""

from collections.abc import Sequence
from typing import Any, Final

from chimeway.delivery.channel import (
    Bounced,
    PermanentFailure,
    RateLimited,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from chimeway.store.leases import Beat

READS: Final = frozenset(
    {
        "glance", "load_runs", "load_deliveries", "load_definition", "due_runs", "due_deliveries",
        "due_runs_in_turn_of", "due_deliveries_in_turn_of", "unread_runs", "oldest_due_runs",
        "enrol_node", "set_asleep", "abandoned_attempts", "unanswered_attempts",
        "other_node_has_channel", "struck_runs", "incapable_runs", "backlog", "hint", "absolve_shards",
        "database_now", "beat", "begin a lease", "hand over", "end the lease",
    }
)  # fmt: skip
"""Statements after which no row of a history can be another."""
SILENT: Final = frozenset(
    {"route_signals_of", "route_signals_in_turn_of", "unpark_runs", "clear_deliveries_incapable"}
)
"""Statements that change something only where they answer with a row."""
GUARDED: Final = frozenset({"commit_decisions", "begin_attempts", "record_results", "record_verdicts"})
"""Statements that say what they saw: the longer they are kept waiting, the less of it is still so."""
FAILURES: Final[Sequence[tuple[float, type[SendFailure]]]] = (
    (4.0, TransientFailure),
    (2.0, UnknownOutcome),
    (1.0, RateLimited),
    (1.5, PermanentFailure),
    (1.5, Bounced),
)


class Retry(Exception):  # noqa: N818  (as the server says it)
    """The server had to break the transaction off: a deadlock."""

    sqlstate = "40P01"


def told_of(label: str, answer: Any) -> str:
    """Return what a statement answered, in words that come again."""
    if isinstance(answer, Exception):
        return type(answer).__name__
    if label in GUARDED:
        return ", ".join(row["answer"] for row in answer)
    if isinstance(answer, Beat):
        suspect = sorted(answer.suspect)
        return f"has {sorted(answer.shards)}, of these suspect {suspect}, {answer.surplus} too many"
    if answer is None or isinstance(answer, int):
        return str(answer)
    return f"{len(answer)} rows" if isinstance(answer, list) else type(answer).__name__
