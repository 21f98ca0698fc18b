"""The database's refusals in the client's words; faulty arguments are the affair of tests/borders."""

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


async def test_a_field_that_only_the_database_can_judge_is_named(chimeway: Chimeway) -> None:
    """What is wrong by the database's clock alone, or with what is there already, has its field, too."""
    await chimeway.register(mention())
    with pytest.raises(InvalidInput, match=r"^invalid_input: at is 2") as late:
        await chimeway.trigger(
            "mention_escalation", DATA, recipients="a", at=datetime(2999, 1, 1, tzinfo=UTC)
        )
    assert late.value.details["field"] == "at"
    await chimeway.identify("a", data={"one": "x" * 60_000})
    with pytest.raises(InvalidInput, match="would be") as long:
        await chimeway.identify("a", data={"two": "x" * 60_000})
    assert long.value.details["field"] == "profile.data"


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
