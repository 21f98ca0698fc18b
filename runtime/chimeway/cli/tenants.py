"""`chimeway tenants`: what holds for whole tenants, looked at and written."""

from typing import Annotated

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, Cursor, DatabaseUrl, Limit, examples
from chimeway.cli.printing import print_json, print_line
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
