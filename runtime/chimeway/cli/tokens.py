"""`chimeway tokens`: who may ask this database's nodes by HTTP."""

import sys
from datetime import timedelta
from typing import Annotated, Final

import typer
from pydantic import TypeAdapter, ValidationError

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, Tenant, examples
from chimeway.cli.printing import plain, print_json, print_line
from chimeway.cli.tables import print_table
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.clock import SystemClock
from chimeway.inbox_tokens import minted
from chimeway.setting_kinds import Duration
from chimeway.settings import Settings
from chimeway.store import tokens
from chimeway.store.tokens import SCOPES, ApiToken

app = typer.Typer(
    name="tokens",
    help="Make, list and revoke the tokens of who asks by HTTP.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
_ALL: Final = "(all)"
_DURATION: Final = TypeAdapter[timedelta](Duration)


@app.command(
    epilog=examples(
        "chimeway tokens create shop --tenant org_456 --scope produce",
        "chimeway tokens create grafana --all-tenants --scope read --expires P365D",
        "chimeway tokens create ada --tenant org_456 --scope operate --scope produce --json",
    )
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people: whose it is.", show_default=False)],
    *,
    scope: Annotated[
        list[str], typer.Option(help=f"What it may do: {', '.join(SCOPES)}; more than once for several.")
    ],
    tenant: Annotated[
        str | None,
        typer.Option(help='The one tenant that it opens; without it "default".', show_default=False),
    ] = None,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="It opens every tenant. Keep it where nobody else comes.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(help="After how long, like P90D; without it never.", show_default=False)
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a token, and write its secret to standard output: this once, for nobody keeps it.

    Only the owner of the schema makes tokens.
    """
    if all_tenants and tenant is not None:
        raise typer.BadParameter("give one of --tenant and --all-tenants")
    whose = None if all_tenants else checks.identifier("tenant", tenant or "default")
    lasts = None if expires is None else _duration(expires)

    async def ask(client: Chimeway) -> tuple[ApiToken, str]:
        return await tokens.make(client.database, name, whose, scope, lasts)

    made, secret = session.run(database_url, ask)
    if as_json:
        print_json({**plain(made), "secret": secret})
        return
    print_line(secret)
    opens = "every tenant" if made.tenant_id is None else f"tenant {made.tenant_id}"
    told = f"{made.id} ({made.name}): {', '.join(made.scopes)} in {opens}; nobody can show the secret again"
    print(told, file=sys.stderr)


@app.command("list", epilog=examples("chimeway tokens list", "chimeway tokens list --json"))
def list_tokens(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List tokens, the newest first; their secrets are nowhere."""

    async def ask(client: Chimeway) -> list[ApiToken]:
        return await tokens.listed(client.database)

    found = session.run(database_url, ask)
    if as_json:
        print_json({"tokens": found})
        return
    rows = (
        (
            one.id, one.name, one.state, one.tenant_id or _ALL, ",".join(one.scopes), one.expires_at,
            one.last_used_on, one.made_by,
        )
        for one in found
    )  # fmt: skip
    columns = ("TOKEN", "NAME", "STATE", "TENANT", "SCOPES", "EXPIRES", "LAST USED", "MADE BY")
    print_table(columns, rows, nothing="there are no tokens")


@app.command(epilog=examples("chimeway tokens revoke 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"))
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id.", show_default=False)],
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """End a token: within five seconds it opens nothing, on any node."""
    which = checks.uuid("token", token_id)

    async def ask(client: Chimeway) -> bool:
        return await tokens.revoke(client.database, which)

    ended = session.run(database_url, ask)
    if as_json:
        print_json({"token_id": which, "revoked": ended})
    else:
        print_line(f"{which} {'is revoked' if ended else 'had been revoked before'}")


@app.command(
    epilog=examples(
        "chimeway tokens inbox user_123 --tenant org_456",
        "chimeway tokens inbox user_123 --expires PT1H --json",
    )
)
def inbox(
    recipient: Annotated[str, typer.Argument(help="Whose inbox.", show_default=False)],
    *,
    tenant: Tenant = None,
    expires: Annotated[str, typer.Option(help="After how long, an hour at most.")] = "PT15M",
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Items come with the data of their trigger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a front end's token for the inbox of one recipient, with CHIMEWAY_INBOX_KEYS. No database."""
    whose = checks.identifier("tenant", tenant or "default"), checks.identifier("recipient", recipient)
    token, expires_at = minted(
        *whose, Settings().inbox_token_keys(), now=SystemClock().now(), lasts=_duration(expires),
        with_data=with_data,
    )  # fmt: skip
    if as_json:
        print_json(
            {"token": token, "tenant_id": whose[0], "recipient_id": whose[1], "expires_at": expires_at}
        )
    else:
        print_line(token)


def _duration(text: str) -> timedelta:
    try:
        return _DURATION.validate_python(text)
    except ValidationError:
        told = "--expires: right would be an ISO 8601 duration without years and months, like P90D"
        raise typer.BadParameter(told) from None
