"""`chimeway recipients`: people's profiles, looked at and written."""

from typing import Annotated

import typer

from chimeway.cli import session
from chimeway.cli.forgetting import export, forget
from chimeway.cli.options import AsJson, Cursor, DatabaseUrl, Limit, Tenant, examples
from chimeway.cli.printing import print_json, print_line
from chimeway.cli.producing import identify
from chimeway.cli.showing_profiles import told_recipient
from chimeway.cli.tables import print_table, tell_more
from chimeway.client.chimeway import Chimeway
from chimeway.store.profiles import RecipientView
from chimeway.store.views import Page

app = typer.Typer(
    name="recipients",
    help="Look at and write profiles; export and forget people.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
RecipientId = Annotated[str, typer.Argument(metavar="RECIPIENT", help="Whose.", show_default=False)]


@app.command(
    epilog=examples(
        "chimeway recipients show user_123 --tenant org_456", "chimeway recipients show user_123 --json"
    )
)
def show(
    recipient: RecipientId,
    tenant: Tenant = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show a recipient's profile: addresses, zone, locale, preferences, data."""

    async def ask(client: Chimeway) -> RecipientView:
        return await client.get_recipient(recipient, tenant=tenant)

    found = session.run(database_url, ask)
    if as_json:
        print_json(found)
        return
    for line in told_recipient(found):
        print_line(line)


@app.command(
    "list",
    epilog=examples(
        "chimeway recipients list --tenant org_456", "chimeway recipients list --limit 1000 --json"
    ),
)
def list_recipients(
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List who was identified, in the order of their ids; channels, but no addresses."""

    async def ask(client: Chimeway) -> Page[RecipientView]:
        return await client.list_recipients(tenant=tenant, cursor=cursor, limit=limit)

    page = session.run(database_url, ask)
    if as_json:
        print_json({"recipients": page.items, "cursor": page.cursor})
        return
    rows = (
        (one.recipient_id, sorted(one.addresses), one.timezone, one.locale, one.updated_at) for one in page
    )
    print_table(("RECIPIENT", "CHANNELS", "TIMEZONE", "LOCALE", "WRITTEN"), rows)
    tell_more(page)


app.command(
    "identify",
    epilog=examples("chimeway recipients identify user_123 --email ada@example.org --timezone Europe/London"),
)(identify)
app.command(
    epilog=examples(
        "chimeway recipients export user_123 --tenant org_456 --output user_123.jsonl",
        "chimeway recipients export user_123 | jq 'select(.part == \"run\") | .deliveries[].message'",
    )
)(export)
app.command(
    epilog=examples(
        "chimeway recipients forget user_123 --tenant org_456",
        "chimeway recipients forget user_123 --yes --json",
    )
)(forget)
