"""`chimeway db`: the schema in a database."""

import sys

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl
from chimeway.cli.printing import print_json, print_line
from chimeway.client.chimeway import Chimeway
from chimeway.store import schema

app = typer.Typer(name="db", help="Install and look at the schema.", rich_markup_mode=None)


@app.command()
def init(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Install the schema where there is none; safe to repeat, and in parallel."""

    async def ask(client: Chimeway) -> bool:
        return await schema.install(client.database)

    installed = session.run(database_url, ask)
    if as_json:
        print_json({"version": schema.VERSION, "installed": installed})
    else:
        print_line(f"schema version {schema.VERSION}: {'installed' if installed else 'is there already'}")


@app.command()
def migrate(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Bring an older schema up to this program's version."""

    async def ask(client: Chimeway) -> int | None:
        await schema.require(client.database)
        return await schema.installed_version(client.database)

    version = session.run(database_url, ask)
    if as_json:
        print_json({"version": version, "migrated": False})
    else:
        print_line(f"schema version {version}: nothing to do")


@app.command()
def status(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Say which version of the schema is there; exit 1 if this program cannot work on it."""

    async def ask(client: Chimeway) -> tuple[int | None, bool]:
        return await schema.installed_version(client.database), await schema.has_test_clock(client.database)

    version, test_clock = session.run(database_url, ask)
    usable = version is not None and version <= schema.VERSION
    if as_json:
        about = {"version": version, "known_version": schema.VERSION, "usable": usable}
        print_json({**about, "test_clock": test_clock})
    elif version is None:
        print_line("no schema; install it: chimeway db init")
    else:
        newer = "" if usable else f", newer than this program knows ({schema.VERSION}): upgrade it"
        clock = "; its clock is one for tests, and `serve` refuses it" if test_clock else ""
        print_line(f"schema version {version}{newer}{clock}")
    sys.exit(0 if usable else 1)
