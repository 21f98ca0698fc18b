"""What the client refuses: faulty arguments before any SQL, the database's refusals in our words."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from chimeway import (
    Chimeway,
    ChimewayError,
    DatabaseUnavailable,
    IdempotencyConflict,
    InvalidDataReference,
    InvalidDefinition,
    InvalidInput,
    Recipient,
    SchemaMismatch,
    UnknownWorkflow,
    WorkflowDefinitionVersionConflict,
    WorkflowRunNotFound,
)
from store.mention import DATA, mention
from store.plain_sql import MENTION, plain


@pytest.fixture
async def chimeway(database_url: str) -> AsyncIterator[Chimeway]:
    """A client on this test's database."""
    async with Chimeway.connect(database_url) as client:
        yield client


BAD_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("trigger", {"workflow": "w", "recipients": []}, "0 recipients"),
    ("trigger", {"workflow": "w"}, "nobody is named"),
    ("trigger", {"workflow": "w", "data": {"actor_id": 7}}, "nobody is named"),
    ("trigger", {"workflow": "w", "recipients": [f"u{n}" for n in range(1001)]}, "1001 recipients"),
    ("trigger", {"workflow": "w", "recipients": ["x" * 256]}, "256 characters"),
    ("trigger", {"workflow": "w", "recipients": ["a\0b"]}, "recipient is no text"),
    ("trigger", {"workflow": "w", "recipients": [7]}, "recipient is a int"),
    ("trigger", {"workflow": "", "recipients": "a"}, "workflow is empty"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": [1]}, "data is a list"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": {"x": datetime.now(UTC)}}, "data is no JSON"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": {"x": float("nan")}}, "data is no JSON"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": {"x": "a\0b"}}, "data is no JSON that"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": {"x": "\ud800"}}, "data is no JSON that"),
    ("trigger", {"workflow": "w", "recipients": "a", "data": {"x": "x" * 70_000}}, "bytes of JSON"),
    ("trigger", {"workflow": "w", "recipients": "a", "at": datetime(2026, 1, 1)}, "at is no instant"),  # noqa: DTZ001
    ("trigger", {"workflow": "w", "recipients": "a", "workflow_version": 0}, "workflow_version is 0"),
    ("trigger", {"workflow": "w", "recipients": "a", "tenant": ""}, "tenant is empty"),
    ("trigger", {"workflow": "w", "recipients": "a", "idempotency_key": ""}, "idempotency_key is empty"),
    ("trigger", {"workflow": "w", "recipients": [Recipient("a", email=7)]}, "email is a int"),  # type: ignore[arg-type]
    ("trigger", {"workflow": "w", "recipients": [Recipient("a", "1"), Recipient("a", "2")]}, "two"),
    ("signal", {"signal_type": "", "actor": "a"}, "signal_type is empty"),
    ("signal", {"signal_type": "t", "actor": "a", "payload": "text"}, "payload is a str"),
    ("identify", {"recipient": ""}, "recipient is empty"),
    ("identify", {"recipient": "a", "data": {"x": {1}}}, "profile is no JSON"),
    ("cancel", {}, "one of run_id and cancellation_key"),
    ("cancel", {"run_id": uuid4(), "cancellation_key": "k"}, "one of run_id"),
    ("cancel", {"run_id": "not-a-uuid"}, "run_id is no UUID"),
    ("cancel", {"run_id": uuid4(), "note": "x" * 1001}, "note is no such text"),
    ("get_run", {"run_id": 7}, "run_id is no UUID"),
    ("list_runs", {"limit": 0}, "limit is 0"),
    ("list_runs", {"limit": 1001}, "limit is 1001"),
    ("list_runs", {"cursor": "nonsense"}, "cursor is none"),
    ("waiting", {"cursor": "bm9uc2Vuc2U"}, "cursor is none"),
]  # fmt: skip


