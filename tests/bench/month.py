"""A month at load, in minutes: do the tables stay flat, also beside a transaction that nobody ends?

Time is made short, not moved: a day is some seconds, what is kept for days is kept for as many of these, and
autovacuum looks every second (PostgreSQL's least), so that it has less time for each row than in life. All
month long journeys begin at a steady rate: four of five are read and stopped, some go on to a channel and
complete, one in fifty waits for five days and goes on. A node decides and sends, its pruner
(`engine.pruner`) removes what is old. Each day ends with a look: sizes of tables and indexes, dead rows, and
from a signal's row to the stop that it brought, by the database's clock.

Played twice: alone, and with a snapshot (`begin isolation level repeatable read`) that is held from day 18 to
day 23. Verified at the end of both.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
from tests.bench.frame import Asked, Stage, own_server
from tests.bench.frame.plots import ticks
from tests.bench.frame.stage import SETTINGS

from chimeway.clock import SystemClock
from chimeway.engine.pruner import Pruner
from chimeway.store.pool import open_database
from chimeway.store.pruning import PARTS, Retention
from chimeway.store.verify import verify

_WORKFLOWS: Final = """
key: read
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: P30D, stop_conditions: [{type: signal_received, signal_type: read}]}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
---
key: waits
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: wait
    action: {type: wait, duration: LONG}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
---
key: told
version: 1
steps:
  - id: in_app
    action: {type: notify, channel: in_app, render_key: plain}
  - id: tell
    action: {type: notify, channel: log, render_key: plain}
"""
_DAYS: Final = 30
_KEPT: Final = {"runs": 7, "signals": 5, "keys": 5, "bodies": 2, "audit": 30}
_PINNED: Final = range(18, 23)
_WAITS_DAYS: Final = 5
_A_SECOND: Final = 200
_WAITING: Final = 500
"""Signals that nobody has routed: beyond it no journeys begin, so that a slow machine is not buried."""
_AT_ONCE: Final = 50
_TOLD: Final = 9
"""Of fifty journeys so many go on to a channel; one waits for days; the others are read."""
_TRIGGER: Final = "select chimeway.trigger_many($1, 'bench', $2::text[], '{}', $3)"
_TRIGGER_EACH: Final = """
    select t.run_id from unnest($1::text[]) u(person)
     cross join lateral chimeway.trigger_many('read', 'bench', array[u.person], '{}', $2 || u.person) t
"""
_UNROUTED: Final = "select count(*) from (select from chimeway.signals where routed_at is null limit 1000) u"
_SIGNAL: Final = "select chimeway.signal('read', 'bench', u) from unnest($1::text[]) u"
_FLAT: Final = _WAITS_DAYS + _KEPT["runs"] + 3
"""The day from which on as much leaves as comes, the longest-lived too, and vacuum has seen it."""
_SIZES: Final = """
    select c.relname as table, pg_table_size(c.oid)::float8 as heap,
           pg_indexes_size(c.oid)::float8 as indexes, s.n_dead_tup as dead
      from pg_class c join pg_stat_user_tables s on s.relid = c.oid
     where c.relnamespace = 'chimeway'::regnamespace and s.n_live_tup + s.n_dead_tup > 1000
     order by c.relname
"""
_LATENCY: Final = """
    select percentile_cont(array[0.5, 0.99]) within group (
               order by 1000 * extract(epoch from t.at - s.created_at)::float8) as ms, count(*) as many
      from chimeway.signals s
     cross join lateral (select b.run_id from chimeway.run_mailbox b where b.signal_id = s.id offset 0) b
     cross join lateral (select x.at from chimeway.workflow_transitions x
                          where x.run_id = b.run_id and x.signal_id = s.id offset 0) t
     where s.id > $1 and s.created_at > $2
"""
_NEWEST: Final = """
    select coalesce((select id from chimeway.signals order by id desc limit 1),
                    '00000000-0000-0000-0000-000000000000')
