"""What the operators' pages ask: runs by many filters, the waiting room, both in pages. Nothing here writes.

Pure, as `reads`: questions with the reading of their answers. The text of a question is put together of its
conditions, so that each has a plan of its own. Where no index knows of a filter, a page looks through so many
runs at the most (`CONSOLE_WINDOW`) and says where it stopped: a page is quick however many runs there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from chimeway.limits import CONSOLE_COUNTED, CONSOLE_PLAN, CONSOLE_WINDOW, MAX_PAGE
from chimeway.store import cursors, rows, stranded
from chimeway.store.call import Answers, Call, Row, one, statement
from chimeway.store.views import RunView, WaitingRun

Kind: TypeAlias = Literal["overdue", "stuck", "held"]
_RUN: Final = """r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.state, r.step,
       r.visit, r.status_reason, r.status_context, r.pending_signals, r.wake_at, r.held_reason, r.held_at,
       r.waiting_for_node, r.cancellation_key, r.event_id, r.created_at, r.ended_at"""
_WAKES: Final = "coalesce(r.wake_at, '9999-12-31Z'::timestamptz)"
_VERSION: Final = "join laid w on w.key = r.workflow_key and w.version = r.workflow_version"
_NEVER: Final = "9999-12-31T00:00:00+00:00"
_OVERDUE: Final = """r.id in (
        select o.id from generate_series(0, 255) s(shard) cross join lateral (
            select x.id from chimeway.workflow_runs x
             where x.shard = s.shard::smallint and x.wake_at is not null and x.held_reason is null
               and x.waiting_for_node is null and not x.parked
               and x.wake_at < (select chimeway.clock() - {}::interval)
             order by x.wake_at, x.id limit 100) o)
   and not exists (select from chimeway.workflow_definitions p
                    where p.key = r.workflow_key and p.version = r.workflow_version
                      and p.paused_at is not null)"""
_TENANTS: Final = """
        with recursive t(name, n) as (
            (select r.tenant_id, 1 from chimeway.workflow_runs r order by r.tenant_id, r.id limit 1)
            union all
            select (select r.tenant_id from chimeway.workflow_runs r where r.tenant_id > t.name
                     order by r.tenant_id, r.id limit 1), t.n + 1
              from t where t.name is not null and t.n < {}::int)
        select t.name from t where t.name is not null"""
"""Whose runs there are, in the order of their names, by leaps over the index."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are asked for; what is None is not asked. `kind` names what people should look at."""

    tenant: str | None = None
    workflow: str | None = None
    state: str | None = None
    recipient: str | None = None
    step: str | None = None
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class WaitFilter:
    """Which waiting runs are asked for: of a tenant (None: of all), of a workflow, at a step, due before."""

    tenant: str | None
    workflow: str | None = None
    step: str | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, and where to go on; `searched`: so many were looked through, and there are older ones."""

    items: tuple[RunView, ...]
    cursor: UUID | None
    searched: int | None = None


@dataclass(frozen=True, slots=True)
class WaitPage:
    """Waiting runs, who goes on first; `count` is of all that the filter lets through, up to a bound."""

    items: tuple[WaitingRun, ...]
    cursor: str | None
    count: int


@dataclass(slots=True)
class _Asked:
    """Conditions with their arguments."""

    conditions: list[str] = field(default_factory=list)
    args: list[object] = field(default_factory=list)

    def put(self, arg: object) -> str:
        """Take an argument, and return its place."""
        self.args.append(arg)
        return f"${len(self.args)}::text"

    def where(self, condition: str, arg: object) -> None:
        """Take a condition, with the place of its argument for {}; without an argument it is not asked."""
        if arg is not None:
            self.conditions.append(condition.format(self.put(arg)))

    def text(self, lead: str = "where") -> str:
        """Return the conditions as they stand in a statement."""
        return f"{lead} {' and '.join(self.conditions)}" if self.conditions else ""


def list_runs(wanted: RunFilter, cursor: UUID | None, limit: int, lateness: timedelta) -> Call[RunPage]:
    """Ask for a page of runs, the newest first, behind a cursor."""
    indexed, others, laid = _Asked(), _Asked(), ("", "")
    indexed.where("r.tenant_id = {}", wanted.tenant)
    indexed.where("r.id < {}::uuid", cursor)
    others.args = indexed.args  # one list of places
    by_name = wanted.recipient is not None
    match wanted.kind:
        case "held":
            indexed.conditions.append("r.held_reason is not null")
        case "overdue":
            indexed.where(_OVERDUE, lateness)
        case "stuck":
            indexed.conditions.append(stranded.LIVE)
            others.conditions.append(
                f"(r.waiting_for_node is not null or {stranded.ASTRAY} or {stranded.NO_MESSAGE})"
            )
            laid = (f"with {stranded.LAID_OUT}", _VERSION)
        case None:
            pass
    if by_name:
        source = _of_person(wanted, indexed)
    else:
        source = f"select r.* from chimeway.workflow_runs r {indexed.text()} order by r.id desc"
        others.where("r.recipient_id = {}", wanted.recipient)
    others.where("r.state = {}", wanted.state)
    others.where("r.workflow_key = {}", wanted.workflow)
    others.where("r.step = {}", wanted.step)
    window = CONSOLE_WINDOW if wanted.kind != "stuck" else CONSOLE_WINDOW // 2
    most = others.put(limit + 1)
    page = statement(
        f"{laid[0]} select {_RUN} from ({source} limit {window}) r {laid[1]} {others.text()} "
        f"order by r.id desc limit {most}::int",
        *others.args,
    )
    edge = statement(
        f"select q.id from ({source} limit {window}) q offset {window - 1} limit 1",
        *others.args[: len(others.args) - _later(wanted, by_name=by_name)],
    )
    return Call((page, edge), lambda found: _page(found, limit, window), {1: lambda a: len(a[0]) <= limit})


def _later(wanted: RunFilter, *, by_name: bool) -> int:
    """Count the arguments that only the page has, and not the edge of its window: they stand last."""
    given = [wanted.state, wanted.workflow, wanted.step, None if by_name else wanted.recipient]
    return 1 + sum(each is not None for each in given)


def _of_person(wanted: RunFilter, asked: _Asked) -> str:
    """Return the source of one person's runs: his live ones and his ended ones stand in an index each.

    Without a tenant he is looked for in each, which are a thousand at the most.
    """
    who, same = asked.put(wanted.recipient), asked.text("and")
    if wanted.tenant is None:
        named = f"select t.name from ({_TENANTS.format(asked.put(MAX_PAGE))}) t"
    else:
        named = f"select {asked.put(wanted.tenant)} as name"
    parts = ("r.state in ('active','waiting')", "r.ended_at is not null")
    both = " union all ".join(
        f"select r.* from chimeway.workflow_runs r where r.tenant_id = n.name and r.recipient_id = {who} "
        f"and {each} {same}"
        for each in parts
    )
    return f"select r.* from ({named}) n cross join lateral ({both}) r order by r.id desc"


def _page(found: Answers, limit: int, window: int) -> RunPage:
    items = tuple(rows.run(row) for row in found[0][:limit])
    if len(found[0]) > limit:
        return RunPage(items, items[-1].id)
    if found[1]:
        return RunPage(items, UUID(found[1][0]["id"]), window)
    return RunPage(items, None)


def _waits(wanted: WaitFilter) -> _Asked:
    asked = _Asked(["r.state = 'waiting'"])
    asked.where("r.tenant_id = {}", wanted.tenant)
    asked.where("r.workflow_key = {}", wanted.workflow)
    asked.where("r.step = {}", wanted.step)
    asked.where(_WAKES + " <= {}::timestamptz", wanted.before)
    return asked


def list_waiting(wanted: WaitFilter, cursor: str | None, limit: int) -> Call[WaitPage]:
    """Ask for a page of the waiting room, who goes on first, and how many there are.

    Of all tenants it is merged of the first of each, for the index knows the order of one; of a thousand
    tenants at the most.
    """
    counted = _waits(wanted)
    count = statement(
        f"select count(*) as n from (select from chimeway.workflow_runs r {counted.text()} "
        f"limit {CONSOLE_COUNTED + 1}) q",
        *counted.args,
    )
    asked = _waits(wanted)
    if cursor is not None:
        at, run_id = cursors.read(cursor)
        behind = f"({_WAKES}, r.id) > ({asked.put(at)}::timestamptz, {asked.put(run_id)}::uuid)"
        asked.conditions.append(behind)
    room = _first_of_each(asked, limit) if wanted.tenant is None else _first(asked, limit)
    page = statement(
        "select r.id, r.tenant_id, r.recipient_id, r.workflow_key, r.workflow_version, r.step, "
        "r.status_context, r.pending_signals, r.wake_at, r.entered_at, r.held_reason, w.paused_at, "
        "coalesce(p.timezone, r.status_context ->> 'zone', 'UTC') as zone "
        f"from ({room}) r "
        "join chimeway.workflow_definitions w on w.key = r.workflow_key and w.version = r.workflow_version "
        "left join chimeway.recipients p on p.tenant_id = r.tenant_id and p.recipient_id = r.recipient_id "
        f"and p.shard = r.shard order by {_WAKES}, r.id",
        *asked.args,
    )
    read = rows.page(limit, rows.waiting, lambda row: cursors.written(row["wake_at"] or _NEVER, row["id"]))

    def told(found: Answers) -> WaitPage:
        listed = read(found[1])
        return WaitPage(listed.items, listed.cursor, int(found[0][0]["n"]))

    return Call((count, page), told)


def _first(asked: _Asked, limit: int) -> str:
    return (
        f"select r.* from chimeway.workflow_runs r {asked.text()} "
        f"order by {_WAKES}, r.id limit {asked.put(limit + 1)}::int"
    )


def _first_of_each(asked: _Asked, limit: int) -> str:
    asked.conditions.append("r.tenant_id = n.name")
    each, most = _first(asked, limit), asked.put(limit + 1)
    named = _TENANTS.format(asked.put(MAX_PAGE))
    return (
        f"select r.* from (select t.name from ({named}) t) n cross join lateral ({each}) r "
        f"order by {_WAKES}, r.id limit {most}::int"
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs that a plan is about, each as it is now; `more`: there are others that it does not take."""

    run_ids: tuple[UUID, ...]
    revisions: tuple[int, ...]
    more: bool


