"""B1: decisions persisted through the ledger, against the same rows written by plain statements."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import asyncpg
from tests.bench.frame import Asked, Bench, Figure, Ratio, Side, Stage

from chimeway.progression.decide import decide
from chimeway.progression.decision import Birth, Decision
from chimeway.render.message import Rendered
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.ids import shard_of_id
from chimeway.store.ledger import Entry, commit_decisions, entry_for
from chimeway.store.pool import Database, open_database
from chimeway.store.queries import SQL
from chimeway.store.runs import load_runs
from chimeway.workflow.definition import NotifyAction, Step
from chimeway.workflow.parse import parse

BATCH: Final = 100
CONNECTIONS: Final = (1, 4)
SECONDS: Final = 45.0
_MOST_A_SECOND: Final = 10_000
"""So many decisions at most are made ready for each second; a round that runs out of them ends early."""
_BEHIND: Final = 40
"""So many batches after a run's first decision comes its second: the first is written by then."""
WORKFLOW: Final = {
    "key": "bench",
    "version": 1,
    "steps": [
        {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "plain"}},
        {"id": "wait", "action": {"type": "wait", "duration": "PT1S"}},
        {"id": "tell", "action": {"type": "notify", "channel": "log", "render_key": "plain"}},
    ],
}
_SNAPSHOT: Final = "1:1:"
Batch: TypeAlias = Sequence[Any]
Write: TypeAlias = "Callable[[asyncpg.Connection[Any], Batch], Awaitable[int]]"

_TRANSITIONS: Final = """
insert into chimeway.workflow_transitions (run_id, shard, seq, decision_id, reason, from_state, to_state,
        from_step, to_step, visit, status_reason, context, inputs, snapshot, at)
select n.run, n.shard, n.seq, n.decision, n.reason, n.from_state, n.to_state, n.from_step, n.to_step,
       n.visit, n.status_reason, n.context, n.inputs, n.snapshot::pg_snapshot, clock_timestamp()
  from unnest($1::uuid[], $2::smallint[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::text[],
              $8::text[], $9::text[], $10::int[], $11::text[], $12::jsonb[], $13::jsonb[], $14::text[])
       n(run, shard, seq, decision, reason, from_state, to_state, from_step, to_step, visit,
         status_reason, context, inputs, snapshot)"""
_DELIVERIES: Final = """
insert into chimeway.deliveries (id, shard, run_id, visit, step_id, tenant_id, recipient_id, channel,
        render_key, status, next_attempt_at, created_at, terminal_at)
select n.id, n.shard, n.run, n.visit, n.step, n.tenant, n.recipient, n.channel, n.render_key, n.status,
       case n.status when 'pending' then clock_timestamp() end, clock_timestamp(), n.terminal_at
  from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::int[], $5::text[], $6::text[],
              $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[])
       n(id, shard, run, visit, step, tenant, recipient, channel, render_key, status, terminal_at)"""
_ITEMS: Final = """
insert into chimeway.inbox_items (id, shard, tenant_id, recipient_id, run_id, render_key, subject, body,
        created_at)
select n.id, n.shard, n.tenant, n.recipient, n.run, n.render_key, n.subject, n.body, clock_timestamp()
  from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[],
              $7::text[], $8::text[]) n(id, shard, run, tenant, recipient, render_key, subject, body)
 where n.body is not null"""
_RUNS: Final = """
update chimeway.workflow_runs r
   set revision = r.revision + 1, transition_count = n.many, mailbox_seen = 0, state = n.state, step = n.step,
       visit = n.visit, status_reason = n.status_reason, status_context = n.context,
       pending_signals = n.pending::text[], wake_at = n.wake_at, entered_at = n.entered_at,
       armed_step = n.armed_step, armed_entered_at = n.armed_entered_at
  from unnest($1::uuid[], $2::smallint[], $3::int[], $4::text[], $5::text[], $6::int[], $7::text[],
              $8::jsonb[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[],
              $13::timestamptz[])
       n(id, shard, many, state, step, visit, status_reason, context, pending, wake_at, entered_at,
         armed_step, armed_entered_at)
 where r.id = n.id and r.shard = n.shard"""
FLOOR: Final = (
    (_TRANSITIONS, range(14)),
    (_DELIVERIES, range(14, 25)),
    (_ITEMS, (14, 15, 16, 19, 20, 22, 25, 26)),
    (_RUNS, range(27, 40)),
)
"""All rows of some decisions, table by table, and which columns each takes: nothing is looked at."""


