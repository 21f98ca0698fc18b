"""I5: a signal that could be seen was heard.

Each elapse and each attempt keeps the snapshot of the statement that guarded it, and each signal the
transaction that wrote it. So it can be said afterwards, and exactly, what could be seen; clocks have
no part in it but one: times rule out signals that were written later by a server restored from a
dump, whose transactions begin again at small numbers. SQL finds the pairs; whether a signal fits a
condition is judged here.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.progression.instants import read
from chimeway.progression.signals import conditions_of
from chimeway.store.pool import Connection
from chimeway.store.queries import SQL
from chimeway.store.replaying import Definitions
from chimeway.store.verify_findings import Findings
from chimeway.workflow.conditions import matches
from chimeway.workflow.definition import Condition, Definition

_PREFETCH: Final = 100
"""Pairs fetched at once: each bears a signal's payload and an event's data, 64 KiB at most."""


async def check_elapsed_waits(
    connection: Connection,
    ids: Sequence[UUID],
    definitions: Definitions,
    findings: Findings,
) -> None:
    """Find waits that elapsed although a signal which ends them could be seen.

    Args:
        connection: in a transaction.
        ids: of a page of runs.
        definitions: theirs, by key and version.
        findings: where breaches go.
    """
    async for row in connection.cursor(SQL["verify_elapsed_waits"], ids, prefetch=_PREFETCH):
        definition = definitions.get((row["workflow_key"], row["workflow_version"]))
        since = read(row["entered_at"])
        if definition and any(_fits(row, each, since) for each in _of_wait(definition, row["step"])):
            facts = f"transition {row['seq']} let {row['step']} elapse past signal {row['signal_id']}"
            findings.add("elapsed_waits", row["run_id"], facts)


async def check_attempts(
    connection: Connection,
    ids: Sequence[UUID],
    definitions: Definitions,
    findings: Findings,
) -> None:
    """Find attempts that began although a signal which stops the run could be seen.

    Such are signals that meet a condition of the workflow, at any attempt while the run lives, and
    those that meet a `stop` of the wait which the run had left for this delivery, at the first one.
    Arguments: as for `check_elapsed_waits`.
    """
    async for row in connection.cursor(SQL["verify_attempts"], ids, prefetch=_PREFETCH):
        definition = definitions.get((row["workflow_key"], row["workflow_version"]))
        if definition and any(_fits(row, each, since) for each, since in _that_stop(definition, row)):
            facts = f"attempt {row['attempt_no']} of run {row['run_id']} began past signal {row['signal_id']}"
            findings.add("attempts", row["id"], facts)


def _of_wait(definition: Definition, step_id: str) -> Iterator[Condition]:
    step = definition.step(step_id)
    if step is not None:
        yield from (condition for _, condition in conditions_of(step))
    yield from definition.stop_conditions


def _that_stop(definition: Definition, row: Mapping[str, Any]) -> Iterator[tuple[Condition, datetime | None]]:
    armed = definition.step(row["armed_step"])
    if armed is not None:
        since = read(row["armed_since"])
        yield from ((each, since) for _, each in conditions_of(armed) if each.then == "stop")
    yield from ((each, read(row["entered_at"])) for each in definition.stop_conditions)


def _fits(row: Mapping[str, Any], condition: Condition, since: datetime | None) -> bool:
    """Tell whether a signal meets a condition: type, `since`, `match`, in the core's own words."""
    if row["type"] != condition.signal_type:
        return False
    if condition.since == "entered" and (since is None or row["created_at"] <= since):
        return False
    return matches(
        condition, payload=row["payload"], data=row["data"], delivery_ids=row["delivery_ids"] or {}
    )
