"""What `chimeway doctor` says of what it found: each thing that was looked at, with what to do. Pure.

fail: messages do not go out as they should, or may be lost. warn: it will hurt some day, or hurts a little.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chimeway.client import diagnosis_server
from chimeway.client.finding import WORST_FIRST, Finding, Level, judged, many, seconds, well
from chimeway.errors import InvalidDefinition
from chimeway.store import schema
from chimeway.store.examining import Facts, FailedBy, Wanted, Work
from chimeway.store.glimpses import ChannelWaiting
from chimeway.store.views import ListedRun
from chimeway.workflow.parse import parse

_HINT_S: Final = 0.5
_UNROUTED_S: Final = 5.0
_UNROUTED_LONG_S: Final = 30.0
_QUEUE_FULL: Final = 0.5
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands in our tables, and the lists of runs that are late, or cannot move."""

    work: Work
    overdue: Sequence[ListedRun]
    stuck: Sequence[ListedRun] | None
    """None: there are so many live runs that looking through them takes too long."""


def diagnosed(facts: Facts, looked: Looked | None) -> list[Finding]:
    """Return everything that was looked at, in the order in which one would look.

    `looked` None: our tables did not answer, as somebody has them locked.
    """
    return [
        *diagnosis_server.of_connection(facts),
        *diagnosis_server.of_settings(facts),
        *_wakes(facts),
        *(_locked() if looked is None else _of_tables(looked)),
        *diagnosis_server.of_locks(facts),
        *diagnosis_server.of_tables(facts),
    ]


def _of_tables(looked: Looked) -> Iterator[Finding]:
    yield _schema(looked.work)
    yield from _nodes(looked.work)
    yield from _channels(looked.work)
    yield from _work(looked.work, looked.overdue, looked.stuck)
    yield _definitions(looked.work)


def _locked() -> Iterator[Finding]:
    yield judged(
        "tables", "fail", "our tables do not answer: somebody has them locked, or the server is very busy",
        "see blocking, below: nodes wait for the same",
    )  # fmt: skip


def worst(found: Sequence[Finding]) -> Level:
    """Return the worst level among them."""
    levels = {one.level for one in found}
    return next((level for level in WORST_FIRST if level in levels), "ok")


def _schema(work: Work) -> Finding:
    there, known = work.schema, schema.VERSION
    if there == known:
        return well("schema", f"version {there}")
    if there > known:
        remedy = "this program is the older one: upgrade it"
        return judged("schema", "warn", f"version {there}, this program knows {known}", remedy)
    remedy = "chimeway db migrate, once all nodes have the new program"
    return judged("schema", "warn", f"version {there}, this program's is {known}", remedy)


def _wakes(facts: Facts) -> Iterator[Finding]:
    if facts.hint_s is None:
        yield judged(
            "hints", "warn", "no hint was heard: nodes find work by looking, up to a second later",
            "LISTEN needs a session of its own: name the server itself in CHIMEWAY_DIRECT_DATABASE_URL",
        )  # fmt: skip
    elif facts.hint_s > _HINT_S:
        yield judged(
            "hints", "warn", f"a hint takes {seconds(facts.hint_s)}",
            "many sessions notify at once, or the server is busy: see blocking, and who else uses NOTIFY",
            round_trip_s=facts.hint_s,
        )  # fmt: skip
    else:
        yield well("hints", f"a hint takes {seconds(facts.hint_s)}", round_trip_s=facts.hint_s)
    if facts.server.notifications > _QUEUE_FULL:
        yield judged(
            "notifications", "fail", f"the queue of notifications is {facts.server.notifications:.0%} full",
            "a session listens and stays in a transaction (snapshots, below): when it is full commits fail",
        )  # fmt: skip


def _nodes(work: Work) -> Iterator[Finding]:
    states: Counter[str] = Counter(node.state for node in work.nodes)
    told = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none"
    if not states["working"] and not states["draining"]:
        yield judged(
            "nodes", "fail", f"no node works ({told})",
            "nothing is decided or sent until one does: chimeway serve, and read its log", **states,
        )  # fmt: skip
    elif states["silent"]:
        names = ", ".join(str(node.name) for node in work.nodes if node.state == "silent")
        yield judged(
            "nodes", "warn", f"{names} is silent: its lease has run out ({told})",
            "others take over within seconds; look at its process and its log", **states,
        )  # fmt: skip
    else:
        yield well("nodes", told, **states)
    versions = {str(node.version) for node in work.nodes if node.state in {"working", "standing_by"}}
    if len(versions) > 1:
        yield judged(
            "nodes", "warn", f"they have different versions: {', '.join(sorted(versions))}",
            "fine while a deploy is under way; finish it",
        )  # fmt: skip
    if work.ownerless and (states["working"] or states["draining"]):
        yield judged(
            "shards", "fail", f"shards {work.ownerless} are nobody's: their recipients get nothing",
            "nodes that live take them within seconds; if not: chimeway nodes, and lease.* in their logs",
        )  # fmt: skip
    elif not work.ownerless:
        yield well("shards", "each has a node")