def benches(asked: Asked) -> Sequence[Bench]:
    """Compare the ledger with its floor."""
    seconds = asked.sized(round(SECONDS), 3)
    return [
        Bench(
            code="B1",
            title="The ledger",
            what=f"Decisions persisted a second, in batches of {BATCH}, by the better of {_told(CONNECTIONS)}"
            f" connections, each for {seconds:g} s with a checkpoint inside. Half of them are a run's first"
            " decision (an in-app message, its inbox item, a wait: four transitions), half of them its second"
            " (the wait is over, a message is planned). `chimeway` calls `commit_decisions`, which locks,"
            " routes, guards and writes. The floor writes the same rows into the same tables, with all"
            " their indexes, constraints and triggers, from arrays that were made ready as well, in one"
            " statement a table that looks at nothing.",
            sides={"chimeway": _side(_ours, seconds), "floor": _side(_floor, seconds)},
            figures=(
                Figure("per_s", "1/s", "higher"),
                *(Figure(f"per_s_{many}", "1/s", "higher", plotted=False) for many in CONNECTIONS),
                Figure("cpu_ms", "ms", "lower", plotted=False),
            ),
            ratios=[Ratio("per_s", of="chimeway", to="floor", target=0.6)],
            notes=["`cpu_ms`: of PostgreSQL, for a decision, where one connection writes."],
        )
    ]


