"""What operators do on their pages: each a transaction that also writes down who did it.

Single runs go through the verbs that the command line uses; plans (many runs) through functions that lock a
batch in the order of its ids and leave alone what has changed since it was counted.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from chimeway.limits import CONSOLE_AT_ONCE, CONSOLE_PLAN_S
from chimeway.store.acting import Operator, alone
from chimeway.store.console import Chosen
from chimeway.store.console_sessions import SignedIn
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.words import in_our_words

RunAction: TypeAlias = Literal["cancel", "hold", "resume", "wake", "retime"]
PlanAction: TypeAlias = Literal["cancel", "wake", "retime"]
_DID: Final[Mapping[RunAction, str]] = {
    "cancel": "stopped", "hold": "held", "resume": "resumed", "wake": "woken", "retime": "retimed",
}  # fmt: skip
"""The outcome that means that something was done."""


@dataclass(frozen=True, slots=True)
class When:
    """Where a wait is moved to: an instant, or by a span."""

    at: datetime | None = None
    by: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done to a run."""

    at: datetime
    who: str
    action: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be done to many runs, or was: `done` of them, with so many of each outcome."""

    id: UUID
    action: PlanAction
    tenant: str | None
    chosen: Mapping[str, str]
    when: When
    run_ids: tuple[UUID, ...]
    revisions: tuple[int, ...]
    more: bool
    made_at: datetime
    begun_at: datetime | None
    done: int
    outcome: Mapping[str, int]
    fresh: bool
    """Whether what was counted is young enough to be confirmed."""


@asynccontextmanager
async def _transaction(database: Database) -> AsyncIterator[Connection]:
    with in_our_words():
        async with database.acquire() as connection, connection.transaction():
            yield connection


async def tenant_of_run(database: Database, run_id: UUID, tenant: str | None) -> str | None:
    """Return whose a run is; None: there is none, or none of this tenant (None: of all)."""
    with in_our_words():
        found: str | None = await database.fetchval("console_run_exists", run_id, tenant)
    return found


async def run_of_delivery(
    database: Database, delivery_id: UUID, tenant: str | None
) -> tuple[UUID, str] | None:
    """Return the run of a delivery and whose it is; None likewise."""
    with in_our_words():
        row = await database.fetchrow("console_delivery_run", delivery_id, tenant)
    return None if row is None else (row["run_id"], row["tenant_id"])


async def deeds(database: Database, run_id: UUID) -> list[Deed]:
    """Return what operators did to a run, on these pages or elsewhere, in the order of time."""
    with in_our_words():
        return [Deed(**row) for row in await database.fetch("console_actions_of_run", run_id)]


async def act_on_run(
    database: Database,
    who: SignedIn,
    action: RunAction,
    run_id: UUID,
    *,
    tenant: str,
    note: str | None = None,
    when: When | None = None,
) -> str:
    """Do something to one run; return what came of it: `stopped`, or why not.

    The outcome stands in `_DID` where something was done, and then it is written down who did it.
    """
    async with _transaction(database) as connection:
        outcome = await _do(connection, action, run_id, tenant, note, when)
        if outcome == _DID[action]:
            await connection.execute(
                SQL["note_action"], who.name, who.token_id, action, tenant, run_id, None, None, note
            )
    return outcome


async def _do(
    connection: Connection, action: RunAction, run_id: UUID, tenant: str, note: str | None, when: When | None
) -> str:
    match action:
        case "hold":
            held = await connection.fetchval(SQL["hold_run"], run_id, "held_by_request", note, True)
            return "held" if held else "not_holdable"
        case "resume":
            resumed = await connection.fetchval(SQL["resume_run"], run_id, note)
            return "resumed" if resumed else "not_held"
        case _:
            found = await _of_plan(connection, action, [run_id], None, tenant, note, when or When())
            return found[run_id]


async def _of_plan(
    connection: Connection,
    action: PlanAction,
    ids: list[UUID],
    revisions: list[int] | None,
    tenant: str | None,
    note: str | None,
    when: When,
) -> dict[UUID, str]:
    if action == "cancel":
        rows = await connection.fetch(SQL["console_cancel_runs"], ids, revisions, tenant, note)
    elif action == "wake":
        rows = await connection.fetch(SQL["console_wake_runs"], ids, revisions, tenant)
    else:
        sql = SQL["console_retime_runs"]
        rows = await connection.fetch(sql, ids, when.at, when.by, revisions, tenant, note)
    return {row["run_id"]: row["outcome"] for row in rows}


async def retry_delivery(database: Database, who: SignedIn, delivery_id: UUID, tenant: str) -> str:
    """Let a failed message be tried again now; return `retried`, or the status in which it stands."""
    async with _transaction(database) as connection:
        row = await connection.fetchrow(SQL["retry_delivery"], delivery_id, tenant)
        if row is None:
            return "gone"
        if row["retried"]:
            await connection.execute(
                SQL["note_action"], who.name, who.token_id, "retry", tenant, row["run_id"],
                delivery_id, None, None,
            )  # fmt: skip
            return "retried"
    kept = "held" if row["held_reason"] else "waiting_for_node" if row["waiting_for_node"] else None
    return str(kept if row["status"] == "failed" and kept else row["status"])


async def pause_workflow(
    database: Database, who: SignedIn, key: str, *, paused: bool, note: str | None
) -> int:
    """Hold or give back the decisions of a workflow's runs; return how many versions that were."""
    async with _transaction(database) as connection:
        touched: int = await connection.fetchval(SQL["pause_workflow"], key, paused)
        await connection.execute(
            SQL["note_action"], who.name, who.token_id, "pause" if paused else "unpause", None, None,
            None, key, note,
        )  # fmt: skip
    return touched