def _channels(work: Work) -> Iterator[Finding]:
    """Say by which channels workflows send that nodes lack; where no node works that is said already."""
    alive = [node for node in work.nodes if node.state in {"working", "standing_by", "draining"}]
    if not alive:
        return
    nobodys = [one for one in work.channels if not any(one.channel in node.channels for node in alive)]
    lacked = {
        one.channel: names
        for one in work.channels
        if one not in nobodys and (names := [str(n.name) for n in alive if one.channel not in n.channels])
    }
    if nobodys:
        told = "; ".join(f"{one.channel} ({_by(one)})" for one in nobodys[:_SHOWN])
        yield judged(
            "channels", "fail", f"no node can send by {told}",
            "each of these messages fails for good, and is not tried again: give all nodes a provider"
            " (CHIMEWAY_SMTP_URL, CHIMEWAY_CHANNELS, or an app's own), and start them anew",
            nobodys=[one.channel for one in nobodys],
        )  # fmt: skip
    elif lacked:
        told = "; ".join(f"{name} ({', '.join(nodes[:_SHOWN])})" for name, nodes in lacked.items())
        yield judged(
            "channels", "warn", f"some nodes cannot send by channels that others have: {told}",
            "messages wait some seconds for a node that can: give all nodes the same channels", lacked=lacked,
        )  # fmt: skip
    else:
        yield well("channels", f"nodes have all {len(work.channels)} that workflows send by")


def _by(wanted: Wanted) -> str:
    """Return which workflows send by a channel: the first of them."""
    more = wanted.many - len(wanted.workflows)
    return ", ".join([*wanted.workflows, *([f"and {more} more"] if more else [])])


def _work(work: Work, overdue: Sequence[ListedRun], stuck: Sequence[ListedRun] | None) -> Iterator[Finding]:
    if overdue:
        remedy = "chimeway overdue lists them; chimeway top shows whether they become fewer"
        yield judged(
            "overdue", "fail", f"{many(len(overdue), 'run')} past their time", remedy, many=len(overdue)
        )
    else:
        yield well("overdue", "no run is past its time")
    yield _signals(work)
    if work.open_attempts:
        told = f"{many(work.open_attempts, 'call')} to providers began {seconds(work.oldest_attempt_s)} ago"
        yield judged(
            "attempts", "warn", f"{told} and have no result",
            "their node is dead or hangs: a working node records them as unknown, and repeats them under the"
            " same key; see chimeway nodes", many=work.open_attempts,
        )  # fmt: skip
    else:
        yield well("attempts", "no call to a provider is left open")
    if work.late:
        yield _late(work.late)
    if work.failed:
        yield _failed(work.failed)
    if work.restored:
        yield judged(
            "restored", "warn",
            f"held back after a restore: {many(work.restored, 'message')}, until somebody decides",
            "chimeway deliveries restored lists them; release or drop them", many=work.restored,
        )  # fmt: skip
    if work.paused:
        yield judged(
            "paused", "warn",
            f"{many(len(work.paused), 'workflow')} paused by somebody: {', '.join(work.paused[:_SHOWN])}",
            "nothing of theirs is decided or sent, and none of it counts as overdue or stuck, until:"
            " chimeway workflow resume KEY", keys=list(work.paused),
        )  # fmt: skip
    if stuck is None:
        yield judged(
            "stuck", "warn", "not looked through: there are very many live runs",
            "chimeway runs --stuck takes its time, and says of each why it stands",
        )  # fmt: skip
    elif stuck:
        kinds: Counter[str] = Counter(run.kind for run in stuck)
        told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        remedy = "chimeway runs --stuck says of each why, and what frees it"
        yield judged("stuck", "warn", f"runs that cannot move by themselves: {told}", remedy, **kinds)
    else:
        yield well("stuck", "no live run is held, stuck, or waiting for a node")


def _late(found: Sequence[ChannelWaiting]) -> Finding:
    told = "; ".join(
        f"{one.due} by {one.channel}"
        + (f" ({one.retrying} retried, mostly {one.error})" if one.retrying else "")
        for one in found[:_SHOWN]
    )
    return judged(
        "messages", "warn", f"past their time: {told}",
        "their provider fails and is left alone or slow (channel.* in nodes' logs, chimeway deliveries list),"
        " or no node works, or their runs are held or paused", late={one.channel: one.due for one in found},
    )  # fmt: skip


def _failed(found: Sequence[FailedBy]) -> Finding:
    told = "; ".join(
        f"{one.failed} of {many(one.planned, 'message')} by {one.channel}" for one in found[:_SHOWN]
    )
    return judged(
        "failed", "warn", f"failed for good, of those of the last hour: {told}",
        "chimeway deliveries list --given-up says of each why: an address, a template, a channel that a node"
        " lacks; none is tried again by itself", failed={one.channel: one.failed for one in found},
    )  # fmt: skip


def _signals(work: Work) -> Finding:
    if work.signal_s <= _UNROUTED_S:
        return well(
            "signals",
            f"{many(work.signals, 'signal')} {'waits' if work.signals == 1 else 'wait'} to be heard",
            oldest_s=work.signal_s,
        )
    level: Level = "fail" if work.signal_s > _UNROUTED_LONG_S else "warn"
    told = f"{many(work.signals, 'signal')} wait to be heard, the oldest since {seconds(work.signal_s)}"
    return judged(
        "signals", level, told, "no node works there (nodes), or a session has runs locked (blocking)",
        oldest_s=work.signal_s, many=work.signals,
    )  # fmt: skip


def _definitions(work: Work) -> Finding:
    unread = []
    for key, version, raw in work.definitions:
        try:
            parse(raw)
        except InvalidDefinition:
            unread.append(f"{key} {version}")
    if not unread:
        return well("definitions", f"this program understands all {len(work.definitions)}")
    return judged(
        "definitions", "warn", f"this program does not understand {', '.join(unread[:10])}",
        "their runs wait for a node that does: upgrade it where that node runs, too", many=len(unread),
    )  # fmt: skip
