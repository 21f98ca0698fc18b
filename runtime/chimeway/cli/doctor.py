"""`chimeway doctor`: what is wrong with the database, the nodes or the work, and what to do about it."""

import asyncio
import sys
from datetime import timedelta
from typing import Annotated, Final

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, MaxLateness, examples
from chimeway.cli.printing import print_json, print_line, print_sentence
from chimeway.client.chimeway import Chimeway
from chimeway.client.diagnosis import Looked, diagnosed, worst
from chimeway.client.finding import Finding
from chimeway.settings import Settings
from chimeway.store.examining import examine, examine_work

app = typer.Typer(rich_markup_mode=None)
_OPEN_S: Final = 300.0
_ATTEMPT_S: Final = 600.0
_ANSWER_S: Final = 8.0
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command(epilog=examples("chimeway doctor", "chimeway doctor --json || page-somebody"))
def doctor(
    *,
    open_s: Annotated[
        float, typer.Option("--open-for", help="Transactions open for longer are listed (seconds).")
    ] = _OPEN_S,
    wait_s: Annotated[
        float, typer.Option("--wait", help="How long our tables may take to answer (seconds).")
    ] = _ANSWER_S,
    max_lateness: MaxLateness = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, and what to do; exit 1 if something fails.

    It looks at connection, schema, settings, nodes, work, locks and tables.
    Each is ok, or a warning (it will hurt some day), or fails (messages do not go out, or may be lost), with
    the figure and with what to do. Nothing is changed.
    """
    allowed = Settings(database_url=database_url, max_lateness=max_lateness).max_lateness

    async def ask(client: Chimeway) -> list[Finding]:
        facts = await examine(client.database, open_s=open_s)
        return diagnosed(facts, await _looked(client, allowed, wait_s))

    found = session.run(database_url, ask)
    level = worst(found)
    if as_json:
        print_json({"level": level, "findings": found})
    else:
        _tell(found)
    sys.exit(1 if level == "fail" else 0)


async def _looked(client: Chimeway, allowed: timedelta, wait_s: float) -> Looked | None:
    """Return what stands in our tables, or None where they do not answer soon."""
    try:
        async with asyncio.timeout(wait_s):
            work = await examine_work(client.database, attempt_s=_ATTEMPT_S)
            overdue = await client.overdue(max_lateness=allowed)
    except TimeoutError:
        return None
    try:
        async with asyncio.timeout(wait_s):
            return Looked(work, overdue, await client.stuck())
    except TimeoutError:
        return Looked(work, overdue, None)


def _tell(found: list[Finding]) -> None:
    for one in found:
        print_line(f"{one.level:4}  {one.check}: {one.told}", style=_STYLES[one.level])
        if one.remedy is not None:
            print_sentence(one.remedy, indent="      ")
    failed = sum(one.level == "fail" for one in found)
    warned = sum(one.level == "warn" for one in found)
    print_line(f"{len(found)} looked at: {failed} fail, {warned} warn")
