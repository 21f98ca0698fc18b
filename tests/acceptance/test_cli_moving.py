"""`wake`, `retime` and `waiting --all-tenants`: counted first, asked about, done once, and written down."""

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta

import pytest

from chimeway.cli import session
from chimeway.limits import MAX_PAGE
from chimeway.store import callers, console
from chimeway.store.console import WaitFilter
from chimeway.store.pool import Database
from kit.command import chimeway, inside
from kit.waiting import wait_for
from store.door import BLOCKED, Door, locked, opened

AUDIT = "select count(*) from chimeway.operator_actions where who like '%(command line)' and token_id is null"


@pytest.fixture
async def world(clock_database: Database) -> Door:
    """Three of one tenant who wait, one of another."""
    world = await opened(clock_database)
    for person in ("ada", "bob", "eve"):
        await world.start(person)
    await world.sql(
        """select chimeway.trigger('escalation', tenant_id => 'other', recipient_id => 'zoe',
                  data => '{"document": 7}')"""
    )
    world.runs["zoe"] = await world.sql("select id from chimeway.workflow_runs where recipient_id = 'zoe'")
    await world.progress("zoe")
    return world


async def test_one_run_is_moved_and_woken_at_once(world: Door) -> None:
    """Its audit says so, and who did it; who waits on purpose is not woken, and that is no success."""
    url, ada = world.database.url, str(world.runs["ada"])
    told = await inside("retime", ada, "--by", "PT3H", "--note", "she is on a plane", url=url)
    assert (told.code, told.out, told.err) == (0, f"{ada}: The wait was moved.\n", "")
    assert (await world.reasons("ada"))[-1] == "wait_retimed"
    told = await inside("wake", ada, url=url)
    assert told.code == 3
    assert told.out.startswith(f"{ada}: It waits on purpose, so there is nothing to wake.")
    assert await world.sql(f"{AUDIT} and action = 'retime' and note = 'she is on a plane'") == 1
    told = await inside("wake", ada, "--json", url=url)
    assert json.loads(told.out)["others"] == [{"run_id": ada, "outcome": "not_due"}]
    assert await world.sql(AUDIT) == 1
    missing = await inside("wake", str(world.runs["zoe"]), url=url)
    assert (missing.code, "give --tenant other" in missing.err) == (3, True)
    assert (await inside("retime", str(world.runs["zoe"]), "--now", "--tenant", "other", url=url)).code == 0


async def test_many_are_counted_first_and_asked_about(world: Door) -> None:
    """A dry run and a no do nothing; a yes does just what was counted, of one tenant or of all."""
    url = world.database.url
    room = ("retime", "--workflow", "escalation", "--now")
    told = await inside(*room, "--dry-run", url=url)
    assert (told.code, told.out) == (0, "3 runs; nothing was done.\n")
    no = await inside(*room, url=url, stdin="n\n")
    assert (no.code, "3 runs. Retime them? [y/N]" in no.err, "not_confirmed" in no.err) == (3, True, True)
    assert await world.sql(AUDIT) == 0
    told = await inside(*room, url=url, stdin="y\n")
    assert (told.code, told.out) == (0, "3 moved\n")
    assert await world.sql(AUDIT) == 3
    told = await inside("wake", "--overdue", "--all-tenants", "--yes", "--json", url=url)
    assert json.loads(told.out)["chosen"] == 0
    told = await inside("retime", "--waiting", "--all-tenants", "--yes", "--by", "-PT1M", "--json", url=url)
    assert json.loads(told.out) == {
        "dry_run": False, "chosen": 4, "more": False, "outcomes": {"retimed": 4}, "others": [],
    }  # fmt: skip
    assert await world.sql(AUDIT + " and tenant_id = 'other'") == 1
    nobody = await inside("wake", "--step", "nowhere", url=url)
    assert (nobody.code, nobody.out) == (0, "There is no such run.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("wake",),
        ("wake", "--overdue", "--step", "x"),
        ("wake", "--waiting", "--all-tenants", "--tenant", "other"),
        ("retime", "--waiting"),
        ("retime", "--waiting", "--now", "--by", "PT1H"),
        ("retime", "--waiting", "--by", "P1M"),
        ("retime", "--waiting", "--by", "soon"),
        ("retime", "--waiting", "--to", "tomorrow"),
        ("retime", "--waiting", "--to", "2126-01-01T00:00:00Z", "--dry-run"),
        ("retime", "--waiting", "--by", "-P3654D", "--dry-run"),
        ("wake", "--before", "yesterday"),
        ("waiting", "--all-tenants", "--tenant", "other"),
    ],
)
async def test_words_that_are_wrong_are_refused(words: tuple[str, ...], database_url: str) -> None:
    """By name, and with the code for it; nothing is asked of the database."""
    told = await inside(*words, url=database_url)
    assert told.code == 2
    assert "--" in told.err


