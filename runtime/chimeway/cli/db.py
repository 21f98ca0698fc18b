"""`chimeway db`: the schema in a database, its migrations, and the roles of the cluster."""

import os
import shutil
import signal
import subprocess
import sys
from typing import Annotated, Final

import typer

from chimeway.cli import producers, session
from chimeway.cli.options import AsJson, DatabaseUrl
from chimeway.cli.printing import print_json, print_line
from chimeway.client.chimeway import Chimeway
from chimeway.errors import InvalidInput
from chimeway.settings import Settings
from chimeway.store import migrating, migrations, roles, schema
from chimeway.store.embedded import running

app = typer.Typer(
    name="db", help="Install, migrate and look at the schema; make roles.", rich_markup_mode=None
)

app.add_typer(producers.app)

_BY_SIGNAL: Final = 128


def _direct(database_url: str | None) -> str | None:
    """Return the URL to change a schema by: a direct one, where the settings name one beside a pooler's."""
    direct = Settings().direct_database_url if database_url is None else None
    return database_url if direct is None else direct.get_secret_value()


def _told(text: str) -> None:
    print(text, file=sys.stderr)


@app.command()
def init(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Install the schema where there is none; safe to repeat, and in parallel."""

    async def ask(client: Chimeway) -> tuple[bool, schema.Version]:
        return await schema.install(client.database), await schema.require(client.database)

    installed, there = session.run(_direct(database_url), ask)
    if as_json:
        print_json({"version": there.number, "installed": installed})
    elif installed:
        print_line(f"schema version {there.number}: installed")
    else:
        older = "; chimeway db migrate brings it up" if migrations.pending(there.number) else ""
        print_line(f"schema version {there.number}: is there already{older}")


@app.command()
def migrate(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Bring an older schema up to this program's version, while nodes work; safe to repeat, and in parallel.

    Nodes of the version before may go on. Behind a pooler name the server itself.
    """

    async def ask(client: Chimeway) -> tuple[list[int], schema.Version]:
        done = await migrating.migrate(client.database.url, told=_told)
        return done, await schema.require(client.database)

    done, there = session.run(_direct(database_url), ask)
    if as_json:
        print_json({"version": there.number, "migrated": bool(done), "versions": done})
    elif done:
        print_line(f"schema version {there.number}: migrated (to {', then '.join(map(str, done))})")
    else:
        print_line(f"schema version {there.number}: nothing to do")


@app.command()
def sql(
    since: Annotated[
        int | None,
        typer.Option(
            "--from", help="The version that is there; without it the whole schema.", show_default=False
        ),
    ] = None,
    indexes: Annotated[
        bool,
        typer.Option("--indexes", help="Only what is to be run first, outside of any transaction."),
    ] = False,
) -> None:
    """Print what `migrate` would run, as text for Alembic, Django's RunSQL or psql.

    The text belongs into one transaction, which it does not begin itself. On a big database run what
    `--indexes` prints before it, statement by statement: the text then finds them built.
    """
    if since is None:
        if indexes:
            raise InvalidInput(
                "--indexes needs --from: a new schema has no rows to build over", field="indexes"
            )
        print(migrations.whole(migrating.program()), end="")
        return
    if not 1 <= since <= migrations.VERSION:
        raise InvalidInput(f"--from is {since}: give a version from 1 to {migrations.VERSION}", field="from")
    steps = migrations.pending(since)
    if indexes:
        print("".join(f"{text}\n" for step in steps for _, text in step.indexes), end="")
    else:
        print("\n".join(step.script(migrating.program()) for step in steps), end="")


@app.command("roles")
def roles_(
    only_print: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make the roles that are missing and grant them their rights; safe to repeat, and in parallel.

    Where this role may not, the SQL for somebody who may is printed, and the exit code is 3.
    """
    if only_print:
        print(roles.script(), end="")
        return
    try:
        done = session.run(_direct(database_url), lambda client: roles.make(client.database))
    except roles.MayNotMakeRoles:
        if not as_json:
            print(roles.script(), end="")
        raise
    if as_json:
        print_json(done)
        return
    for role in done.granted:
        print_line(f"{role} {roles.ROLES[role]}{' (made now)' if role in done.made else ''}")


@app.command()
def url(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Print the URL of the database that is meant, password and all: psql "$(chimeway db url)".

    A server of one's own runs as long as a node, or a command, needs it: have a node run beside psql.
    """

    async def ask(client: Chimeway) -> str:
        return client.database.url

    found = session.run(database_url, ask)
    if as_json:
        print_json({"url": found})
    else:
        print(found)


@app.command("exec", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def exec_(command: Annotated[list[str], typer.Argument(show_default=False)]) -> None:
    """Run a command, such as psql or pg_dump, beside the server of one's own, which runs meanwhile.

    PGHOST and its like say where it is, and the programs that came with it are found first. The exit code
    is the command's. No schema is installed. For a database that has a name, psql needs no help.
    """
    settings = Settings()
    if settings.database_url is not None:
        raise InvalidInput("CHIMEWAY_DATABASE_URL names a database: give it to the command itself")
    # Ctrl-C is the command's matter: psql takes it to mean the query.
    signal.signal(signal.SIGINT, lambda *_: None)
    with running(settings.data_dir) as server:
        where = {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }
        path = f"{server.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        found = shutil.which(command[0], path=path)
        if found is None:
            raise InvalidInput(f"there is no command {command[0]}, here or in {server.bin}")
        done = subprocess.run([found, *command[1:]], env={**os.environ, **where, "PATH": path}, check=False)
    sys.exit(done.returncode if done.returncode >= 0 else _BY_SIGNAL - done.returncode)


@app.command()
def status(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Say which version of the schema is there; exit 1 if this program cannot work on it."""

    async def ask(client: Chimeway) -> tuple[schema.Version | None, bool, list[str]]:
        database = client.database
        there = await schema.newest(database)
        return there, await schema.has_test_clock(database), await roles.present(database)

    there, test_clock, present = session.run(database_url, ask)
    usable = there is not None and there.usable
    steps = migrations.pending(there.number) if there else ()
    if as_json:
        print_json(
            {
                "version": there and there.number,
                "known_version": schema.VERSION,
                "oldest_usable_version": schema.OLDEST,
                "usable": usable,
                "pending": [step.version for step in steps],
                "roles": present,
                "test_clock": test_clock,
            }
        )
    else:
        _tell_status(there, [step.version for step in steps], present, test_clock)
    sys.exit(0 if usable else 1)


def _tell_status(
    there: schema.Version | None, steps: list[int], present: list[str], test_clock: bool
) -> None:
    if there is None:
        print_line("no schema; install it: chimeway db init")
        return
    knows = f"this program brings {schema.VERSION}, and works from {schema.OLDEST} on"
    print_line(f"schema version {there.number}; {knows}")
    if there.number > schema.VERSION:
        verdict = (
            "and still serves it"
            if there.usable
            else "and does not serve it any more: install a newer chimeway"
        )
        print_line(f"the schema is newer than this program {verdict}")
    if steps:
        print_line(f"pending: {', '.join(map(str, steps))}; chimeway db migrate brings them")
    print_line(f"roles: {', '.join(present) or 'none; chimeway db roles makes them'}")
    if test_clock:
        print_line("its clock is one for tests, and `serve` refuses it")
