"""`chimeway db producer`: which login acts for which tenants."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, examples
from chimeway.cli.printing import print_json, print_line
from chimeway.cli.tables import print_table
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.store import producers
from chimeway.store.pool import Database
from chimeway.store.producers import Producer

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "chimeway db producer shop --tenant org_456 --tenant org_789",
        "chimeway db producer shop --tenant org_789 --revoke",
        "chimeway db producer shop --free",
        "chimeway db producer --list",
    )
)
def producer(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The role that logs in.", show_default=False)
    ] = None,
    *,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="A tenant that it may act for; more than once for several.", show_default=False),
    ] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="It may act for these no more; without --tenant, for none.")
    ] = False,
    free: Annotated[bool, typer.Option("--free", help="It may act for every tenant again.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show who is bound, and change nothing.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bind a database role to tenants: it may trigger, signal, identify and cancel for these alone.

    It holds at once, for the role that logs in, whatever it sets. A role that is not bound may act for
    every tenant, if it is in chimeway_producer. Only the owner of the schema may change it.
    """
    if show:
        if name is not None or tenant or revoke or free:
            raise typer.BadParameter("--list goes alone")
        _show(session.run(database_url, lambda client: producers.listed(client.database)), as_json)
        return
    if name is None:
        raise typer.BadParameter("name the role, or give --list")
    if free and (tenant or revoke):
        raise typer.BadParameter("--free goes without --tenant and --revoke")
    tenants = [checks.identifier("tenant", each) for each in tenant or ()]
    if not (tenants or revoke or free):
        raise typer.BadParameter("give --tenant, --revoke, --free or --list")
    change = _change(name, tenants, revoke=revoke, free=free)

    async def ask(client: Chimeway) -> Producer:
        return await change(client.database)

    done = session.run(database_url, ask)
    if as_json:
        print_json({"role": done.role, "tenants": None if free else done.tenants})
    elif free:
        print_line(f"{done.role} acts for every tenant again")
    else:
        print_line(f"{done.role} acts for {', '.join(done.tenants) or 'no tenant'}, and for no other")


def _change(
    name: str, tenants: list[str], *, revoke: bool, free: bool
) -> Callable[[Database], Coroutine[Any, Any, Producer]]:
    if free:
        return lambda database: producers.free(database, name)
    if revoke:
        return lambda database: producers.narrow(database, name, tenants or None)
    return lambda database: producers.bind(database, name, tenants)


def _show(found: list[Producer], as_json: bool) -> None:
    if as_json:
        print_json({"producers": found})
        return
    rows = (
        (one.role, ", ".join(one.tenants) or "(none)", one.changed_at, one.changed_by, _doubt(one))
        for one in found
    )
    columns = ("ROLE", "ACTS FOR", "SINCE", "BY", "")
    print_table(columns, rows, nothing="no role is bound: producers act for every tenant")


def _doubt(one: Producer) -> str:
    if not one.known:
        return "no such role here: dropped or renamed"
    return "" if one.may_call else "not in chimeway_producer: it may call nothing"
