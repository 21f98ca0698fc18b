"""The same preferences at both doors: taken and refused alike, and of one first fault."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings

from borders.preference_documents import BAD, GOOD, flawed_documents, good_documents
from chimeway import InvalidInput
from chimeway.progression.policy import parse_preferences
from store.plain_sql import plain

_NEAR = re.compile(r'; did you mean ".*"\?$')


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection."""
    async with plain(database_url) as connection:
        yield connection


def _by_python(document: Any) -> str | None:
    try:
        parse_preferences(document, partial=True)
    except InvalidInput as refusal:
        told: str = refusal.details["faults"][0]
        return _NEAR.sub("", told)
    return None


async def _by_sql(sql: "asyncpg.Connection[Any]", document: Any) -> str | None:
    text = json.dumps(document, ensure_ascii=False)
    try:
        await sql.execute("select chimeway.check_preferences('preferences', $1)", text)
    except asyncpg.PostgresError as refusal:
        if refusal.sqlstate != "CW001":
            raise
        return f"{refusal.args[0].removeprefix('invalid_input: ')}: {refusal.hint}"
    return None


async def test_a_table_of_documents(sql: Any) -> None:
    """Each good one is taken by both, each bad one refused by both, in the same words."""
    for document in GOOD:
        assert _by_python(document) is None
        assert await _by_sql(sql, document) is None
    for document in BAD:
        told = _by_python(document)
        assert told is not None, document
        assert await _by_sql(sql, document) == told, document


async def test_any_document(sql: Any) -> None:
    """Documents that are nearly right, or not at all: the same answer in the same words."""
    found: list[Any] = []

    @settings(max_examples=250, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(good_documents | flawed_documents)
    def collect(document: Any) -> None:
        found.append(document)

    collect()
    answers = [_by_python(document) for document in found]
    for document, told in zip(found, answers, strict=True):
        assert await _by_sql(sql, document) == told, document
    assert 30 < answers.count(None) < len(found) - 30