def choose_waiting(wanted: WaitFilter) -> Call[Chosen]:
    """Ask for the runs of the waiting room that a filter lets through, who goes on first."""
    asked = _waits(wanted)
    sql = (
        f"select r.id, r.revision from chimeway.workflow_runs r {asked.text()} "
        f"order by {_WAKES}, r.id limit {CONSOLE_PLAN + 1}"
    )
    return one(statement(sql, *asked.args), _chosen)


def choose_runs(run_ids: Sequence[UUID]) -> Call[Chosen]:
    """Ask for runs by their ids, in their order; who is not there is left out."""
    sql = (
        "select r.id, r.revision "
        "from jsonb_array_elements_text($1::text::jsonb) with ordinality g(id, place) "
        "join chimeway.workflow_runs r on r.id = g.id::uuid and r.shard = chimeway.shard_of_id(g.id::uuid) "
        "order by g.place"
    )
    return one(statement(sql, list(run_ids)), _chosen)


def choose_overdue(tenant: str | None, lateness: timedelta) -> Call[Chosen]:
    """Ask for the runs that are overdue, the latest first."""
    asked = _Asked()
    asked.where("r.tenant_id = {}", tenant)
    asked.where(_OVERDUE, lateness)
    sql = (
        f"select r.id, r.revision from chimeway.workflow_runs r {asked.text()} "
        f"order by r.wake_at, r.id limit {CONSOLE_PLAN + 1}"
    )
    return one(statement(sql, *asked.args), _chosen)


