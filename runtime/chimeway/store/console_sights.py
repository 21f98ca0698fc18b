"""What the operators' pages tell of the whole: what needs somebody, the last hours, steps, failures. Pure.

No index orders messages by time, but their ids do: the newest are read from their end. What is told of the
last hours is of so many messages at the most (`CONSOLE_WINDOW`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from chimeway.limits import CONSOLE_COUNTED, CONSOLE_PLAN, CONSOLE_WINDOW
from chimeway.store import rows
from chimeway.store.call import Answers, Call, Row, one, statement
from chimeway.store.ids import least_id

_HELD: Final = "r.held_reason is not null"
_LACKING: Final = "r.waiting_for_node is not null"
_FAILED: Final = "('permanent_failure','retries_exhausted','bounced')"


@dataclass(frozen=True, slots=True)
class Needs:
    """How many runs need somebody, each counted up to a bound."""

    held: int
    waiting_for_node: int


def needs(tenant: str | None) -> Call[Needs]:
    """Ask how many live runs are held, and how many wait for a node that can go on with them."""
    counts = [
        statement(
            f"select count(*) as n from (select from chimeway.workflow_runs r where {which} "
            f"and ($1::text is null or r.tenant_id = $1::text) limit {CONSOLE_COUNTED + 1}) q",
            tenant,
        )
        for which in (_HELD, _LACKING)
    ]
    return Call(tuple(counts), lambda found: Needs(*(int(each[0]["n"]) for each in found)))


@dataclass(frozen=True, slots=True)
class Hour:
    """Messages that were planned in an hour, by what became of them so far."""

    at: datetime
    succeeded: int
    failed: int
    others: int
    late_s: float | None
    """By how much the slowest of them had been planned late, of those for which a wait was over."""

    @property
    def all(self) -> int:
        """Return how many there were."""
        return self.succeeded + self.failed + self.others


@dataclass(frozen=True, slots=True)
class Lately:
    """The last hours, the oldest first; `whole`: nothing of them was left out."""

    hours: tuple[Hour, ...]
    whole: bool


def lately(tenant: str | None, now: datetime, hours: int) -> Call[Lately]:
    """Ask what became of the messages of the last hours."""
    end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = end - timedelta(hours=hours)
    sql = f"""
        with newest as (
            select d.id, d.shard, d.run_id, d.visit, d.tenant_id, d.created_at, d.status, d.suppression_reason
              from chimeway.deliveries d where d.id >= $1::text::uuid
             order by d.id desc limit {CONSOLE_WINDOW}
        ), late as (
            select n.id, max(extract(epoch from t.at - (t.context ->> 'due_at')::timestamptz)) as late_s
              from (select * from newest x where ($2::text is null or x.tenant_id = $2::text)
                     order by x.id desc limit {CONSOLE_PLAN}) n
              join chimeway.workflow_transitions t on t.run_id = n.run_id and t.shard = n.shard
             where t.reason = 'reactivated_from_wait' and t.visit = n.visit - 1
               and chimeway.is_instant(t.context -> 'due_at')
             group by n.id
        )
        select date_trunc('hour', n.created_at at time zone 'UTC') at time zone 'UTC' as at,
               count(*) filter (where n.status = 'succeeded') as succeeded,
               count(*) filter (where n.suppression_reason in {_FAILED} or n.status = 'failed') as failed,
               count(*) as planned, max(l.late_s) as late_s
          from newest n left join late l on l.id = n.id
         where ($2::text is null or n.tenant_id = $2::text)
         group by 1 order by 1"""
    full = (
        "select count(*) as n from (select from chimeway.deliveries d where d.id >= $1::text::uuid "
        f"limit {CONSOLE_WINDOW}) q"
    )
    floor = least_id(start)

    def read(found: Answers) -> Lately:
        known = {rows.moment(row["at"]): row for row in found[0]}
        each = (start + timedelta(hours=n) for n in range(hours))
        return Lately(tuple(_hour(at, known.get(at)) for at in each), int(found[1][0]["n"]) < CONSOLE_WINDOW)

    return Call((statement(sql, floor, tenant), statement(full, floor)), read)


def _hour(at: datetime, row: Row | None) -> Hour:
    if row is None:
        return Hour(at, 0, 0, 0, None)
    good, bad, late = int(row["succeeded"]), int(row["failed"]), row["late_s"]
    return Hour(
        at, good, bad, int(row["planned"]) - good - bad, None if late is None else max(0.0, float(late))
    )


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many of the newest runs of a workflow's version have entered each step, and how they stand."""

    runs: int
    entered: Mapping[str, int]
    states: Mapping[str, int]