"""
_MIB: Final = 1024.0 * 1024.0
_DOCS: Final = Path(__file__).parents[2] / "docs" / "benchmarks"

Connection: TypeAlias = "asyncpg.Connection[Any]"


@dataclass(frozen=True, slots=True)
class Day:
    """How a day ended."""

    day: int
    journeys: int
    pruned_runs: int
    heap_mib: float
    index_mib: float
    dead: int
    half_ms: float
    p99_ms: float
    tables: Mapping[str, Mapping[str, float]]


async def bench(seconds: float) -> None:
    """Play both months, a day of each as long as is said; tell them, and write docs/benchmarks/month.*."""
    months = {
        "alone": await _month(seconds, pinned=False),
        "beside an old snapshot": await _month(seconds, pinned=True),
    }
    _DOCS.mkdir(parents=True, exist_ok=True)
    found = {name: [asdict(day) for day in days] for name, days in months.items()}
    about = {"day_s": seconds, "kept_days": _KEPT, "pinned_days": [_PINNED.start, _PINNED.stop]}
    (_DOCS / "month.json").write_text(json.dumps({**about, "months": found}, indent=1) + "\n", "utf-8")
    (_DOCS / "month.svg").write_text("\n".join(_drawn(months)) + "\n", "utf-8")
    (_DOCS / "month.md").write_text("\n".join(_page(months, seconds)) + "\n", "utf-8")


async def _month(day_s: float, *, pinned: bool) -> list[Day]:
    server = own_server((*SETTINGS, "autovacuum_naptime=1s", "autovacuum_max_workers=3"))
    workflows = _WORKFLOWS.replace("LONG", f"PT{_WAITS_DAYS * day_s:.3f}S")
    async with server(Asked()) as stage, stage.daemon(stage.url, workflows, PRUNE="off"):
        days = [day async for day in _days(stage, day_s, pinned=pinned)]
        async with open_database(stage.url) as database:
            violations = await verify(database, max_lateness=timedelta(minutes=5))
        assert violations == [], violations
    return days


async def _days(stage: Stage, day_s: float, *, pinned: bool) -> AsyncIterator[Day]:
    retention = Retention(**{name: timedelta(seconds=days * day_s) for name, days in _KEPT.items()})
    hour = timedelta(seconds=day_s / 24)
    async with open_database(stage.url, for_node=True) as database, _connected(stage.url) as looking:
        pruner = Pruner(database, SystemClock(), retention, overloaded=lambda: False, behind=hour)
        load = asyncio.create_task(_load(stage.url))
        prune = asyncio.create_task(_prune(pruner, day_s))
        old: Connection | None = None
        try:
            for day in range(1, _DAYS + 1):
                if pinned and day == _PINNED.start:
                    old = await asyncpg.connect(stage.url)
                    await old.execute(
                        "begin isolation level repeatable read; select from chimeway.workflow_runs limit 1"
                    )
                if old is not None and day == _PINNED.stop:
                    await old.close()
                    old = None
                since, at = (
                    await looking.fetchval(_NEWEST),
                    await looking.fetchval("select clock_timestamp()"),
                )
                await asyncio.sleep(day_s)
                for task in (load, prune):
                    if task.done():
                        task.result()
                yield await _look(looking, day, since, at)
        finally:
            for task in (load, prune):
                task.cancel()
            await asyncio.gather(load, prune, return_exceptions=True)
            if old is not None:
                await old.close()
        await _come_to_rest(looking)


async def _come_to_rest(looking: Connection) -> None:
    """Wait until nothing is due any more, so that nothing is late when it is verified."""
    async with asyncio.timeout(60):
        due = "select count(*) from chimeway.workflow_runs where wake_at < now()"
        while await looking.fetchval(due):  # noqa: ASYNC110  (the database knows it, and nobody tells)
            await asyncio.sleep(0.2)


async def _load(url: str) -> None:
    """Begin journeys at a steady rate, and read those that are read when the next fifty begin."""
    async with _connected(url) as connection:
        people: list[str] = []
        began, number = time.monotonic(), 0
        while True:
            await connection.fetch(_SIGNAL, people[_TOLD + 1 :])
            people = [f"user_{(number * _AT_ONCE + place) % 20_000}" for place in range(_AT_ONCE)]
            await connection.fetch(_TRIGGER, "told", people[:_TOLD], f"told {number}")
            await connection.fetch(_TRIGGER, "waits", people[_TOLD : _TOLD + 1], None)
            await connection.fetch(_TRIGGER_EACH, people[_TOLD + 1 :], f"read {number} ")
            number += 1
            await asyncio.sleep(began + number * _AT_ONCE / _A_SECOND - time.monotonic())
            while await connection.fetchval(_UNROUTED) > _WAITING:  # noqa: ASYNC110  (the database knows it)
                await asyncio.sleep(0.05)


async def _prune(pruner: Pruner, day_s: float) -> None:
    """Be the pruner of a node, whose minute is as short as the day."""
    while True:
        for part in PARTS:
            await pruner.prune(part)
        await asyncio.sleep(day_s / 20)


async def _look(connection: Connection, day: int, since: Any, at: datetime) -> Day:
    rows = await connection.fetch(_SIZES)
    waited = await connection.fetchrow(_LATENCY, since, at)
    assert waited is not None
    half, late = waited["ms"] or (0.0, 0.0)
    counts = await connection.fetchrow(
        "select n_tup_ins as came, n_tup_del as gone from pg_stat_user_tables where relname = 'workflow_runs'"
    )
    assert counts is not None
    found = Day(
        day, counts["came"], counts["gone"],
        sum(row["heap"] for row in rows) / _MIB, sum(row["indexes"] for row in rows) / _MIB,
        sum(row["dead"] for row in rows), half, late,
        {row["table"]: {"heap_mib": row["heap"] / _MIB, "index_mib": row["indexes"] / _MIB} for row in rows},
    )  # fmt: skip
    print(
        f"day {day:2}: {found.journeys:7,} journeys, {found.pruned_runs:7,} pruned,"
        f" tables {found.heap_mib:6.1f} MiB, indexes {found.index_mib:6.1f} MiB, {found.dead:7,} dead,"
        f" stops after {half:5.1f} / {late:6.1f} ms",
        flush=True,
    )
    return found


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _page(months: Mapping[str, Sequence[Day]], day_s: float) -> Iterator[str]:
    alone, beside = months.values()
    kept = ", ".join(f"{name} {days}" for name, days in _KEPT.items())
    yield "# A month at load: do the tables stay flat?\n"
    yield (
        f"Time is made short: a day is {day_s:g} s, what is kept for days is kept for as many of these (days:"
        f" {kept}), and autovacuum looks every second. {_A_SECOND} journeys a second begin all month"
        f" ({alone[-1].journeys:,} in all): four of five are read and stopped, some go on to a channel, one"
        f" in fifty waits for {_WAITS_DAYS} days and goes on. One node, and its pruner; verified at the end."
        " `python -m tests.bench month` writes this.\n"
    )
    yield "| | tables, MiB | indexes, MiB | dead rows | signal to stop, median | p99 |"
    yield "|---|---|---|---|---|---|"
    for name, days in months.items():
        for day in (_KEPT["runs"], _FLAT, _PINNED.start - 1, _PINNED.stop - 1, _PINNED.stop + 2, _DAYS):
            one = days[day - 1]
            yield (
                f"| {name}, day {day} | {one.heap_mib:.1f} | {one.index_mib:.1f} | {one.dead:,} "
                f"| {one.half_ms:.1f} ms | {one.p99_ms:.1f} ms |"
            )
    grown = _size(alone[-3:]) / _size(alone[_FLAT - 1 : _FLAT + 2]) - 1
    before, held = (
        _size(beside[_FLAT - 1 : _PINNED.start - 1]),
        _size(beside[_PINNED.stop - 2 : _PINNED.stop - 1]),
    )
    yield (
        f"\nFrom days {_FLAT} to {_FLAT + 2} to the last three tables and indexes grew by {100 * grown:.1f} %"
        " alone. Beside a snapshot that was held from the beginning of day"
        f" {_PINNED.start} to that of day {_PINNED.stop} they grew by {100 * (held / before - 1):.0f} %"
        f" while it was held, and by {100 * (_size(beside[-3:]) / held - 1):.1f} % from then to the end:"
        " room that it kept is filled again.\n"
    )
    yield "![Sizes, dead rows and latency by day](month.svg)\n"
    yield "Values by day and table: [month.json](month.json)."


def _size(days: Sequence[Day]) -> float:
    """Return what tables and indexes took on average at the ends of these days."""
    return sum(day.heap_mib + day.index_mib for day in days) / len(days)


_LEFT, _WIDE, _HIGH, _GAP = 70, 620, 130, 62
_STYLE: Final = (
    "svg{--paper:#fff;--ink:#1c2430;--soft:#566273;--line:#d5dae0;--s0:#0b63b5;--s1:#a1264a;--held:#f4e9d8}"
    "@media(prefers-color-scheme:dark){svg{--paper:#14181d;--ink:#e8ecf1;--soft:#a7b2bf;--line:#39424d;--s0:#6db3f2;"
    "--s1:#f08ba8;--held:#3a3226}}text{font:12px ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}"
    ".title{font-size:15px;font-weight:700}.name{font-weight:700}.soft{fill:var(--soft)}.right{text-anchor:end}"
    ".mid{text-anchor:middle}.axis{stroke:var(--line)}"
)


def _drawn(months: Mapping[str, Sequence[Day]]) -> Iterator[str]:
    panels = {
        "tables, MiB": lambda day: day.heap_mib,
        "indexes, MiB": lambda day: day.index_mib,
        "dead rows": lambda day: float(day.dead),
        "signal to stop, p99, ms": lambda day: day.p99_ms,
    }
    wide, high = _LEFT + _WIDE + 30, 60 + len(panels) * (_HIGH + _GAP)
    size = f'width="{wide}" height="{high}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {wide} {high}" role="img">'
    yield f'<title>A month at load, by day</title><style>{_STYLE}</style><rect {size} fill="var(--paper)"/>'
    yield '<text class="title" x="14" y="26">A month at load, by day</text>'
    for place, name in enumerate(months):
        x = 280 + 150 * place
        yield f'<line x1="{x}" x2="{x + 24}" y1="22" y2="22" stroke="var(--s{place})" stroke-width="2"/>'
        yield f'<text x="{x + 30}" y="26">{name}</text>'
    for number, (name, value) in enumerate(panels.items()):
        top = 60 + number * (_HIGH + _GAP)
        scale = ticks(max(value(day) for days in months.values() for day in days))

        def across(day: float) -> float:
            return _LEFT + _WIDE * (day - 1) / (_DAYS - 1)

        def up(found: float, top: int = top, scale: Sequence[float] = scale) -> float:
            return top + _HIGH * (1 - found / scale[-1])

        held = f'x="{across(_PINNED.start - 1):.1f}" width="{_WIDE * len(_PINNED) / (_DAYS - 1):.1f}"'
        yield f'<rect {held} y="{top}" height="{_HIGH}" fill="var(--held)"/>'
        yield f'<text class="name" x="14" y="{top - 10}">{name}</text>'
        for tick in scale:
            y = f"{up(tick):.1f}"
            yield f'<line class="axis" x1="{_LEFT}" x2="{_LEFT + _WIDE}" y1="{y}" y2="{y}"/>'
            yield f'<text class="soft right" x="{_LEFT - 8}" y="{up(tick) + 4:.1f}">{tick:,.0f}</text>'
        for day in range(5, _DAYS + 1, 5):
            yield f'<text class="soft mid" x="{across(day):.1f}" y="{top + _HIGH + 16}">{day}</text>'
        for place, days in enumerate(months.values()):
            points = " ".join(f"{across(day.day):.1f},{up(value(day)):.1f}" for day in days)
            yield f'<polyline points="{points}" fill="none" stroke="var(--s{place})" stroke-width="2"/>'
    yield "</svg>"
