"""A zone that the database let in and this machine does not know: told once, taken as UTC, nothing fails."""

from structlog.testing import capture_logs

from kit.home import in_app, workflow
from kit.machine import running_machine


async def test_an_unknown_zone_is_told_once(database_url: str) -> None:
    """As after an update of PostgreSQL's zones: two people live there, and both get their messages."""
    with capture_logs() as lines:
        async with running_machine(database_url, definitions=(workflow(in_app()),)) as on:
            for person in ("ada", "ben"):
                await on.rows.value("select chimeway.identify('default', $1, '{}')::text", person)
            await on.rows.value("update chimeway.recipients set timezone = 'Europe/Atlantis' returning 1")
            for person in ("ada", "ben"):
                await on.rows.until(await on.start(person), "completed")
    told = [line for line in lines if line["event"] == "zone.unknown"]
    assert [(line["zone"], line["log_level"]) for line in told] == [("Europe/Atlantis", "warning")]
