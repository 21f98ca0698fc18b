"""Exporting: everything that is held about a person, nothing of anybody else's, whole or in pages."""

import json
from typing import Any

import pytest

from chimeway import Chimeway, InvalidInput, SchemaMismatch
from chimeway.store import forgetting
from chimeway.store.pool import Database
from kit.bare import bare_database
from store.forgetting import Connection, again
from store.plain_sql import deliver, plain, put_into_inbox, register, trigger
from store.verify_world import World, played

EXPORT = "select * from chimeway.export_recipient('default', $1, $2, $3, $4)"


async def _pages(connection: Connection, person: str, part: str, size: int) -> list[Any]:
    """Return the documents of a part, page by page."""
    found: list[Any] = []
    after = None
    while rows := await connection.fetch(EXPORT, person, part, after, size):
        assert len(rows) <= size
        found += [row["document"] for row in rows]
        after = rows[-1]["place"]
    return found


async def test_all_of_a_life_is_there(clock_database: Database) -> None:
    """Profile, runs with their audit, messages, attempts, feedback, mailbox, event, and signals."""
    world: World = await played(clock_database)
    await world.sql(
        'select chimeway.identify(\'default\', \'sender\', \'{"email": "s@example.org", "data": {"n": 1}}\')'
    )
    await world.sql(
        """select chimeway.record_feedback('s', jsonb_build_array(jsonb_build_object(
               'id', '1', 'type', 'deferred', 'detail', 'full', 'delivery_id', $1::text)))""",
        str(await world.delivery("sender")),
    )
    documents = [document async for document in Chimeway(clock_database).export("sender")]
    profile, run, signal = documents
    assert [document["part"] for document in documents] == ["recipient", "run", "signal"]
    assert profile["profile"]["addresses"] == {"email": "s@example.org"}
    assert profile["profile"]["data"] == {"n": 1}
    assert run["event"]["data"] == {"document": 7}
    assert run["event"]["idempotency_key"] == "sender"
    assert run["state"] == "completed"
    assert [row["reason"] for row in run["transitions"]][:2] == ["workflow_started", "step_activated"]
    in_app, email = run["deliveries"]
    assert (in_app["inbox_item"]["subject"], in_app["attempts"]) == ("s", [])
    assert (email["address"], email["message"], email["inbox_item"]) == (
        "a@example.org",
        {"subject": "s"},
        None,
    )
    assert [attempt["outcome"] for attempt in email["attempts"]] == ["succeeded"]
    assert [told["detail"] for told in email["feedback"]] == ["full"]
    assert (signal["type"], signal["payload"]) == ("read", {"document": 7})
    assert all(at.endswith("+00:00") for at in (run["created_at"], signal["created_at"])), "in UTC"
    assert "reader" not in json.dumps(documents)


async def test_pages_are_the_whole(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document once, whatever the size of a page, of live and ended runs; by SQL, and by the client."""
    async with plain(database_url) as connection:
        await register(connection)
        for number in range(5):
            run = await trigger(connection)
            await put_into_inbox(connection, run)
            await deliver(connection, run, visit=2)
            await connection.execute("select chimeway.signal('s', 'default', 'ada')")
            if number % 2:
                await connection.execute("select * from chimeway.cancel(run_id => $1)", run)
        whole = await connection.fetch("select * from chimeway.export_recipient(recipient_id => 'ada')")
        for part, parts in (("run", 5), ("signal", 5)):
            all_ = [row["document"] for row in whole if row["part_of"] == part]
            assert len(all_) == parts
            for size in (1, 2, 5, 6):
                assert await _pages(connection, "ada", part, size) == all_
    monkeypatch.setattr(forgetting, "EXPORTED_AT_ONCE", 2)
    async with Chimeway.connect(database_url) as client:
        found = [{**document} async for document in client.export("ada")]
    parts_ = [document.pop("part") for document in found]
    assert parts_ == ["run"] * 5 + ["signal"] * 5
    assert found == [json.loads(row["document"]) for row in whole]


async def test_nobody_else_is_told_of(database_url: str) -> None:
    """Not who was told of the same event, nor the same id in another tenant; nothing of somebody unknown."""
    async with plain(database_url) as connection:
        await register(connection)
        await again(connection, "ada", "bob", key="both")
        await trigger(connection, tenant_id="other", data='{"other": 1}')
        text = " ".join(row["document"] for row in await connection.fetch(EXPORT, "ada", None, None, None))
        assert '"both"' in text
        assert "bob" not in text
        assert "other" not in text
        assert await connection.fetch(EXPORT, "eve", None, None, None) == []


async def test_who_is_meant_is_looked_at_when_it_is_asked(database: Database) -> None:
    """A bad id, or a connection of a wrong kind, is refused by the call, not by the first document."""
    with pytest.raises(InvalidInput):
        Chimeway(database).export("")
    with pytest.raises(TypeError):
        Chimeway(database).export("ada", connection=7)


async def test_on_the_schema_before_it_says_what_is_missing(server_url: str) -> None:
    """Nothing half: the migration is asked for."""
    async with bare_database(server_url, version=3) as url, Chimeway.connect(url) as client:
        with pytest.raises(SchemaMismatch, match="no chimeway schema that fits") as caught:
            await client.forget("ada")
        assert "chimeway db migrate" in str(caught.value.details["hint"])
        with pytest.raises(SchemaMismatch):
            [document async for document in client.export("ada")]
