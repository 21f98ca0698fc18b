"""`chimeway tenants`: what holds for whole tenants, looked at and written."""

from types import EllipsisType
from typing import Annotated

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, Cursor, DatabaseUrl, Limit, examples
from chimeway.cli.printing import print_json, print_line
from chimeway.cli.producing import given
from chimeway.cli.reading_files import json_object
from chimeway.cli.showing_profiles import told_tenant
from chimeway.cli.tables import print_table, tell_more
from chimeway.client.chimeway import Chimeway
from chimeway.store.profiles import TenantView
from chimeway.store.views import Page

app = typer.Typer(
    name="tenants",
    help="Look at what holds for whole tenants, and write it.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="Which.", show_default=False)]


@app.command(
    epilog=examples("chimeway tenants show org_456", "chimeway tenants show default --json"),
)
def show(tenant: TenantId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show what holds for a tenant: zone, locale, working days, holidays, preferences."""

    async def ask(client: Chimeway) -> TenantView:
        return await client.get_tenant(tenant=tenant)

    found = session.run(database_url, ask)
    if as_json:
        print_json(found)
        return
    for line in told_tenant(found):
        print_line(line)


@app.command(
    epilog=examples(
        "chimeway tenants configure org_456 --timezone Europe/London --locale en-GB",
        "chimeway tenants configure org_456 --working-days sun,mon,tue --holidays 2026-12-25,2027-01-01",
        'chimeway tenants configure org_456 --preferences \'{"channels": {"sms": false}}\'',
        'chimeway tenants configure org_456 --timezone ""',
    )
)
def configure(
    tenant: TenantId,
    *,
    timezone: Annotated[
        str | None, typer.Option(help="Of recipients who have none; empty removes it.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="Likewise, like de-DE.")] = None,
    working_days: Annotated[
        str | None, typer.Option(metavar="DAY,...", help="All of them; empty: Monday to Friday.")
    ] = None,
    holidays: Annotated[
        str | None, typer.Option(metavar="DATE,...", help="All of them, like 2026-12-25; empty removes them.")
    ] = None,
    preferences: Annotated[
        str | None,
        typer.Option(
            help="A JSON object, merged key by key; @FILE reads it from a file, - from stdin.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write what holds for a tenant, below what each recipient has. What is left out stays as it is."""
    preferred = json_object("--preferences", preferences)

    async def ask(client: Chimeway) -> None:
        await client.configure_tenant(
            tenant=tenant,
            timezone=given(timezone),
            locale=given(locale),
            working_days=_listed(working_days),
            holidays=_listed(holidays),
            preferences=preferred or None,
        )

    session.run(database_url, ask)
    if as_json:
        print_json({"tenant": tenant})
    else:
        print_line(f"{tenant}: written")


def _listed(text: str | None) -> list[str] | EllipsisType | None:
    """Left out: stays as it is; empty: removed."""
    return ... if text is None else [part.strip() for part in text.split(",")] if text else None


@app.command("list", epilog=examples("chimeway tenants list", "chimeway tenants list --limit 1000 --json"))
def list_tenants(
    cursor: Cursor = None, limit: Limit = 50, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """List the tenants for which something was written, in the order of their ids."""

    async def ask(client: Chimeway) -> Page[TenantView]:
        return await client.list_tenants(cursor=cursor, limit=limit)

    page = session.run(database_url, ask)
    if as_json:
        print_json({"tenants": page.items, "cursor": page.cursor})
        return
    rows = (
        (one.tenant_id, one.timezone, one.locale, len(one.holidays), sorted(one.preferences), one.updated_at)
        for one in page
    )
    print_table(("TENANT", "TIMEZONE", "LOCALE", "HOLIDAYS", "PREFERENCES", "WRITTEN"), rows)
    tell_more(page)
