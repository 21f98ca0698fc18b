"""The same verbs through both clients: compared answer by answer, error by error and row by row."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import chimeway.sync
from chimeway import Chimeway, Inbox, Signal, Trigger
from chimeway.testing.databases import lent
from clients.script import Normal, play

TABLES = {
    "workflow_definitions": ("key", "version"),
    "events": ("run_ids",),
    "workflow_runs": ("arrival",),
    "workflow_transitions": ("run_id", "seq"),
    "deliveries": ("run_id", "visit"),
    "delivery_attempts": ("delivery_id",),
    "delivery_attempt_results": ("delivery_id",),
    "delivery_feedback": ("delivery_id", "event_id"),
    "signals": ("arrival",),
    "run_mailbox": ("run_id", "number"),
    "inbox_items": ("run_id",),
    "recipients": ("tenant_id", "recipient_id"),
    "tenants": ("tenant_id",),
    "nodes": ("id",),
    "shard_owners": ("shard",),
    "leases": ("owner",),
}
"""Each table with columns that order it, by names that the answers have made known."""
_OF_ONE_DATABASE = {"xid", "snapshot"}
"""Numbers of transactions, which are each server's own."""


@pytest.fixture
def second_url() -> Iterator[str]:
    """A second database, equal to the first."""
    with lent(test_clock=False) as url:
        yield url


def _with_loop(url: str) -> list[tuple[str, Any]]:
    with asyncio.Runner() as runner:

        async def asked(verb: str, given: dict[str, Any]) -> Any:
            of: Any = client
            if verb.startswith("inbox."):
                of, verb = client.inbox(given.pop("recipient")), verb.removeprefix("inbox.")
            answer = getattr(of, verb)(**given)
            return [each async for each in answer] if inspect.isasyncgen(answer) else await answer

        opening = Chimeway.connect(url)
        client = runner.run(opening.__aenter__())
        try:
            return play(lambda verb, **given: runner.run(asked(verb, given)))
        finally:
            runner.run(opening.__aexit__(None, None, None))


def _without(url: str) -> list[tuple[str, Any]]:
    with chimeway.sync.Chimeway.connect(url) as client:

        def asked(verb: str, **given: Any) -> Any:
            of: Any = client
            if verb.startswith("inbox."):
                of, verb = client.inbox(given.pop("recipient")), verb.removeprefix("inbox.")
            answer = getattr(of, verb)(**given)
            return list(answer) if inspect.isgenerator(answer) else answer

        return play(asked)


def _rows(url: str, normal: Normal) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    with psycopg.connect(url, row_factory=dict_row) as sql:
        for table, columns in TABLES.items():
            rows = sql.execute(f"select * from chimeway.{table}").fetchall()
            rows.sort(key=lambda row: [str(normal.of(row[name])) for name in columns])
            found[table] = [_plain(row, normal) for row in rows]
    return found


def _plain(row: dict[str, Any], normal: Normal) -> Any:
    if "data_digest" in row and row["idempotency_key"] is None:
        del row["shard"]  # an event without a key has a shard by chance
    return normal.of({name: value for name, value in row.items() if name not in _OF_ONE_DATABASE})


def test_both_clients_do_and_say_the_same(database_url: str, second_url: str) -> None:
    """Each answer, each error (class, code, message, details) and each row of every table is the same."""
    by_loop, without = _with_loop(database_url), _without(second_url)
    normals = Normal(), Normal()
    assert len(by_loop) == len(without) > 90
    refused = 0
    for (verb, one), (_, other) in zip(by_loop, without, strict=True):
        assert normals[0].of(one) == normals[1].of(other), verb
        refused += isinstance(one, tuple) and isinstance(next(iter(one), None), type)
    assert refused >= 55
    rows = _rows(database_url, normals[0]), _rows(second_url, normals[1])
    for table in TABLES:
        assert rows[0][table] == rows[1][table], table
    filled = {table for table, found in rows[0].items() if found}
    assert {"events", "workflow_runs", "workflow_transitions", "signals", "recipients"} <= filled


def _shape(name: str, verb: Any) -> object:
    """Return what must be equal in both; these two return what is awaited there, and what blocks here."""
    shape = inspect.signature(verb)
    return shape.parameters if name in ("changes", "export") else shape


def test_both_clients_offer_the_same() -> None:
    """Each verb has the same parameters, defaults and types in both, and a docstring that lists them."""
    pairs: list[tuple[type, type]] = [
        (Chimeway, chimeway.sync.Chimeway),
        (Inbox, chimeway.sync.Inbox),
        (Signal, chimeway.sync.Signal),
        (Trigger, chimeway.sync.Trigger),
    ]
    for one, other in pairs:
        names = {name for name in dir(one) if not name.startswith("_")} - {"connect", "database"}
        assert names <= set(dir(other)), one
        for name in names:
            ours, theirs = getattr(one, name), getattr(other, name)
            if not callable(ours) or name in ("for_tenant", "inbox"):
                continue
            assert _shape(name, ours) == _shape(name, theirs), name
            assert ours.__doc__, name
            assert theirs.__doc__, name
