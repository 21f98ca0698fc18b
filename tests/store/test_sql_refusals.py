"""What producers' functions do not let in: what other programs could not read, and starts that never come."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from chimeway import Chimeway, InvalidInput
from chimeway.limits import MAX_JSON_DEPTH
from chimeway.progression.decision import Noop
from chimeway.store.pool import Database
from store.door import Door, opened
from store.mention import mention
from store.plain_sql import contents, plain, refused, register

CALLS = {
    "trigger": "select chimeway.trigger('mention_escalation', recipient_id => 'ada', data => $1)",
    "signal": "select chimeway.signal('read', actor_id => 'ada', payload => $1)",
    "identify": "select chimeway.identify('default', 'ada', $1)",
}


def _nested(levels: int, innermost: str = "{}") -> str:
    """Return so many objects and lists, one in another; the outermost is an object."""
    text = innermost
    for level in range(levels - 1, 0, -1):
        text = f'{{"x": {text}}}' if level % 2 else f"[{text}]"
    return text


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection on a database where MENTION is registered."""
    async with plain(database_url) as connection:
        await register(connection)
        yield connection


def _as_input(verb: str, text: str) -> str:
    """Put JSON where the verb takes it: a profile has keys of its own, and costs one level."""
    return f'{{"data": {text}}}' if verb == "identify" else text


@pytest.mark.parametrize("verb", CALLS)
async def test_what_is_nested_too_deep_is_refused(sql: "asyncpg.Connection[Any]", verb: str) -> None:
    """64 levels of objects and lists are taken, 65 refused, and nothing of them is written."""
    within = 1 if verb == "identify" else 0
    await sql.fetch(CALLS[verb], _as_input(verb, _nested(MAX_JSON_DEPTH - within)))
    before = await contents(sql)
    error = await refused(sql, CALLS[verb], _as_input(verb, _nested(MAX_JSON_DEPTH + 1 - within)))
    assert (error.sqlstate, "more than 64 levels deep" in str(error)) == ("CW001", True)
    assert "flatten" in (error.hint or "")
    assert await contents(sql) == before


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("number", ["7" * 5000, "-1e5000", "1e-5000", "0." + "3" * 5000])
async def test_a_number_of_thousands_of_digits_is_refused(
    sql: "asyncpg.Connection[Any]", verb: str, number: str
) -> None:
    """A number that fits no double precision is refused, wherever it stands; the same as text is taken."""
    before = await contents(sql)
    error = await refused(sql, CALLS[verb], _as_input(verb, f'{{"a": ["text \\" {{", {number}]}}'))
    assert (error.sqlstate, "300 digits" in str(error)) == ("CW001", True)
    assert "as text" in (error.hint or "")
    assert await contents(sql) == before
    await sql.fetch(CALLS[verb], _as_input(verb, json.dumps({"a": ['text " {', "7" * 5000]})))


SCALARS = "the database counts the value in the 64th object as a 65th level; the client does not"


@pytest.mark.parametrize("leaf", ["{}", "7"])
async def test_client_and_database_count_levels_alike(database_url: str, leaf: str) -> None:
    """What the client lets through the database takes, too: a refusal there would end a lent transaction."""
    async with Chimeway.connect(database_url) as client:
        for levels in (MAX_JSON_DEPTH - 1, MAX_JSON_DEPTH, MAX_JSON_DEPTH + 1):
            payload = json.loads(_nested(levels) if leaf == "{}" else _nested(levels + 1, leaf))
            if levels <= MAX_JSON_DEPTH:
                assert await client.signal("read", actor="ada", payload=payload)
            else:
                with pytest.raises(InvalidInput, match="nested too deep"):
                    await client.signal("read", actor="ada", payload=payload)


@pytest.mark.parametrize("at", ["infinity", "-infinity", "2400-01-01T00:00:00Z"])
async def test_a_start_that_never_comes_is_refused(sql: "asyncpg.Connection[Any]", at: str) -> None:
    """A start at no instant, or more than ten years ahead, is refused, and no run is written."""
    before = await contents(sql)
    call = "select chimeway.trigger('mention_escalation', recipient_id => 'ada', at => $1::text::timestamptz)"
    error = await refused(sql, call, at)
    assert (error.sqlstate, "at is " in str(error)) == ("CW001", True)
    assert "ten years" in (error.hint or "")
    assert await contents(sql) == before


async def test_the_client_refuses_a_start_too_far_ahead(database_url: str) -> None:
    """The database's refusal of a start comes as our error."""
    async with Chimeway.connect(database_url) as client:
        with pytest.raises(InvalidInput, match="at is"):
            await client.trigger(
                mention(), {"document_id": "d"}, recipients="ada", at=datetime.now(UTC) + timedelta(days=4000)
            )


@pytest.fixture
async def later(clock_database: Database) -> Door:
    """Ada's run, which begins in one hour."""
    world = await opened(clock_database)
    world.runs["ada"] = await world.sql(
        """select chimeway.trigger('escalation', recipient_id => 'ada', data => '{"document": 7}',
                                   at => chimeway.clock() + interval '1 hour')"""
    )
    return world


async def test_a_signal_does_not_begin_a_later_start(later: Door) -> None:
    """A run that begins in an hour hears what is said before, begins at its time, and not sooner."""
    assert await later.progress("ada") == Noop("wait_not_due")
    await later.say("ada", "read")
    assert await later.progress("ada") == Noop("wait_not_due")
    run = await later.row("ada")
    assert (run["state"], run["visit"], run["mailbox_count"]) == ("active", 0, 1)
    await later.pass_time(0.999)
    assert await later.progress("ada") == Noop("wait_not_due")
    await later.pass_time(0.001)
    await later.progress("ada")
    assert await later.reasons("ada") == [
        "workflow_started", "step_activated", "progressed_on_delivery_outcome", "step_activated",
        "waiting_for_step_progression", "signal_received", "workflow_stopped",
    ]  # fmt: skip
    assert [row["channel"] for row in await later.deliveries("ada")] == ["in_app"]


async def test_a_later_start_is_stopped_before_it(later: Door) -> None:
    """What stops the whole workflow stops a run that has not begun yet: no step is entered, ever."""
    await later.say("ada", "halt")
    await later.progress("ada")
    run = await later.row("ada")
    assert (run["state"], run["step"], run["wake_at"]) == ("stopped", None, None)
    assert await later.reasons("ada") == ["workflow_started", "signal_received", "workflow_stopped"]
    await later.pass_time(2)
    assert await later.progress("ada") == Noop("run_not_active")
    assert await later.deliveries("ada") == []