def _chosen(found: Sequence[Row]) -> Chosen:
    taken = found[:CONSOLE_PLAN]
    ids, revisions = [UUID(row["id"]) for row in taken], [int(row["revision"]) for row in taken]
    return Chosen(tuple(ids), tuple(revisions), len(found) > CONSOLE_PLAN)


def find_runs(ids: Sequence[UUID]) -> Call[tuple[RunView, ...]]:
    """Ask for some runs, in the order of these ids."""
    sql = (
        f"select {_RUN} from jsonb_array_elements_text($1::text::jsonb) with ordinality g(id, place) "
        "join chimeway.workflow_runs r on r.id = g.id::uuid order by g.place"
    )
    return one(statement(sql, list(ids)), lambda found: tuple(rows.run(row) for row in found))


def tenants() -> Call[tuple[str, ...]]:
    """Ask whose runs there are, in the order of their names, the first thousand; by leaps over the index."""
    asked = statement(_TENANTS.format("$1::text"), MAX_PAGE)
    return one(asked, lambda found: tuple(row["name"] for row in found))


def run_named(tenant: str | None, name: str) -> Call[UUID | None]:
    """Ask for the one run that bears a cancellation key, or began by an idempotency key; else None."""
    named = "select $2::text as name"
    if tenant is None:
        named = f"select t.name from ({_TENANTS.format('$2::text')}) t"
    sql = f"""
        select distinct q.id from ({named}) n cross join lateral (
            (select r.id from chimeway.workflow_runs r
              where r.tenant_id = n.name and r.cancellation_key = $1::text limit 2)
            union all
            (select unnest(e.run_ids) from chimeway.events e
              where e.tenant_id = n.name and e.idempotency_key = $1::text
                and e.shard = chimeway.shard_of(n.name, $1::text) limit 2)) q
         limit 2"""

    def read(found: Sequence[Row]) -> UUID | None:
        return UUID(found[0]["id"]) if len(found) == 1 else None

    return one(statement(sql, name, MAX_PAGE if tenant is None else tenant), read)


def workflows() -> Call[tuple[str, ...]]:
    """Ask for the keys of all workflows."""
    sql = "select distinct d.key from chimeway.workflow_definitions d order by d.key"
    return one(statement(sql), lambda found: tuple(row["key"] for row in found))
