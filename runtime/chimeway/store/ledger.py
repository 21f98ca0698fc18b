"""The one door: decisions go in, in batches, and an answer for each comes out.

The order of lock, route, guard and write is that of `chimeway.commit_decisions`; this file only
turns decisions into its arrays. An entry may be submitted again after a lost answer: its decision's
id is on its transitions, so the second answer is `applied` too, and its deliveries keep their ids. One
that has grown old meanwhile is made again (`commit_again`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.limits import DECIDED_ANEW_S
from chimeway.progression.decision import Decision
from chimeway.render.message import Rendered
from chimeway.store.ids import new_id, random_id, shard_of_id
from chimeway.store.policies import Policy, room_for
from chimeway.store.pool import Database
from chimeway.values import value

Answer: TypeAlias = Literal["applied", "stale", "busy", "refused", "gone"]
_VISIT_MARK = "visit:"


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which a node writes; the ledger refuses it once another has taken over."""

    owner: UUID
    epoch: int


@value
class Entry:
    """One decision on its way into the ledger, with the ids and messages that are not the core's."""

    run_id: UUID
    decision: Decision
    messages: Mapping[int, Rendered]
    id: UUID = field(default_factory=random_id)
    delivery_ids: Mapping[int, UUID] = field(default_factory=dict)
    policy: Policy | None = None
    """By which rows it was judged what is planned; None: by none."""
    foretold: Sequence[tuple[int, UUID]] = ()
    """Mail that was not in the mailbox when it was decided on: the ledger puts it there, by these numbers."""


def entry_for(
    run_id: UUID,
    decision: Decision,
    messages: Mapping[int, Rendered],
    policy: Policy | None = None,
    foretold: Sequence[tuple[int, UUID]] = (),
) -> Entry:
    """Give a decision its id, and its deliveries theirs."""
    shard = shard_of_id(run_id)
    ids = {plan.visit: new_id(shard, decision.now) for plan in decision.planned}
    judged = policy if decision.planned else None
    return Entry(run_id, decision, messages, delivery_ids=ids, policy=judged, foretold=foretold)


async def commit_decisions(database: Database, fence: Fence | None, entries: Sequence[Entry]) -> list[Answer]:
    """Write decisions in one transaction; answer for each whether it was.

    Args:
        database: where.
        fence: the caller's lease, or None for one who writes without (clients, operators).
        entries: at most one for each run.

    Raises:
        LeaseLost: another node has taken over.
        asyncpg.PostgresError: the batch as a whole failed, and nothing of it was written.
    """
    owner, epoch = (fence.owner, fence.epoch) if fence else (None, None)
    rows = await database.fetch("commit_decisions", owner, epoch, *arrays_of(entries))
    answers = {row["run_id"]: row["answer"] for row in rows}
    return [answers[entry.run_id] for entry in entries]


def arrays_of(entries: Sequence[Entry]) -> list[list[Any]]:
    """Return the arguments of the door, one array for each column."""
    columns = [
        *_columns([_run_row(e) for e in entries], _RUN_COLUMNS),
        *_columns([row for e in entries for row in _transition_rows(e)], _TRANSITION_COLUMNS),
        *_columns([row for e in entries for row in _delivery_rows(e)], _DELIVERY_COLUMNS),
        *_columns([row for e in entries for row in _cancelled_rows(e)], _CANCELLED_COLUMNS),
    ]
    columns += _columns([_judged_by(e) for e in entries], 2)
    columns += _columns([row for e in entries for row in _verdict_rows(e)], _VERDICT_COLUMNS)
    # By run, as the ledger finds them: where both lists are the same, it looks no further.
    foretold = sorted((e.run_id, *mail) for e in entries for mail in e.foretold)
    columns += _columns(foretold, _FORETOLD_COLUMNS)
    return columns


async def commit_again(
    database: Database, fence: Fence | None, entries: Sequence[Entry], now: datetime
) -> list[Answer]:
    """Write decisions whose answer did not come; of those that are old by now nothing but `stale` is said.

    A decision speaks of its `now`: a wait that it begins counts from there, and policy was asked for that
    hour. After an outage that is long ago: the person would have had no time to read before the wait is over.
    So it is made again, from rows that show whether it was written the first time.
    """
    oldest = now - timedelta(seconds=DECIDED_ANEW_S)
    fresh = [entry for entry in entries if entry.decision.now >= oldest]
    found = await commit_decisions(database, fence, fresh) if fresh else []
    answers = {entry.run_id: answer for entry, answer in zip(fresh, found, strict=True)}
    return [answers.get(entry.run_id, "stale") for entry in entries]