def funnel(tenant: str | None, key: str, version: int) -> Call[Funnel]:
    """Ask how far the newest runs of a version came."""
    newest = f"""
        select r.id, r.shard, r.state from (
            select x.* from chimeway.workflow_runs x order by x.id desc limit {CONSOLE_WINDOW}) r
         where r.workflow_key = $1::text and r.workflow_version = $2::text::int
           and ($3::text is null or r.tenant_id = $3::text)
         order by r.id desc limit {CONSOLE_PLAN}"""
    states = statement(
        f"select q.state, count(*) as n from ({newest}) q group by q.state", key, version, tenant
    )
    steps = statement(
        f"""select t.to_step as step, count(distinct t.run_id) as n from ({newest}) q
              join chimeway.workflow_transitions t on t.run_id = q.id and t.shard = q.shard
             where t.reason = 'step_activated' group by t.to_step""",
        key, version, tenant,
    )  # fmt: skip

    def read(found: Answers) -> Funnel:
        by_state = {row["state"]: int(row["n"]) for row in found[0]}
        entered = {row["step"]: int(row["n"]) for row in found[1]}
        return Funnel(sum(by_state.values()), entered, by_state)

    return Call((states, steps), read)


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that failed: it is tried again at `next_attempt_at`, or (None) never."""

    delivery_id: UUID
    run_id: UUID
    tenant_id: str
    recipient_id: str
    step_id: str
    channel: str
    reason: str
    error_class: str | None
    note: str | None
    attempt_count: int
    next_attempt_at: datetime | None
    terminal_at: datetime | None


_FAILURE: Final = """d.id as delivery_id, d.run_id, d.tenant_id, d.recipient_id, d.step_id, d.channel,
       coalesce(d.suppression_reason, d.status) as reason, d.last_error_class as error_class, d.note,
       d.attempt_count, d.next_attempt_at, d.terminal_at"""


def retried(tenant: str | None, channel: str | None, limit: int) -> Call[tuple[Failure, ...]]:
    """Ask for messages that failed and are tried again, the next first: of each shard the first hundred."""
    sql = f"""
        select {_FAILURE} from generate_series(0, 255) s(shard) cross join lateral (
            select x.* from chimeway.deliveries x
             where x.shard = s.shard::smallint and x.next_attempt_at is not null
               and x.waiting_for_node is null
             order by x.next_attempt_at, x.id limit 100) d
         where d.status = 'failed' and ($1::text is null or d.tenant_id = $1::text)
           and ($2::text is null or d.channel = $2::text)
         order by d.next_attempt_at, d.id limit $3::text::int"""
    return one(statement(sql, tenant, channel, limit), _failures)


def given_up(tenant: str | None, channel: str | None, limit: int) -> Call[tuple[Failure, ...]]:
    """Ask for messages that failed for good, the newest first, among the newest of all."""
    sql = f"""
        select {_FAILURE} from (
            select x.* from chimeway.deliveries x order by x.id desc limit {CONSOLE_WINDOW}) d
         where d.suppression_reason in {_FAILED} and ($1::text is null or d.tenant_id = $1::text)
           and ($2::text is null or d.channel = $2::text)
         order by d.id desc limit $3::text::int"""
    return one(statement(sql, tenant, channel, limit), _failures)


def _failures(found: Sequence[Row]) -> tuple[Failure, ...]:
    return tuple(
        Failure(
            **{
                **row,
                "delivery_id": UUID(row["delivery_id"]),
                "run_id": UUID(row["run_id"]),
                "next_attempt_at": rows.instant(row["next_attempt_at"]),
                "terminal_at": rows.instant(row["terminal_at"]),
            }
        )
        for row in found
    )


def channels() -> Call[tuple[str, ...]]:
    """Ask which channels nodes of late have had."""
    sql = "select distinct c as name from chimeway.nodes n cross join lateral unnest(n.channels) c order by c"
    return one(statement(sql), lambda found: tuple(row["name"] for row in found))


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that an operator did: to a run, or to a workflow."""

    at: datetime
    who: str
    action: str
    tenant_id: str | None
    run_id: UUID | None
    workflow_key: str | None
    note: str | None


def deeds(tenant: str | None, limit: int) -> Call[tuple[Deed, ...]]:
    """Ask what operators did lately, the newest first; of one tenant among the newest of all."""
    sql = f"""
        select o.at, o.who, o.action, o.tenant_id, o.run_id, o.workflow_key, o.note from (
            select x.* from chimeway.operator_actions x
             order by x.at desc, x.id desc limit {CONSOLE_WINDOW}) o
         where ($1::text is null or o.tenant_id = $1::text)
         order by o.at desc, o.id desc limit $2::text::int"""

    def read(found: Sequence[Row]) -> tuple[Deed, ...]:
        return tuple(
            Deed(**{**row, "at": rows.moment(row["at"]), "run_id": row["run_id"] and UUID(row["run_id"])})
            for row in found
        )

    return one(statement(sql, tenant, limit), read)
