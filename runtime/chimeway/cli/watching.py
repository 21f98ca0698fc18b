"""`chimeway waiting`, `overdue`, and the list of `runs --stuck`: who waits, and who waits too long."""

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

import typer

from chimeway.cli import session
from chimeway.cli.options import (
    AllTenants,
    AsJson,
    Cursor,
    DatabaseUrl,
    EveryTenant,
    Limit,
    MaxLateness,
    Tenant,
    examples,
)
from chimeway.cli.printing import on_terminal, print_json, print_line, print_sentence, reckoned
from chimeway.cli.tables import tell_more
from chimeway.client.chimeway import Chimeway
from chimeway.client.verbs import DEFAULT_TENANT
from chimeway.client.why_listed import noticed, remedy, summed_up, waits
from chimeway.errors import InvalidDefinition
from chimeway.limits import MAX_PAGE
from chimeway.settings import Settings
from chimeway.store import callers, console, definitions, whereabouts
from chimeway.store.console import WaitFilter
from chimeway.store.views import ListedRun, Page, WaitingRun
from chimeway.store.whereabouts import Holder
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

app = typer.Typer(rich_markup_mode=None)
Definitions: TypeAlias = dict[tuple[str, int], Definition | None]
"""Definitions by key and version; None: not understood here."""


@app.command(
    epilog=examples(
        "chimeway waiting --tenant org_456",
        "chimeway waiting --all-tenants",
        "chimeway waiting --limit 500 --json",
    )
)
def waiting(
    tenant: Tenant = None,
    *,
    all_tenants: AllTenants = False,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List who waits, for what, until when; the next to go on first."""
    if all_tenants and tenant is not None:
        raise typer.BadParameter("--all-tenants goes without --tenant")

    async def ask(client: Chimeway) -> tuple[Page[WaitingRun], Definitions]:
        if all_tenants:
            found = await callers.run(client.database, console.list_waiting(WaitFilter(None), cursor, limit))
            page = Page(found.items, found.cursor)
        else:
            page = await client.waiting(tenant=tenant, cursor=cursor, limit=limit)
        return page, {} if as_json else await _definitions(client, page)

    page, known = session.run(database_url, ask)
    if as_json:
        print_json(page)
        return
    for run in page:
        _tell_head(run, run.until, "due")
        for sentence in waits(run, known[run.workflow_key, run.workflow_version]):
            print_sentence(sentence, indent="  ")
    if not page.items:
        print_line("Nobody waits.")
    tell_more(page)


@app.command(epilog=examples("chimeway overdue", "chimeway overdue --max-lateness PT1M || page-somebody"))
def overdue(
    max_lateness: MaxLateness = None,
    tenant: EveryTenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List runs past their wake; exit 1 if there are any."""
    allowed = Settings(database_url=database_url, max_lateness=max_lateness).max_lateness

    async def ask(client: Chimeway) -> tuple[list[ListedRun], Definitions, list[Holder]]:
        found = await client.overdue(tenant=tenant, max_lateness=allowed)
        known = {} if as_json else await _definitions(client, found)
        return found, known, await whereabouts.holders(client.database)

    found, known, holders = session.run(database_url, ask)
    if as_json:
        print_json({"items": found, "lease": holders})
    elif found:
        _tell_listed(found, known)
        print_sentence(remedy(len(found), holders))
    else:
        print_line("No run is overdue.")
    sys.exit(1 if found else 0)


def tell_stuck(tenant: str | None, database_url: str | None, *, as_json: bool) -> None:
    """List live runs that cannot move by themselves."""

    async def ask(client: Chimeway) -> tuple[list[ListedRun], Definitions]:
        found = await client.stuck(tenant=tenant)
        return found, {} if as_json else await _definitions(client, found)

    found, known = session.run(database_url, ask)
    if as_json:
        print_json({"items": found})
    elif found:
        for sentence in summed_up(found):
            print_sentence(sentence)
        _tell_listed(found, known)
        if len(found) == MAX_PAGE:
            print_line(f"There may be more: a list ends after {MAX_PAGE}.")
    else:
        print_line("No live run is held, stuck, or waiting for a node.")


async def _definitions(client: Chimeway, found: Iterable[WaitingRun | ListedRun]) -> Definitions:
    """Return the definitions of these runs; None for one that this program does not understand."""
    known: Definitions = {}
    for key, version in dict.fromkeys((run.workflow_key, run.workflow_version) for run in found):
        stored = await definitions.fetch_definition(client.database, key, version)
        try:
            known[key, version] = parse(stored.raw)
        except InvalidDefinition:
            known[key, version] = None
    return known


def _tell_head(run: WaitingRun | ListedRun, at: datetime | None, word: str) -> None:
    """Write which run it is; on a terminal also how far off its moment is."""
    tenant = "" if run.tenant_id == DEFAULT_TENANT else f" (tenant {run.tenant_id})"
    off = f": {word} {reckoned(at)}" if at is not None and on_terminal() else ""
    print_line(f"{run.run_id} {run.workflow_key} {run.workflow_version}{tenant}{off}", style="bold")


def _tell_listed(found: list[ListedRun], known: Definitions) -> None:
    for run in found:
        _tell_head(run, run.since, "due" if run.kind == "overdue" else "since")
        for sentence in noticed(run, known[run.workflow_key, run.workflow_version]):
            print_sentence(sentence, indent="  ")