_RUN_COLUMNS, _TRANSITION_COLUMNS, _DELIVERY_COLUMNS, _CANCELLED_COLUMNS = 20, 12, 13, 3
_VERDICT_COLUMNS, _FORETOLD_COLUMNS = 7, 3


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into one array for each column.

    One of nulls alone, as a quarter are, is left empty: `unnest` of several arrays fills up short ones
    with nulls, and both ends look at each value that they are given.
    """
    if not rows:
        return [[] for _ in range(width)]
    return [
        [] if column[0] is None and column.count(None) == len(column) else list(column)
        for column in zip(*rows, strict=True)
    ]


@lru_cache(1_000)
def _array(values: tuple[object, ...]) -> str:
    """Write a one-dimensional array as PostgreSQL reads it (arrays of arrays must be rectangles)."""
    quoted = (str(v).replace("\\", "\\\\").replace('"', '\\"') for v in values)
    return "{" + ",".join(f'"{v}"' for v in quoted) + "}"


def _run_row(entry: Entry) -> tuple[Any, ...]:
    decision, after = entry.decision, entry.decision.after
    return (
        entry.run_id,
        entry.id,
        decision.seen.revision,
        decision.seen.mailbox,
        decision.seen.delivery_id,
        decision.seen.delivery_revision,
        decision.now,
        after.state,
        after.step,
        after.visit,
        after.status_reason,
        _named(entry, after.status_context),
        _array(after.pending_signals),
        after.wake_at,
        after.entered_at,
        after.armed_step,
        after.armed_entered_at,
        after.held_reason,
        decision.inputs,
        _array(decision.consumed),
    )


def _transition_rows(entry: Entry) -> Iterable[tuple[Any, ...]]:
    """Yield the transitions; the last of a stop is left to the ledger, which writes it behind the others."""
    transitions = entry.decision.transitions
    if entry.decision.after.state == "stopped":
        if transitions[-1].reason != "workflow_stopped":
            msg = f"a stop must end with workflow_stopped, not {transitions[-1].reason}"
            raise AssertionError(msg)
        transitions = transitions[:-1]
    for position, t in enumerate(transitions, start=1):
        yield (
            entry.run_id, position, t.reason, t.from_state, t.to_state, t.from_step, t.to_step, t.visit,
            t.status_reason, _named(entry, t.context), t.signal_id, t.signal_type,
        )  # fmt: skip


def _delivery_rows(entry: Entry) -> Iterable[tuple[Any, ...]]:
    for plan in entry.decision.planned:
        message = entry.messages.get(plan.visit)
        yield (
            entry.delivery_ids[plan.visit], entry.run_id, plan.visit, plan.step_id, plan.channel,
            plan.render_key, plan.birth.status, plan.birth.reason, plan.birth.error_class,
            plan.birth.note, plan.terminal_at,
            message.subject if message else None, message.body if message else None,
        )  # fmt: skip


def _judged_by(entry: Entry) -> tuple[int | None, int | None]:
    return (entry.policy.profile, entry.policy.tenant) if entry.policy else (None, None)


def _verdict_rows(entry: Entry) -> Iterable[tuple[Any, ...]]:
    """Yield what policy said of each planned delivery: nulls where it had nothing to say.

    What is born sent, in the inbox, is counted here where a cap looks at it; else its first attempt is.
    """
    for plan in entry.decision.planned:
        birth, verdict = plan.birth, plan.birth.verdict
        counted = (
            entry.policy if birth.status == "succeeded" and verdict is not None and verdict.counts else None
        )
        budget: tuple[int | None, int | None, int | None] = (None, None, None)
        if counted and verdict is not None:
            channel = plan.channel
            budget = (counted.budget(channel).revision, room_for(verdict), counted.keeps(channel))
        if verdict is None or verdict.silent:
            yield birth.until, None, None, None, *budget
        else:
            yield birth.until, verdict.kind, verdict.reason, dict(verdict.inputs), *budget


def _cancelled_rows(entry: Entry) -> Iterable[tuple[Any, ...]]:
    for cancelled in entry.decision.cancelled:
        yield entry.run_id, cancelled.visit, cancelled.reason


def _named(entry: Entry, context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put the id of a delivery that is born in this decision where the core could only name its visit."""
    anchor = context.get("anchor_delivery_id")
    if not isinstance(anchor, str) or not anchor.startswith(_VISIT_MARK):
        return context
    return {**context, "anchor_delivery_id": str(entry.delivery_ids[int(anchor[len(_VISIT_MARK) :])])}
