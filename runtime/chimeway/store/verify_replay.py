"""I10: every decision, made again by the core from what it wrote down, comes out the same."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from chimeway.progression.decision import Decision, Noop, Transition
from chimeway.progression.fold import fold
from chimeway.progression.replay import by_visit, replay
from chimeway.store.pool import Connection
from chimeway.store.queries import SQL
from chimeway.store.verify_findings import Findings
from chimeway.workflow.definition import Definition

_PREFETCH: Final = 500
_NOT_DECIDED: Final = frozenset(
    {
        "workflow_started",
        "cancelled_by_request",
        "recipient_forgotten",
        "failed_by_request",
        "run_held",
        "run_resumed",
        "wait_retimed",
    }
)
"""Reasons of transitions that people and triggers write; they have no inputs."""
_Plan = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class _Written:
    """What decisions of a page left beside transitions: plans by run, consumed numbers by decision."""

    planned: Mapping[UUID, set[_Plan]]
    consumed: Mapping[UUID, set[int]]


@dataclass(slots=True)
class _Group:
    """The transitions of one decision, and the one before them."""

    before: Mapping[str, Any] | None
    rows: list[Mapping[str, Any]] = field(default_factory=list)

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a transition belongs to this decision."""
        first = self.rows[0]
        return bool(first["run_id"] == row["run_id"] and first["decision_id"] == row["decision_id"])


async def check_decisions(
    connection: Connection,
    ids: Sequence[UUID],
    definitions: Mapping[tuple[str, int], Definition | None],
    findings: Findings,
) -> None:
    """Replay every decision of a page of runs and compare.

    Compared are the transitions, what was planned (visit, step, channel, render key) and which
    mailbox rows were consumed. What a delivery became later, and the run's row, are others' affair.

    Args:
        connection: in a transaction.
        ids: of the runs.
        definitions: theirs, by key and version; a decision without is passed over.
        findings: where breaches go.
    """
    written = await _written(connection, ids)
    async for group in _decisions(connection, ids):
        first = group.rows[0]
        definition = definitions.get((first["workflow_key"], first["workflow_version"]))
        fault = _fault(definition, group, written) if definition else None
        if fault:
            findings.add("decisions", first["run_id"], f"decision {first['decision_id']}: {fault}")


async def _written(connection: Connection, ids: Sequence[UUID]) -> _Written:
    planned: dict[UUID, set[_Plan]] = defaultdict(set)
    for row in await connection.fetch(SQL["verify_planned"], ids):
        planned[row["run_id"]].add((row["visit"], row["step_id"], row["channel"], row["render_key"]))
    consumed: dict[UUID, set[int]] = defaultdict(set)
    for row in await connection.fetch(SQL["verify_consumed"], ids):
        consumed[row["consumed_by"]].add(row["number"])
    return _Written(planned, consumed)


async def _decisions(connection: Connection, ids: Sequence[UUID]) -> AsyncIterator[_Group]:
    """Yield the transitions of each decision; no more than one decision's are held."""
    group: _Group | None = None
    async for row in connection.cursor(SQL["verify_decisions"], ids, prefetch=_PREFETCH):
        if group is not None and group.takes(row):
            group.rows.append(row)
            continue
        if group is not None:
            yield group
        same_run = group is not None and group.rows[-1]["run_id"] == row["run_id"]
        group = _Group(group.rows[-1] if group is not None and same_run else None, [row])
    if group is not None:
        yield group


def _fault(definition: Definition, group: _Group, written: _Written) -> str | None:
    """Say in what a decision and its replay differ, or None."""
    first = group.rows[0]
    if first["inputs"] is None:
        decided = [row["reason"] for row in group.rows if row["reason"] not in _NOT_DECIDED]
        return f"{decided[0]} bears no inputs" if decided else None
    if group.before is None:
        return "nothing was written before it"
    try:
        replayed = replay(definition, fold([group.before]), first["inputs"])
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Inputs from other hands may be anything; that they cannot be replayed is the finding.
        return f"its inputs cannot be replayed ({type(error).__name__}: {error})"
    if isinstance(replayed, Noop):
        return f"its replay is a noop, {replayed.reason}"
    wrong = _differences(replayed, group, written)
    return f"its replay differs in {', '.join(wrong)}" if wrong else None


def _differences(replayed: Decision, group: _Group, written: _Written) -> list[str]:
    first = group.rows[0]
    recorded = [by_visit(_transition(row)) for row in group.rows]
    plans = {(p.visit, p.step_id, p.channel, p.render_key) for p in replayed.planned}
    holds = {
        "transitions": recorded == [by_visit(each) for each in replayed.transitions],
        "planned": plans <= written.planned.get(first["run_id"], set()),
        "consumed": set(replayed.consumed) == written.consumed.get(first["decision_id"], set()),
    }
    return [name for name, right in holds.items() if not right]


def _transition(row: Mapping[str, Any]) -> Transition:
    return Transition(
        reason=row["reason"],
        from_state=row["from_state"],
        to_state=row["to_state"],
        from_step=row["from_step"],
        to_step=row["to_step"],
        visit=row["visit"],
        status_reason=row["status_reason"],
        context=row["context"],
        signal_id=row["signal_id"],
        signal_type=row["signal_type"],
    )
