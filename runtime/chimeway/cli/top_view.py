"""What `chimeway top` writes: lines of at most eighty columns, each with its colour. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from chimeway.store.glimpses import ChannelWaiting, Glimpse
from chimeway.store.whereabouts import ListedNode
from chimeway.workflow.telling import visible

WIDTH: Final = 80
_TOLD: Final = (
    ("decisions", "workflow_transitions"),
    ("triggers", "events"),
    ("signals", "signals"),
    ("messages", "deliveries"),
    ("calls", "delivery_attempts"),
)
"""What is counted, by the table whose rows are written for it. (A decision writes one or two transitions.)"""
_LATE_S: Final = 5.0
_STATES: Final = {"working": "green", "standing_by": "green", "draining": "yellow"}


class Line(NamedTuple):
    """A line, and its colour."""

    text: str
    style: str = ""


def rates(first: Glimpse, last: Glimpse) -> dict[str, float]:
    """Return how much a second was done between two glimpses."""
    seconds = max(0.001, last.taken_at - first.taken_at)
    return {
        name: max(0, last.written.get(table, 0) - first.written.get(table, 0)) / seconds
        for name, table in _TOLD
    }


def lines(first: Glimpse, last: Glimpse) -> Iterator[Line]:
    """Yield what is shown of the last glimpse, with rates since the first."""
    seconds = last.taken_at - first.taken_at
    yield Line(f"chimeway top  {_instant(last.at)}  (a second, of the last {seconds:.0f} s)", "bold")
    done = rates(first, last)
    yield Line("done    " + "  ".join(f"{name} {_rate(value)}" for name, value in done.items()))
    yield from _late(last)
    yield from _standing(last)
    yield Line("")
    yield from _nodes(last.nodes, last.at, last.vitals.ownerless)
    yield Line("")
    yield from _channels(last.channels)


def as_json(first: Glimpse, last: Glimpse) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "at": last.at, "seconds": round(last.taken_at - first.taken_at, 3),
        "per_second": {name: round(value, 3) for name, value in rates(first, last).items()},
        "vitals": last.vitals, "nodes": list(last.nodes), "channels": list(last.channels),
    }  # fmt: skip


def _late(found: Glimpse) -> Iterator[Line]:
    backlog, overdue_s = found.vitals.backlog, found.vitals.overdue_s
    yield Line(
        f"late    oldest run {_span(overdue_s)}, {backlog.runs:,} due; messages due {backlog.deliveries:,}",
        "red" if overdue_s > _LATE_S else "",
    )
    yield Line(
        f"heard   oldest signal {_span(backlog.signal_s)}, of {backlog.signals:,} that no run has yet",
        "red" if backlog.signal_s > _LATE_S else "",
    )


def _standing(found: Glimpse) -> Iterator[Line]:
    vitals = found.vitals
    lacking = vitals.runs_for_node + vitals.deliveries_for_node
    bad = bool(vitals.held or lacking)
    yield Line(
        f"stand   waiting {_whole(vitals.waiting)}  held {vitals.held:,}  for a node {lacking:,}"
        f"  open {vitals.dispatched:,}  paused {vitals.paused:,}",
        "yellow" if bad else "",
    )


def _nodes(nodes: Sequence[ListedNode], now: datetime, ownerless: int) -> Iterator[Line]:
    yield Line(f"{'NODE':<28} {'STATE':<12} {'SHARDS':>6} {'SUSPECT':>7} {'SEEN':>8} {'VERSION':<10}", "bold")
    for node in nodes:
        seen = "-" if node.seen_at is None else _span((now - node.seen_at).total_seconds())
        text = (
            f"{_cut(node.name or '(left)', 28):<28} {node.state:<12} {node.shards:>6} {node.suspect:>7}"
            f" {seen:>8} {_cut(node.version or '-', 10):<10}"
        )
        yield Line(text, _STATES.get(node.state, "red"))
    if ownerless:
        yield Line(f"{ownerless} of 256 shards are nobody's: their recipients get nothing", "red")
    if not nodes:
        yield Line("no node is on the list: chimeway serve", "red")


def _channels(channels: Sequence[ChannelWaiting]) -> Iterator[Line]:
    yield Line(f"{'CHANNEL':<28} {'DUE':>6} {'RETRYING':>8}  {'MOSTLY OF':<20}", "bold")
    for one in channels:
        text = f"{_cut(one.channel, 28):<28} {one.due:>6,} {one.retrying:>8,}  {one.error or '-':<20}"
        yield Line(text, "yellow" if one.retrying else "")
    if not channels:
        yield Line("no message waits to be sent", "dim")


def _cut(text: str, most: int) -> str:
    shown = visible(text)
    return shown if len(shown) <= most else shown[: most - 1] + "~"


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def _rate(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:.0f}M"
    if value >= 1_000:
        return f"{value / 1_000:.1f}k" if value < 10_000 else f"{value / 1_000:.0f}k"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _whole(number: float) -> str:
    return f"{number:,.0f}" if number < 1_000_000 else f"{number / 1_000_000:,.1f}M"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{max(0.0, seconds):.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
