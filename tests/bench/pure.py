"""What a decision costs in Python alone: microseconds of CPU, part by part, on rows that a PostgreSQL gave.

Three decisions of the journey that other benches play: its activation (an item in the inbox, and the wait
entered), its stop by a signal, and the end of its wait (a message on the `log` channel planned). Each is
timed from the row to the arrays of the ledger. The database answers before the clock runs: what it and its
driver cost is measured elsewhere.
"""

import cProfile
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from tests.bench import place

from chimeway.engine.courier import Courier
from chimeway.progression.decide import decide
from chimeway.progression.decision import Decision
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from chimeway.store import runs, schema
from chimeway.store.catalogue import Catalogue
from chimeway.store.definitions import register
from chimeway.store.json_texts import json_of, text_of
from chimeway.store.ledger import Entry, arrays_of, commit_decisions, entry_for
from chimeway.store.pool import Database, open_database
from chimeway.store.queries import SQL
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

_BATCH = 100
_JOURNEY = {
    "key": "bench",
    "version": 1,
    "steps": [
        {"id": "in_app", "action": {"type": "notify", "channel": "in_app", "render_key": "plain"}},
        {"id": "wait", "action": {"type": "wait", "duration": "PT2H",
                                  "stop_conditions": [{"type": "signal_received", "signal_type": "read"}]}},
        {"id": "tell", "action": {"type": "notify", "channel": "log", "render_key": "plain"}},
    ],
}  # fmt: skip
_TEMPLATE = """{% block subject %}Hello {{ recipient.id }}{% endblock %}
{% block body %}You were mentioned{% endblock %}"""


@dataclass(frozen=True)
class Recorded:
    """One row as `load_runs` gave it, its JSON as text, and the time at which it is decided about."""

    name: str
    row: Any
    json: Sequence[str]
    at: datetime


async def bench(seconds: float) -> None:
    """Record the rows, and print what each part of deciding about them costs."""
    print(f"pure: microseconds of CPU for each decision, the least of rounds of {_BATCH}")
    renderers = Renderers(templates=Templates({"plain.in_app.j2": _TEMPLATE}))
    definition = parse(_JOURNEY)
    with place.server() as url:
        recorded = await _recorded(url, definition, renderers)
    parts = ("json in", "row", "decide", "entry", "arrays", "json out", "sum")
    print(f"  {'':<12}" + "".join(f"{part:>9}" for part in parts))
    total = 0.0
    for one in recorded:
        spent = _measured(one, definition, renderers, seconds / len(recorded) / 6)
        print(f"  {one.name:<12}" + "".join(f"{each:9.1f}" for each in (*spent, sum(spent))))
        total += sum(spent)
    print(f"  a journey with either end: {total:.1f}")
    if "PROFILE" in os.environ:
        _profiled(recorded, definition, renderers)


async def _recorded(url: str, definition: Definition, renderers: Renderers) -> list[Recorded]:
    """Play two runs up to the rows that are looked for, by the ledger itself."""
    async with open_database(url) as database:
        await schema.install(database)
        await register(database, definition)
        catalogue = Catalogue(database)
        found = await _sql(
            database,
            "select run_id from chimeway.trigger_many('bench', 'bench', array['ada', 'bob'], $1)",
            {"document": 7, "title": "Plan"},
        )
        ids = [row["run_id"] for row in found]
        begun = await _row(database, "activation", ids[0], timedelta(0))
        for loaded in await runs.load_runs(database, catalogue, ids):
            assert loaded is not None
            decision, courier = _decided(loaded, begun.at, renderers)
            entry = entry_for(loaded.id, decision, courier.messages, loaded.policy)
            assert await commit_decisions(database, None, [entry]) == ["applied"]
        await _sql(database, "select chimeway.signal('read', 'bench', 'ada')")
        await _sql(database, "select * from chimeway.route_signals(100, 100)")
        read = await _row(database, "stop", ids[0], timedelta(minutes=5))
        return [begun, read, await _row(database, "wait over", ids[1], timedelta(hours=3))]


async def _sql(database: Database, text: str, *args: Any) -> list[Any]:
    async with database.acquire() as connection:
        return await connection.fetch(text, *args)


async def _row(database: Database, name: str, run_id: Any, later: timedelta) -> Recorded:
    statement = SQL["load_runs"]
    async with database.acquire() as connection:
        (row,) = await connection.fetch(statement, [run_id])
        for kind in ("json", "jsonb"):
            await connection.reset_type_codec(kind, schema="pg_catalog")
        (text,) = await connection.fetch(statement, [run_id])
        connection.terminate()
    values = [value for one, value in zip(row.values(), text.values(), strict=True) if one != value]
    texts = [one for value in values for one in ([value] if isinstance(value, str) else value)]
    return Recorded(name, row, texts, datetime.now(UTC) + later)


def _moments(one: Recorded) -> Iterator[datetime]:
    """Return the times of one decision after the other: no two that follow each other are the same."""
    return cycle([one.at + timedelta(microseconds=each) for each in range(50 * _BATCH)])


def _decided(loaded: runs.Loaded, at: datetime, renderers: Renderers) -> tuple[Decision, Courier]:
    courier = Courier(loaded, at, renderers, frozenset({"log"}))
    assert loaded.snapshot is not None
    decision = decide(loaded.snapshot, at, courier)
    assert isinstance(decision, Decision), decision
    return decision, courier


def _measured(one: Recorded, definition: Definition, renderers: Renderers, seconds: float) -> list[float]:
    """Time each part by itself."""
    loaded = runs.loaded_of(one.row, definition, policy=True)
    decision, courier = _decided(loaded, one.at, renderers)
    at = _moments(one)
    entries = [_entry(loaded, decision, courier) for _ in range(_BATCH)]
    out = [
        value for column in arrays_of(entries[:1], policy=True) for value in column if isinstance(value, dict)
    ]
    return [
        _least(lambda: [json_of(text) for text in one.json for _ in range(_BATCH)], seconds),
        _least(lambda: [runs.loaded_of(one.row, definition, policy=True) for _ in range(_BATCH)], seconds),
        _least(lambda: [_decided(loaded, next(at), renderers) for _ in range(_BATCH)], seconds),
        _least(lambda: [_entry(loaded, decision, courier) for _ in range(_BATCH)], seconds),
        _least(lambda: arrays_of(entries, policy=True), seconds),
        _least(lambda: [text_of(value) for value in out for _ in range(_BATCH)], seconds),
    ]


def _entry(loaded: runs.Loaded, decision: Decision, courier: Courier) -> Entry:
    return entry_for(loaded.id, decision, courier.messages, loaded.policy)


def _least(work: Callable[[], object], seconds: float) -> float:
    """Return the microseconds of CPU for one of a batch, in the best of all rounds."""
    best, spent = float("inf"), 0.0
    while spent < seconds:
        began = time.thread_time()
        work()
        took = time.thread_time() - began
        best, spent = min(best, took), spent + took
    return best / _BATCH * 1e6


def _profiled(recorded: Sequence[Recorded], definition: Definition, renderers: Renderers) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for one in recorded:
        entries = []
        for _ in range(2_000):
            loaded = runs.loaded_of(one.row, definition, policy=True)
            decision, courier = _decided(loaded, one.at, renderers)
            entries.append(_entry(loaded, decision, courier))
        arrays_of(entries, policy=True)
    profile.disable()
    profile.print_stats("tottime")
