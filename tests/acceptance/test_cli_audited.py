"""What is done by the command line stands in the audit, as what is done on the pages and by HTTP does."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chimeway.store import restoring
from chimeway.store.pool import Database
from kit.command import inside
from kit.logins import as_role, logins
from store.door import Door, opened

WROTE = """
select coalesce(jsonb_agg(jsonb_build_array(o.action, o.tenant_id, o.workflow_key, o.note)), '[]')
  from chimeway.operator_actions o where o.who like '%_ (command line)' and o.token_id is null"""

DECIDED = """
select o.action, d.recipient_id, d.id
  from chimeway.operator_actions o
  join chimeway.restored_deliveries h
    on h.delivery_id = o.delivery_id and h.decided_by = o.who and h.decided_at = o.at
  join chimeway.deliveries d on d.id = o.delivery_id and d.run_id = o.run_id and d.tenant_id = o.tenant_id"""


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """One who waits."""
    world = await opened(clock_database)
    await world.start("ada")
    return world


async def _wrote(world: Door) -> list[Any]:
    found = await world.sql(WROTE)
    return list(json.loads(found) if isinstance(found, str) else found)


@pytest.mark.parametrize("by", ["id", "key"])
async def test_each_deed_is_written_down_and_nothing_that_was_refused(world: Door, by: str) -> None:
    """Once each, with its note."""
    url, ada = world.database.url, str(world.runs["ada"])
    await world.sql("update chimeway.workflow_runs set cancellation_key = 'doc'")
    cancel = (ada,) if by == "id" else ("--cancellation-key", "doc")
    expected = list[list[str | None]]()
    for words, code, wrote in (
        (("hold", ada, "--note", "legal"), 0, ["hold", "default", None, "legal"]),
        (("hold", ada), 3, None),
        (("resume", ada), 0, ["resume", "default", None, None]),
        (("resume", ada), 3, None),
        (("workflow", "pause", "escalation", "--note", "typo"), 0, ["pause", None, "escalation", "typo"]),
        (("workflow", "resume", "escalation"), 0, ["unpause", None, "escalation", None]),
        (("workflow", "pause", "nothing"), 3, None),
        (("workflow", "activate", "escalation", "1"), 0, ["activate", None, "escalation", None]),
        (("workflow", "activate", "escalation", "7"), 3, None),
        (("cancel", *cancel, "--note", "gone"), 0, ["cancel", "default", None, "gone"]),
        (("cancel", *cancel), 0, None),
    ):
        told = await inside(*words, url=url)
        assert told.code == code, told.err
        expected += [wrote] if wrote else []
        assert sorted(await _wrote(world), key=str) == sorted(expected, key=str), words


async def test_what_is_decided_after_a_restore_is_written_down(world: Door) -> None:
    """Of each message by whom, and nothing of one that was decided about before or that was never held."""
    url = world.database.url
    for recipient in ("bob", "eve", "joe"):
        await world.to_email(recipient)
    await restoring.begin(world.database, await world.sql("select chimeway.clock()"), "node")
    bob, eve, joe = [str(await world.delivery(each)) for each in ("bob", "eve", "joe")]
    expected = list[tuple[str, str, str]]()
    for words, code, wrote in (
        (("release", bob), 0, [("release", "bob", bob)]),
        (("release", bob), 3, []),
        (("drop", bob, joe), 3, [("drop", "joe", joe)]),
        (("drop", str(world.runs["ada"])), 3, []),
        (("drop", "--all"), 3, []),  # nobody says yes
        (("drop", "--all", "--yes"), 0, [("drop", "eve", eve)]),
        (("release", "--all"), 0, []),
    ):
        told = await inside("deliveries", *words, url=url)
        assert told.code == code, told.err
        expected += wrote
        rows = await world.all(DECIDED)
        assert sorted((r["action"], r["recipient_id"], str(r["id"])) for r in rows) == sorted(expected), words
    told = await inside("explain", str(world.runs["joe"]), url=url)
    assert "(command line) dropped it at" in told.out, told.out


async def test_what_was_new_is_written_down_once(world: Door, tmp_path: Path) -> None:
    """Of a file with a workflow that is known and one that is not; and of a file that is refused none."""
    new, taken = tmp_path / "new.yaml", tmp_path / "taken.yaml"
    step = "{{id: a, action: {{type: notify, channel: log, render_key: {}}}}}"
    one = f"key: {{}}\nversion: 1\nsteps: [{step}]\n---\n"
    new.write_text(one.format("first", "plain") + one.format("second", "plain"))
    taken.write_text(one.format("first", "other") + one.format("third", "plain"))
    expected = [["register", None, "first", None], ["register", None, "second", None]]
    for path, code in ((new, 0), (new, 0), (taken, 3)):
        told = await inside("workflow", "register", str(path), url=world.database.url)
        assert (told.code, sorted(await _wrote(world), key=str)) == (code, expected), told.err


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def test_an_operator_decides_what_a_restore_held_back(world: Door, names: Mapping[str, str]) -> None:
    """And writes it down; a reader looks, and may not decide."""
    await world.sql("select chimeway.grant_roles()")
    await world.to_email("bob")
    await restoring.begin(world.database, await world.sql("select chimeway.clock()"), "node")
    bob, url = str(await world.delivery("bob")), world.database.url
    told = await inside("deliveries", "release", bob, url=as_role(url, names["reader"]))
    assert (told.code, await _wrote(world)) == (3, []), told.err
    told = await inside("deliveries", "release", bob, url=as_role(url, names["operator"]))
    assert (told.code, await _wrote(world)) == (0, [["release", "default", None, None]]), told.err
    told = await inside("explain", str(world.runs["bob"]), url=as_role(url, names["reader"]))
    assert "(command line) released it at" in told.out, told.out + told.err


async def test_roles_do_what_they_may_as_before(world: Door, names: Mapping[str, str]) -> None:
    """An operator writes down what he does; a producer cancels, and has no right to write it down."""
    await world.sql("select chimeway.grant_roles()")
    ada, url = str(world.runs["ada"]), world.database.url
    told = await inside("hold", ada, url=as_role(url, names["operator"]))
    assert (told.code, await _wrote(world)) == (0, [["hold", "default", None, None]]), told.err
    told = await inside("cancel", ada, url=as_role(url, names["producer"]))
    assert (told.code, len(await _wrote(world))) == (0, 1), told.err


@pytest.mark.parametrize("role", ["operator", "daemon"])
async def test_nobody_dates_what_he_did(world: Door, names: Mapping[str, str], role: str) -> None:
    """When it was is the database's to say, to whomever may write there; so nobody hides in the past."""
    await world.sql("select chimeway.grant_roles()")
    insert = "insert into chimeway.operator_actions (who, action{}) values ('ada', 'cancel'{}) returning who"
    connection = await asyncpg.connect(as_role(world.database.url, names[role]))
    try:
        assert await connection.fetchval(insert.format("", "")) == "ada"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(insert.format(", at", ", '-infinity'"))
    finally:
        await connection.close()