async def test_faulty_arguments_are_named_before_any_sql(chimeway: Chimeway, database_url: str) -> None:
    """Each fault is InvalidInput, and a lent transaction goes on as if nothing had been asked."""
    async with plain(database_url) as sql, sql.transaction():
        for verb, arguments, message in BAD_CALLS:
            lent = {} if verb in ("get_run", "list_runs", "waiting") else {"connection": sql}
            with pytest.raises(InvalidInput) as caught:
                await getattr(chimeway, verb)(**arguments, **lent)
            assert message in str(caught.value), (verb, arguments)
        assert await sql.fetchval("select 1") == 1
    deep: Any = {}
    for _ in range(70):
        deep = {"x": deep}
    with pytest.raises(InvalidInput, match="nested too deep"):
        await chimeway.signal("t", actor="a", payload=deep)


async def test_what_the_database_refuses_carries_our_code(chimeway: Chimeway, database_url: str) -> None:
    """Refusals are our errors with their codes and hints, with and without a lent connection."""
    await chimeway.trigger(mention(), DATA, recipients="a", idempotency_key="k")
    calls: list[tuple[type[ChimewayError], str, dict[str, Any]]] = [
        (UnknownWorkflow, "trigger", {"workflow": "nobody", "recipients": "a"}),
        (InvalidDataReference, "trigger", {"workflow": "mention_escalation", "recipients": "a"}),
        (
            IdempotencyConflict,
            "trigger",
            {"workflow": mention(), "recipients": "b", "data": DATA, "idempotency_key": "k"},
        ),
        (InvalidInput, "identify", {"recipient": "a", "timezone": "Mars/Olympus"}),
        (WorkflowRunNotFound, "cancel", {"run_id": uuid4()}),
        (
            WorkflowDefinitionVersionConflict,
            "trigger",
            {"workflow": mention(description="another"), "recipients": "a", "data": DATA},
        ),
    ]
    async with plain(database_url) as sql:
        for kind, verb, arguments in calls:
            for lent in ({}, {"connection": sql}):
                with pytest.raises(kind) as caught:
                    await getattr(chimeway, verb)(**arguments, **lent)
                assert caught.value.code in str(caught.value)
                assert caught.value.details["hint"]


async def test_faulty_definitions_and_forms_are_refused(chimeway: Chimeway) -> None:
    """A dict with faults is InvalidDefinition; what is no workflow at all is a TypeError with the forms."""
    with pytest.raises(InvalidDefinition):
        await chimeway.trigger({**MENTION, "steps": []}, recipients="a")
    with pytest.raises(TypeError, match=r"wanted a chimeway\.Workflow"):
        await chimeway.trigger(7, recipients="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"wanted a chimeway\.Workflow"):
        await chimeway.trigger_many(7, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://127.0.0.1:1/nothing", DatabaseUnavailable),
        ("postgresql:///x?host=/nowhere/at/all", DatabaseUnavailable),
        ("mysql://127.0.0.1/x", InvalidInput),
    ],
)
async def test_an_unreachable_database_says_so(url: str, kind: type[ChimewayError]) -> None:
    """Nothing answers, or the URL cannot be read: our error, at once."""
    async with asyncio.timeout(20):
        with pytest.raises(kind):
            async with Chimeway.connect(url):
                raise AssertionError("it was reached")


async def test_a_database_without_our_schema_says_so(server_url: str, database_url: str) -> None:
    """A wrong database name, and a database without the schema, are told apart and hinted at."""
    with pytest.raises(DatabaseUnavailable, match="lets nobody in"):
        async with Chimeway.connect(database_url.replace("/chimeway_test_", "/no_such_")):
            raise AssertionError("it was reached")
    async with Chimeway.connect(server_url) as empty:
        for call in (empty.trigger("w", recipients="a"), empty.list_runs(), empty.overdue()):
            with pytest.raises(SchemaMismatch) as caught:
                await call
            assert caught.value.details["hint"] == "install it: chimeway db init"
