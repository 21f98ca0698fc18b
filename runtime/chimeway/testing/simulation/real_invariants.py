"""The invariants of semantics section 10, asked of all rows of a scenario after each step.

`verify` asks the same of a database, by some forty statements: too many for each step. Here the rows have
been read already, so that asking costs no statement. What needs more than rows is asked elsewhere: I5, and
what a signal was for, by the reference model; whether what has ended was changed (I4), by the witness;
whether a call had its attempt (I3), when it is made. At a scenario's end `verify` is asked as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final, TypeAlias
from uuid import UUID

from chimeway.progression.decision import Noop, Transition
from chimeway.progression.fold import fold
from chimeway.progression.replay import by_visit, replay
from chimeway.workflow.definition import Definition
from chimeway.workflow.encode import signal_types

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Mapping[str, Any]
Definitions: TypeAlias = Mapping[tuple[str, int], Definition]

_ENDED: Final = ("completed", "stopped", "failed")
_OVER: Final = ("succeeded", "suppressed", "cancelled")
_LATE: Final = timedelta(seconds=5)
"""What I6 allows."""


def breaches(before: Rows, rows: Rows, definitions: Definitions) -> Iterator[str]:
    """Name what does not hold, each with its invariant; `before`: the rows of the step before."""
    for run in rows["runs"]:
        of_run = {
            name: [row for row in rows[name] if row["run_id"] == run["id"]]
            for name in ("transitions", "deliveries", "attempts", "mailbox", "items")
        }
        definition = definitions[run["workflow_key"], run["workflow_version"]]
        found = [
            *_audit(run, of_run["transitions"]),
            *_planned(run, of_run["transitions"], of_run["deliveries"], of_run["items"]),
            *_sent(of_run["deliveries"], of_run["attempts"]),
            *_tenants(run, of_run, rows),
            *_reachable(run, of_run, rows, frozenset(signal_types(definition))),
        ]
        if len(of_run["transitions"]) > _count(before, run["id"]):
            found += _replayed(definition, of_run, _count(before, run["id"]))
        yield from (f"{each}: run {run['id']}" for each in found)
    yield from _triggered(rows)
    yield from _told_once(rows)


def overdue(rows: Rows, now: datetime, since: datetime) -> Iterator[str]:
    """Name the runs that nobody evaluates though it is time, and since `since` there was time (I6)."""
    for run in rows["runs"]:
        told = (run["wake_at"], run["held_reason"], run["waiting_for_node"])
        if told[0] is None or told[1:] != (None, None) or run["workflow_key"] in rows["paused"]:
            continue
        if max(_at(told[0]), since) + _LATE < now:
            yield f"I6: run {run['id']} is overdue since {told[0]}"


def _audit(run: Row, trail: Sequence[Row]) -> Iterator[str]:
    if [row["seq"] for row in trail] != list(range(1, run["transition_count"] + 1)) or not trail:
        yield f"I1: {len(trail)} transitions are not numbered 1 to {run['transition_count']}"
        return
    own = (run["state"], run["step"], run["visit"], run["status_reason"], run["status_context"])
    if tuple(fold(trail)) != own:
        yield f"I1: the transitions fold to {tuple(fold(trail))}, the row says {own}"
    for one, next_one in pairwise(trail):
        if one["to_state"] in _ENDED:
            yield f"I4: {next_one['reason']} after {one['to_state']}"
        if one["to_state"] != next_one["from_state"]:
            yield f"I1: transition {next_one['seq']} begins in another state than its forerunner ended in"


def _planned(
    run: Row, trail: Sequence[Row], deliveries: Sequence[Row], items: Sequence[Row]
) -> Iterator[str]:
    if len({row["visit"] for row in deliveries}) != len(deliveries):
        yield "I2: one visit has two deliveries"
    entered = {(row["visit"], row["to_step"]) for row in trail if row["reason"] == "step_activated"}
    for row in deliveries:
        if (row["visit"], row["step_id"]) not in entered:
            yield f"I2: delivery of visit {row['visit']}, which never entered {row['step_id']}"
        moving = row["status"] not in (*_OVER, "dispatched")
        if run["state"] in ("stopped", "failed") and (
            moving or (row["status"] == "dispatched" and not row["stop_requested"])
        ):
            yield f"I4: visit {row['visit']} is {row['status']}, and its run is {run['state']}"
    shown = sorted(row["id"] for row in deliveries if _is_shown(row))
    if sorted(row["id"] for row in items) != shown:
        yield f"in-app items are not those that were delivered, {shown}: {[row['id'] for row in items]}"


def _is_shown(row: Row) -> bool:
    return bool(row["channel"] == "in_app" and row["status"] == "succeeded")


def _sent(deliveries: Sequence[Row], attempts: Sequence[Row]) -> Iterator[str]:
    for row in deliveries:
        mine = [each for each in attempts if each["delivery_id"] == row["id"]]
        if [each["attempt_no"] for each in mine] != list(range(1, row["attempt_count"] + 1)):
            yield f"I3: attempts of visit {row['visit']} are not numbered 1 to {row['attempt_count']}"
        called = row["status"] in ("dispatched", "failed", "succeeded") or row["failed_count"] > 0
        if called and row["channel"] != "in_app" and not mine:
            yield f"I3: visit {row['visit']} is {row['status']} without any attempt"
        if row["waiting_for_node"] is not None:
            continue
        if row["status"] == "dispatched" and mine and mine[-1]["outcome"] is not None:
            yield f"I9: visit {row['visit']} is dispatched, and its attempt is over"
        if row["status"] not in (*_OVER, "dispatched") and row["next_attempt_at"] is None:
            yield f"I9: visit {row['visit']} is {row['status']}, and waits for no time"


def _tenants(run: Row, of_run: Mapping[str, Sequence[Row]], rows: Rows) -> Iterator[str]:
    whose = (run["tenant_id"], run["recipient_id"])
    if any((row["tenant_id"], row["recipient_id"]) != whose for row in of_run["deliveries"]):
        yield "I7: a delivery is somebody else's"
    signals = {row["id"]: row for row in rows["signals"]}
    for row in of_run["mailbox"]:
        signal = signals[row["signal_id"]]
        if (signal["tenant_id"], signal["actor_id"]) != whose or signal["run_id"] not in (None, run["id"]):
            yield f"I7: mailbox row {row['number']} is of a signal that is not for it"


def _reachable(
    run: Row, of_run: Mapping[str, Sequence[Row]], rows: Rows, types: frozenset[str]
) -> Iterator[str]:
    mailbox = of_run["mailbox"]
    if [row["number"] for row in mailbox] != list(range(1, run["mailbox_count"] + 1)):
        yield f"I9: mailbox rows are not numbered 1 to {run['mailbox_count']}"
    decisions = {row["decision_id"] for row in of_run["transitions"]}
    if any(row["consumed_by"] not in (None, *decisions) for row in mailbox):
        yield "I10: a mailbox row was consumed by no decision of its run"
    if run["state"] in _ENDED:
        return
    if run["visit"] > 0:
        has = {row["signal_id"] for row in mailbox}
        for row in rows["signals"]:
            mine = (row["tenant_id"], row["actor_id"]) == (run["tenant_id"], run["recipient_id"])
            meant = row["run_id"] in (None, run["id"]) and row["arrival"] > run["arrival"]
            if mine and meant and row["type"] in types and row["routed_at"] and row["id"] not in has:
                yield f"I9: signal {row['id']} is routed, and not to it"
    if run["held_reason"] is None and run["waiting_for_node"] is None and not _wakes(run, of_run):
        yield f"I9: it is {run['state']} on {run['step']}, wakes at {run['wake_at']}, and nothing moves it"


def _wakes(run: Row, of_run: Mapping[str, Sequence[Row]]) -> bool:
    if run["state"] == "active":
        open_ones = [row for row in of_run["deliveries"] if row["status"] not in _OVER]
        return run["wake_at"] is not None or any(row["visit"] == run["visit"] for row in open_ones)
    due = run["status_context"].get("due_at")
    return run["wake_at"] is not None and due is not None and _at(run["wake_at"]) <= _at(due)


def _triggered(rows: Rows) -> Iterator[str]:
    runs: dict[str, list[Row]] = {}
    for run in rows["runs"]:
        runs.setdefault(run["event_id"], []).append(run)
    for event in rows["events"]:
        named = sorted(zip(event["run_ids"], event["recipient_ids"], strict=True))
        mine = runs.pop(event["id"], [])
        if named != sorted((run["id"], run["recipient_id"]) for run in mine):
            yield f"I8: event {event['id']} names {named}, and its runs are others"
        if any(run["tenant_id"] != event["tenant_id"] for run in mine):
            yield f"I7: event {event['id']} and its runs are of two tenants"
    if runs:
        yield f"I8: runs without their events: {sorted(runs)}"


def _told_once(rows: Rows) -> Iterator[str]:
    keys = [(row["tenant_id"], row["idempotency_key"]) for row in rows["events"] if row["idempotency_key"]]
    if len(set(keys)) != len(keys):
        yield f"I8: one idempotency key has two events: {keys}"
    said = [
        (row["tenant_id"], row["actor_id"], row["dedupe_key"]) for row in rows["signals"] if row["dedupe_key"]
    ]
    if len(set(said)) != len(said):
        yield f"I8: one signal was taken twice: {said}"


def _count(rows: Rows, run: str) -> int:
    return sum(row["run_id"] == run for row in rows["transitions"])


def _replayed(definition: Definition, of_run: Mapping[str, Sequence[Row]], known: int) -> Iterator[str]:
    """Decide again what has just been decided (I10)."""
    trail = of_run["transitions"]
    for place in range(max(known, 1), len(trail)):
        first = trail[place]
        if first["inputs"] is None:
            if first["decision_id"] != trail[place - 1]["decision_id"] and first["reason"] in _DECIDED:
                yield f"I10: {first['reason']} bears no inputs"
            continue
        rows = [row for row in trail if row["decision_id"] == first["decision_id"]]
        again = replay(definition, fold(trail[:place]), first["inputs"])
        if isinstance(again, Noop):
            yield f"I10: decided again it is a noop, {again.reason}"
            continue
        plans = {(row["visit"], row["step_id"], row["channel"]) for row in of_run["deliveries"]}
        consumed = [row["number"] for row in of_run["mailbox"] if row["consumed_by"] == first["decision_id"]]
        if [by_visit(_transition(row)) for row in rows] != [by_visit(each) for each in again.transitions]:
            yield f"I10: decided again, its transitions are {again.transitions}"
        if not {(plan.visit, plan.step_id, plan.channel) for plan in again.planned} <= plans:
            yield f"I10: decided again it plans {again.planned}"
        if sorted(again.consumed) != consumed:
            yield f"I10: decided again it consumes {again.consumed}, and not {consumed}"


_DECIDED: Final = (
    "step_activated", "signal_received", "waiting_for_step_progression", "reactivated_from_wait",
    "progressed_on_delivery_outcome", "workflow_stopped", "workflow_completed",
)  # fmt: skip
"""Reasons that only a decision has."""


def _transition(row: Row) -> Transition:
    signal = row["signal_id"]
    return Transition(
        row["reason"], row["from_state"], row["to_state"], row["from_step"], row["to_step"], row["visit"],
        row["status_reason"], row["context"], None if signal is None else UUID(signal), row["signal_type"],
    )  # fmt: skip


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