def _told(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _side(arrays: "Callable[[Made], Awaitable[Arrays]]", seconds: float) -> Side:
    async def play(stage: Stage) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        for many in CONNECTIONS:
            async with stage.database() as url:
                made = await _made(url, round(seconds * _MOST_A_SECOND / 2))
                work = await arrays(made)
                stage.say(f"{len(made.runs):,} runs are there; {many} connections write")
                meter = stage.server.meter()
                figures[f"per_s_{many}"], decisions = await _sustained(url, many, work, seconds)
                if meter is not None and many == 1:
                    figures["cpu_ms"] = 1000 * meter.cpu_s / decisions
        return figures | {"per_s": max(figures[f"per_s_{many}"] for many in CONNECTIONS)}

    return play


@dataclass(frozen=True, slots=True)
class Made:
    """Runs that were triggered, and the two decisions that each of them comes to."""

    runs: Sequence[tuple[UUID, str]]
    entries: tuple[Entry, Entry]

    def batches(self) -> "Sequence[tuple[int, Sequence[tuple[UUID, str]]]]":
        """Return which of the decisions is next for which runs: second ones follow at a distance."""
        parts = [self.runs[at : at + BATCH] for at in range(0, len(self.runs), BATCH)]
        found = [(0, part) for part in parts[:_BEHIND]]
        for first, second in zip(parts[_BEHIND:], parts, strict=False):
            found += [(0, first), (1, second)]
        return found


@dataclass(frozen=True, slots=True)
class Arrays:
    """Batches, each the arguments of one call, and how one is written."""

    batches: Sequence[Batch]
    write: Write


async def _made(url: str, many: int) -> Made:
    async with open_database(url, size=1) as database:
        await register(database, parse(WORKFLOW))
        async with database.acquire() as connection:
            began = await connection.fetchval("select chimeway.trigger('bench', 'bench', 'first')")
            people = [f"user_{number}" for number in range(many // 1000 * 1000 or BATCH)]
            rows = [
                (row["run_id"], row["recipient_id"])
                for at in range(0, len(people), 1000)
                for row in await connection.fetch(
                    "select * from chimeway.trigger_many('bench', 'bench', $1)", people[at : at + 1000]
                )
            ]
        entries = list[Entry]()
        for wait_s in (0.0, 1.5):
            await asyncio.sleep(wait_s)
            (loaded,) = await load_runs(database, Catalogue(database), [began])
            assert loaded is not None
            assert loaded.snapshot is not None
            decision = decide(loaded.snapshot, datetime.now(UTC), _born)
            assert isinstance(decision, Decision), decision
            messages = {
                plan.visit: Rendered("Hello", "You were mentioned", None)
                for plan in decision.planned
                if plan.channel == "in_app"
            }
            entries.append(entry_for(began, decision, messages, loaded.policy))
            assert await commit_decisions(database, None, entries[-1:]) == ["applied"]
        async with database.acquire() as connection:
            await connection.execute("vacuum (analyze)")
    return Made(rows, (entries[0], entries[1]))


def _born(step: Step, visit: int) -> Birth:
    del visit
    assert isinstance(step.action, NotifyAction)
    return Birth("succeeded" if step.action.channel == "in_app" else "pending")


class _Recorder:
    """Stands where a database would be called, and keeps what with."""

    def __init__(self) -> None:
        self.statement, self.given = "", list[Any]()

    async def fetch(self, statement: str, *given: Any) -> list[dict[str, Any]]:
        self.statement, self.given = statement, list(given)
        return [{"run_id": run, "answer": "applied"} for run in given[2]]


async def _calls(made: Made) -> tuple[str, list[list[Any]]]:
    """Return the ledger's statement, and what it is called with for each batch: as the store calls it."""
    recorder, calls = _Recorder(), list[list[Any]]()
    before: dict[int, list[Any]] = {}
    for which, runs in made.batches():
        entry = made.entries[which]
        part = [entry_for(run, entry.decision, entry.messages, entry.policy) for run, _ in runs]
        await commit_decisions(cast("Database", recorder), None, part)
        call = [_plain(value) for value in recorder.given]
        if which in before:  # what is the same in all batches is kept once
            call = [old if old == new else new for old, new in zip(before[which], call, strict=True)]
        before[which] = call
        calls.append(call)
    return recorder.statement, calls


def _plain(value: Any) -> Any:
    """Return an argument as the driver takes it, where nothing turns objects into JSON for it."""
    if isinstance(value, list):
        return [json.dumps(each) if isinstance(each, dict) else each for each in value]
    return value


async def _ours(made: Made) -> Arrays:
    statement, calls = await _calls(made)
    sql = SQL[statement]

    async def write(connection: "asyncpg.Connection[Any]", batch: Batch) -> int:
        rows = await connection.fetch(sql, *batch)
        assert all(row["answer"] == "applied" for row in rows), {row["answer"] for row in rows}
        return len(rows)

    return Arrays(calls, write)


async def _floor(made: Made) -> Arrays:
    people = dict(made.runs)
    _, calls = await _calls(made)

    async def write(connection: "asyncpg.Connection[Any]", batch: Batch) -> int:
        done = ""
        async with connection.transaction():
            for sql, columns in FLOOR:
                done = await connection.execute(sql, *(batch[at] for at in columns))
        return int(done.rpartition(" ")[2])

    return Arrays([_rows(call, people) for call in calls], write)


def _rows(call: Sequence[Any], people: Mapping[UUID, str]) -> list[Any]:
    """Return the rows that a call of the ledger writes, as columns; what it looks up stands in them."""
    runs, of_runs = call[2], call[2:22]
    written = {0: 1, 1: 5}
    before = {run: written[revision - 1] for run, revision in zip(runs, of_runs[2], strict=True)}
    decisions = dict(zip(runs, of_runs[1], strict=True))
    inputs = dict(zip(runs, of_runs[18], strict=True))
    t_run, t_pos, t_reason, *t_rest = call[22:34]
    d_id, d_run, *d_rest = call[34:47]
    d_visit, d_step, d_channel, d_key, d_status, _, _, _, d_terminal, d_subject, d_body = d_rest
    many = Counter(t_run)
    return [
        t_run,
        [shard_of_id(run) for run in t_run],
        [before[run] + pos for run, pos in zip(t_run, t_pos, strict=True)],
        [decisions[run] for run in t_run],
        t_reason,
        *t_rest[:7],
        [inputs[run] if pos == 1 else None for run, pos in zip(t_run, t_pos, strict=True)],
        [_SNAPSHOT if reason == "reactivated_from_wait" else None for reason in t_reason],
        d_id,
        [shard_of_id(run) for run in d_run],
        d_run,
        d_visit,
        d_step,
        ["bench"] * len(d_run),
        [people[run] for run in d_run],
        d_channel,
        d_key,
        d_status,
        d_terminal,
        d_subject,
        d_body,
        runs,
        [shard_of_id(run) for run in runs],
        [before[run] + many[run] for run in runs],
        *of_runs[7:17],
    ]


async def _sustained(url: str, many: int, work: Arrays, seconds: float) -> tuple[float, int]:
    """Write by so many connections for so long, with a checkpoint inside; decisions a second, and in all."""
    batches, written = iter(work.batches), 0
    async with AsyncExitStack() as stack:
        writers = [await _connected(stack, url) for _ in range(many)]
        operator = await _connected(stack, url)
        began = time.monotonic()

        async def go_on(connection: "asyncpg.Connection[Any]") -> None:
            nonlocal written
            while time.monotonic() - began < seconds and (batch := next(batches, None)) is not None:
                done = await work.write(connection, batch)
                written += done  # no `+= await`: that reads the sum first, and others add to it meanwhile

        async def checkpoint() -> None:
            await asyncio.sleep(seconds / 2)
            await operator.execute("checkpoint")

        checked = asyncio.create_task(checkpoint())
        await asyncio.gather(*map(go_on, writers))
        took = time.monotonic() - began
        await checked
    return written / took, written


async def _connected(stack: AsyncExitStack, url: str) -> "asyncpg.Connection[Any]":
    # As a node has it: else each call is planned anew, and foreign keys keep plans made of empty tables.
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    connection = await asyncpg.connect(url, server_settings=settings)
    stack.push_async_callback(connection.close)
    return connection
