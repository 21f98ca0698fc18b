"""A server that is there, and does not do what is asked: no room, a time limit. A command says what to do."""

import json

import asyncpg

from chimeway.cli import main
from kit.bare import run
from kit.command import chimeway

FULL = """
create function no_room() returns trigger language plpgsql as $$
begin
    raise exception 'could not extend file "base/1": No space left on device' using errcode = '53100';
end $$;
create trigger no_room before insert on chimeway.signals execute function no_room();"""
"""What a server with a full disk says to whoever writes."""


async def test_a_command_says_that_the_disk_is_full(database_url: str) -> None:
    """Neither a traceback nor the code of "it is not well": it could not be asked, and why."""
    await run(database_url, FULL)
    told = await chimeway("signal", "read", "--actor", "ada", url=database_url)
    assert told.code == main.UNREACHABLE, told.err
    assert told.err.startswith("error[database_unavailable]: the database did not do it (could not extend")
    assert "give it room" in told.err


async def test_a_command_says_that_a_time_limit_ended_it(database_url: str) -> None:
    """Somebody has the table locked, and the login may not wait for long; programs are told by JSON."""
    limited = f"{database_url}{'&' if '?' in database_url else '?'}options=-c%20statement_timeout%3D300ms"
    stranger = await asyncpg.connect(database_url)
    try:
        await stranger.execute("begin; lock table chimeway.workflow_runs in access exclusive mode")
        told = await chimeway("runs", "--json", url=limited)
    finally:
        await stranger.close()
    assert told.code == main.UNREACHABLE, told.err
    error = json.loads(told.err)["error"]
    assert error["code"] == "database_unavailable"
    assert "statement_timeout" in error["hint"]
