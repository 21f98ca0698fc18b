"""Decisions made again: each decision of some runs, decided anew from its definition and its inputs (I10).

What `verify` counts and `chimeway replay` shows. Compared are the transitions, what was planned (visit,
step, channel, render key) and which mailbox rows were consumed. What a delivery became later, and the run's
row, are others' affair.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from chimeway.progression.decision import Decision, Noop, Transition
from chimeway.progression.fold import fold
from chimeway.progression.replay import by_visit, replay
from chimeway.store.pool import Connection
from chimeway.store.queries import SQL
from chimeway.workflow.definition import Definition

Definitions: TypeAlias = Mapping[tuple[str, int], Definition | None]
"""Those of some runs, by key and version; None: this program cannot read it."""
Verdict: TypeAlias = Literal["same", "different", "not_decided", "unreadable"]
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
class Replayed:
    """One decision of a run, and what became of deciding it again.

    `first` and `last` number its transitions, `reasons` are theirs, `at` is when they were written. The
    verdict is `same`; `different`, and `fault` says how, `written` what the audit has and `again` what the
    replay gave (None: it gave nothing); `not_decided`: a trigger or a person wrote it, there is nothing to
    decide again; `unreadable`: this program does not understand the definition.
    """

    run_id: UUID
    decision_id: UUID
    first: int
    last: int
    at: datetime
    reasons: tuple[str, ...]
    verdict: Verdict
    fault: str | None = None
    written: Mapping[str, Any] | None = None
    again: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Beside:
    """What decisions left beside transitions: plans by run, consumed numbers by decision."""

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


async def replayed(
    connection: Connection, ids: Sequence[UUID], definitions: Definitions
) -> AsyncIterator[Replayed]:
    """Decide again every decision of some runs, in order; no more than one is held at a time.

    Args:
        connection: in a transaction.
        ids: of the runs: a page of them.
        definitions: theirs.
    """
    beside = await _beside(connection, ids)
    async for group in _decisions(connection, ids):
        yield _judged(group, definitions, beside)


async def _beside(connection: Connection, ids: Sequence[UUID]) -> _Beside:
    planned: dict[UUID, set[_Plan]] = defaultdict(set)
    for row in await connection.fetch(SQL["verify_planned"], ids):
        planned[row["run_id"]].add((row["visit"], row["step_id"], row["channel"], row["render_key"]))
    consumed: dict[UUID, set[int]] = defaultdict(set)
    for row in await connection.fetch(SQL["verify_consumed"], ids):
        consumed[row["consumed_by"]].add(row["number"])
    return _Beside(planned, consumed)


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


def _judged(group: _Group, definitions: Definitions, beside: _Beside) -> Replayed:
    first, last = group.rows[0], group.rows[-1]
    definition = definitions.get((first["workflow_key"], first["workflow_version"]))

    def told(verdict: Verdict, fault: str | None = None, again: Decision | None = None) -> Replayed:
        wrong = verdict == "different"
        return Replayed(
            run_id=first["run_id"],
            decision_id=first["decision_id"],
            first=first["seq"],
            last=last["seq"],
            at=first["at"],
            reasons=tuple(row["reason"] for row in group.rows),
            verdict=verdict,
            fault=fault,
            written=_written(group, beside) if wrong else None,
            again=_again(again) if wrong and again is not None else None,
        )

    decided = [row["reason"] for row in group.rows if row["reason"] not in _NOT_DECIDED]
    if first["inputs"] is None and not decided:
        return told("not_decided")
    if definition is None:
        return told("unreadable")
    if first["inputs"] is None:
        return told("different", f"{decided[0]} bears no inputs")
    if group.before is None:
        return told("different", "nothing was written before it")
    try:
        decision = replay(definition, fold([group.before]), first["inputs"])
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Inputs from other hands may be anything; that they cannot be replayed is the finding.
        return told("different", f"its inputs cannot be replayed ({type(error).__name__}: {error})")
    if isinstance(decision, Noop):
        return told("different", f"its replay is a noop, {decision.reason}")
    wrong = _differences(decision, group, beside)
    if wrong:
        return told("different", f"its replay differs in {', '.join(wrong)}", decision)
    return told("same")


def _differences(decision: Decision, group: _Group, beside: _Beside) -> list[str]:
    first = group.rows[0]
    recorded = [by_visit(_transition(row)) for row in group.rows]
    plans = {(p.visit, p.step_id, p.channel, p.render_key) for p in decision.planned}
    holds = {
        "transitions": recorded == [by_visit(each) for each in decision.transitions],
        "planned": plans <= beside.planned.get(first["run_id"], set()),
        "consumed": set(decision.consumed) == beside.consumed.get(first["decision_id"], set()),
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


def _written(group: _Group, beside: _Beside) -> dict[str, Any]:
    first = group.rows[0]
    visits = {row["visit"] for row in group.rows}
    return {
        "transitions": [by_visit(_transition(row)) for row in group.rows],
        "planned": sorted(plan for plan in beside.planned.get(first["run_id"], ()) if plan[0] in visits),
        "consumed": sorted(beside.consumed.get(first["decision_id"], ())),
    }


def _again(decision: Decision) -> dict[str, Any]:
    return {
        "transitions": [by_visit(each) for each in decision.transitions],
        "planned": sorted((p.visit, p.step_id, p.channel, p.render_key) for p in decision.planned),
        "consumed": sorted(decision.consumed),
    }
