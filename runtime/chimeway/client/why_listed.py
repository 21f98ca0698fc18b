"""The sentences of lists: who waits and for what; what is late or stuck, and what to do about it. Pure."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.client.words import effect, gone_back, heard_by, how_often, listed, moment_in, what_is_next
from chimeway.limits import MAX_PAGE
from chimeway.store.views import ListedRun, WaitingRun
from chimeway.store.whereabouts import Holder
from chimeway.workflow.definition import Definition
from chimeway.workflow.telling import signal_of

_SHORT: Final = 10
"""So many can be read one by one, without being counted first."""


def waits(run: WaitingRun, definition: Definition | None) -> Iterator[str]:
    """Yield what a waiting run waits for, until when, and what comes then.

    `definition` None: not understood here; it costs words.
    """
    since = f" since {moment_in(run.zone, run.since)}" if run.since else ""
    names = f" for {listed(run.signals, 'or')}" if run.signals else ", and listens for nothing"
    yield f"{run.recipient_id} waits at {run.step}{since}{names}."
    if run.until is None:
        yield "Nothing says when the wait is over: the run cannot go on by itself (chimeway runs --stuck)."
    else:
        step = definition.step(run.step) if definition else None
        then = what_is_next(definition, run.then) + how_often(step, run.repeats)
        yield f"At {moment_in(run.zone, run.until)} the wait is over, and {then}."
    yield from gone_back(definition, run.step, run.repeats)
    for condition in heard_by(definition, run.step):
        yield f"If {signal_of(condition)} comes before then, it {effect(run.then, condition)}."
    if run.held_reason is not None:
        freed = f"chimeway resume {run.run_id}{_of(run)}"
        yield f"It is held ({run.held_reason}): nothing is decided until {freed}"
    if run.paused_at is not None:
        yield (
            f"{run.workflow_key} has been paused since {moment_in(run.zone, run.paused_at)}: nothing is "
            f"decided until chimeway workflow resume {run.workflow_key}"
        )


def summed_up(found: Sequence[ListedRun]) -> Iterator[str]:
    """Yield, of a list that is not short, how many are listed for which reason, the most first."""
    if len(found) <= _SHORT:
        return
    counted = Counter((run.kind, run.reason, run.workflow_key, run.workflow_version) for run in found)
    for (kind, reason, key, version), many in counted.most_common(_SHORT):
        yield f"{many} {kind.replace('_', ' ')} ({reason}): {key} {version}"
    if len(counted) > _SHORT:
        yield f"and {sum(n for _, n in counted.most_common()[_SHORT:])} for other reasons."


def noticed(run: ListedRun, definition: Definition | None) -> Iterator[str]:
    """Yield why a run is listed, and what to do about it."""
    since = moment_in(run.zone, run.since)
    where = "before its first step" if run.step is None else f"at {run.step}"
    match run.kind:
        case "overdue":
            verb = "waits" if run.state == "waiting" else "stands"
            yield f"{run.recipient_id} {verb} {where}, due since {since}: no node has evaluated it."
            if run.then is not None:
                yield f"When one does, {what_is_next(definition, run.then)}."
        case "held":
            yield f"{run.recipient_id} has been held ({run.reason}) {where} since {since}."
            yield f"Nothing is decided or sent until: chimeway resume {run.run_id}{_of(run)}"
        case "waiting_for_node":
            lacking = f"a node that has what it needs ({run.reason})"
            yield f"{run.recipient_id} waits {where} for {lacking}, since {since}."
            yield "It goes on when a node is started that understands the workflow and has its channels."
        case "stuck":
            yield f"{run.recipient_id} is stuck {where} since {since} ({run.reason})."
            told = f"chimeway explain {run.run_id}{_of(run)}"
            yield f"Its rows are not what a run needs to go on; what is wrong: {told}"
        case _:
            assert_never(run.kind)


def _of(run: WaitingRun | ListedRun) -> str:
    """Return the option that a command about this run needs."""
    return "" if run.tenant_id == DEFAULT_TENANT else f" --tenant {shlex.quote(run.tenant_id)}"


def remedy(found: int, holders: Sequence[Holder]) -> str:
    """Return what to do about so many overdue runs, by who holds the shards."""
    or_more = " or more" if found >= MAX_PAGE else ""  # as many as a list holds
    late = "1 run is overdue." if found == 1 else f"{found}{or_more} runs are overdue."
    working = [holder for holder in holders if holder.held]
    names = list(dict.fromkeys(holder.name or "a node that has left the list" for holder in working))
    idle = [holder for holder in holders if not holder.held]
    if idle:
        last = idle[0].expires_at
        ran_out = f", since {moment_in('UTC', last)}" if last is not None else ""
        if not working:
            return f"{late} No node works{ran_out}: start one (chimeway serve)."
        return (
            f"{late} No node has shards {idle[0].shards}{ran_out}: {listed(names)} should take them within "
            "seconds; look at the log for database.lost."
        )
    if len(names) == 1:
        works, whose = f"{names[0]} works and is behind, or cannot decide about them", "its log"
    else:
        works = f"{listed(names)} share the work, and one of them is behind or cannot decide about them"
        whose = "their logs"
    return f"{late} {works}: look at {whose} for overload.began, and at chimeway runs --stuck."