async def make_plan(
    database: Database,
    who: SignedIn,
    action: PlanAction,
    chosen: Chosen,
    *,
    by: Mapping[str, str],
    when: When,
) -> UUID:
    """Write down what is about to be done: to these runs, as they are now. Nothing is done yet."""
    moved = {"at": None if when.at is None else when.at.isoformat(),
             "by_s": None if when.by is None else when.by.total_seconds()}  # fmt: skip
    with in_our_words():
        plan_id: UUID = await database.fetchval(
            "console_make_plan", who.token_id, action, who.tenant, dict(by), moved, list(chosen.run_ids),
            list(chosen.revisions), chosen.more,
        )  # fmt: skip
    return plan_id


async def find_plan(database: Database, who: SignedIn, plan_id: UUID) -> Plan | None:
    """Return a plan of this token's, or None."""
    with in_our_words():
        row = await database.fetchrow("console_plan", plan_id, who.token_id, float(CONSOLE_PLAN_S))
    return None if row is None else _plan(row)


async def go_on(database: Database, who: SignedIn, plan_id: UUID, note: str | None) -> Plan | None:
    """Act on the next batch of a plan's runs, and write down how far it has come; return it as it is then.

    None: there is no such plan, or what it counted is too old to begin with.
    """
    async with _transaction(database) as connection:
        row = await connection.fetchrow(
            SQL["console_lock_plan"], plan_id, who.token_id, float(CONSOLE_PLAN_S)
        )
        plan = None if row is None else _plan(row)
        if plan is None or (plan.begun_at is None and not plan.fresh):
            return None
        ids = list(plan.run_ids[plan.done : plan.done + CONSOLE_AT_ONCE])
        if not ids:
            return plan
        revisions = list(plan.revisions[plan.done : plan.done + CONSOLE_AT_ONCE])
        by = Operator(who.token_id, who.name, who.tenant)
        came = await _noted(connection, by, plan.action, ids, revisions, note, plan.when)
        outcome = dict(plan.outcome)
        for each in came.values():
            outcome[each] = outcome.get(each, 0) + 1
        await connection.execute(SQL["console_plan_came"], plan_id, plan.done + len(ids), outcome)
    return await find_plan(database, who, plan_id)


async def act_on_many(
    database: Database, who: Operator, action: PlanAction, chosen: Chosen, *, note: str | None, when: When,
    patience_s: float,
) -> AsyncIterator[dict[UUID, str]]:  # fmt: skip
    """Act on the runs that were chosen, if they are as they were then, batch by batch; each is a transaction.

    Yields what came of each run of a batch; where something was done, it is written down who did it.

    Raises:
        RunBusy: another had one of a batch locked for longer than so many seconds: nothing of it was done.
    """
    for first in range(0, len(chosen.run_ids), CONSOLE_AT_ONCE):
        batch = slice(first, first + CONSOLE_AT_ONCE)
        ids, revisions = list(chosen.run_ids[batch]), list(chosen.revisions[batch])
        act = partial(_noted, who=who, action=action, ids=ids, revisions=revisions, note=note, when=when)
        yield await alone(database, act, patience_s=patience_s)


def did(action: PlanAction, outcome: str) -> bool:
    """Say whether this outcome of an action means that something was done."""
    return outcome == _DID[action]


async def _noted(
    connection: Connection,
    who: Operator,
    action: PlanAction,
    ids: list[UUID],
    revisions: list[int],
    note: str | None,
    when: When,
) -> dict[UUID, str]:
    came = await _of_plan(connection, action, ids, revisions, who.tenant, note, when)
    done = [run_id for run_id, outcome in came.items() if did(action, outcome)]
    await connection.execute(SQL["console_note_actions"], who.name, who.token_id, action, done, note)
    return came


def _plan(row: Any) -> Plan:
    moved = row["retimed"]
    at, by_s = moved.get("at"), moved.get("by_s")
    return Plan(
        id=row["id"],
        action=row["action"],
        tenant=row["tenant_id"],
        chosen=row["chosen"],
        when=When(
            None if at is None else datetime.fromisoformat(at),
            None if by_s is None else timedelta(seconds=by_s),
        ),
        run_ids=tuple(row["run_ids"]),
        revisions=tuple(row["revisions"]),
        more=row["more"],
        made_at=row["made_at"],
        begun_at=row["begun_at"],
        done=row["done"],
        outcome=row["outcome"],
        fresh=row["fresh"],
    )