async def test_the_waiting_room_of_all_tenants(world: Door) -> None:
    """In the order in which they go on, page by page; each with its tenant."""
    url = world.database.url
    told = await inside("waiting", "--all-tenants", url=url)
    assert told.out.count("(tenant other)") == 1
    assert len((await inside("waiting", "--all-tenants", "--json", url=url)).json["items"]) == 4
    await inside("retime", str(world.runs["zoe"]), "--by", "-PT1H", "--tenant", "other", url=url)
    found, cursor = [], None
    while True:
        asked = console.list_waiting(WaitFilter(None), cursor, 1)
        page = await callers.run(world.database, asked)
        assert page.count == 4
        found += [run.recipient_id for run in page.items]
        if (cursor := page.cursor) is None:
            break
    assert (found[0], sorted(found)) == ("zoe", ["ada", "bob", "eve", "zoe"])
    whole = await callers.run(world.database, console.list_waiting(WaitFilter(None), None, MAX_PAGE))
    assert [run.recipient_id for run in whole.items] == found
    late = await callers.run(
        world.database,
        console.list_waiting(WaitFilter(None, before=whole.items[0].until + timedelta(seconds=1)), None, 9),
    )
    assert [run.recipient_id for run in late.items] == ["zoe"]


async def test_a_yes_that_nobody_can_give_is_a_no(world: Door) -> None:
    """From cron, say: nothing is read, nothing is done, and it says what to give."""
    told = await chimeway("retime", "--waiting", "--now", url=world.database.url)
    assert (told.code, "give --yes" in told.err) == (3, True)
    assert await world.sql(AUDIT) == 0


@pytest.mark.parametrize(
    "words", [("hold",), ("cancel", "--note", "x"), ("retime", "--now"), ("wake",)], ids=" ".join
)
async def test_nobody_waits_for_ever_for_anothers_lock(
    world: Door, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A stranger has it locked: it is said, with who tells by whom, and nothing is done then or later."""
    monkeypatch.setattr(session, "PATIENCE_S", 0.2)
    before = await world.reasons("ada")
    async with locked(world.database, world.runs["ada"]):
        told = await inside(*words, str(world.runs["ada"]), url=world.database.url)
    assert (told.code, "error[run_busy]" in told.err, "chimeway doctor" in told.err) == (3, True, True)
    assert await world.reasons("ada") == before
    assert await world.sql(AUDIT) == 0


async def test_ctrl_c_says_how_far_it_came(world: Door) -> None:
    """While somebody has one of them locked, so that the batch waits: it is taken back whole, and said so."""
    url = world.database.url
    async with locked(world.database, world.runs["bob"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chimeway", "retime", "--waiting", "--by", "PT1H", "--yes",
            env={**os.environ, "CHIMEWAY_DATABASE_URL": url}, stderr=asyncio.subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        await wait_for(lambda: world.sql(BLOCKED), "it waits for the one that is locked")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (
        130,
        "cut off: 0 of 3 were seen to, the next 3 all or none\n",
    )
    assert await world.sql(AUDIT) == 0


async def test_nobody_is_told_to_move_the_same_waits_twice(
    world: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was moved waits still: of more than it takes at a time, the same words choose some once more."""
    monkeypatch.setattr(console, "CONSOLE_PLAN", 2)
    for _ in range(2):
        told = await inside("retime", "--waiting", "--by", "PT1H", "--yes", url=world.database.url)
        assert told.out.splitlines()[0] == "2 moved"
        assert "may move some of these twice" in told.out
        assert "do it again" not in told.out
    assert await world.sql("select count(*) > count(distinct run_id) from chimeway.operator_actions"), "see?"
