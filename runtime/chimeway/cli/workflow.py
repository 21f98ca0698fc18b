"""`chimeway workflow`: definitions in files, and those that are registered."""

from typing import Annotated

import typer

from chimeway.cli import logged_in, session
from chimeway.cli.drafts import check, rehearse
from chimeway.cli.options import AsJson, DatabaseUrl, Note, examples
from chimeway.cli.pathways import paths
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.reading_files import Files, definitions_in
from chimeway.cli.showing import show
from chimeway.cli.tables import print_table
from chimeway.client import checks
from chimeway.client.chimeway import Chimeway
from chimeway.client.finding import many
from chimeway.store import acting, definitions
from chimeway.workflow.encode import digest

app = typer.Typer(
    name="workflow", help="Check, rehearse, register and steer workflow definitions.", rich_markup_mode=None
)
app.command(
    epilog=examples(
        "chimeway workflow check workflows/*.yaml --templates templates",
        "chimeway workflow check - --json < mention.yaml",
    )
)(check)
app.command(
    epilog=examples(
        "chimeway workflow rehearse mention.yaml",
        "chimeway workflow rehearse mention.yaml --script read-in-time.yaml",
    )
)(rehearse)
app.command(
    epilog=examples(
        "chimeway workflow paths mention.yaml",
        "chimeway workflow paths mention.yaml --start 2026-03-28T20:00:00Z --zone Europe/London",
    )
)(paths)
app.command(
    epilog=examples(
        "chimeway workflow show mention.yaml",
        "chimeway workflow show mention_escalation --version 2",
        "chimeway workflow show mention_escalation --svg mention.svg",
    )
)(show)
Key = Annotated[str, typer.Argument(help="The workflow's key.", show_default=False)]


@app.command(epilog=examples("chimeway workflow register workflows/*.yaml"))
def register(files: Files, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Register what the files define: all of it, or nothing where a file is at fault or a version is taken.

    The same content again does nothing.
    """
    who = logged_in.operator(None)
    found = [definition for path in files for definition in definitions_in(path)]

    async def ask(client: Chimeway) -> list[bool]:
        with progress("registering"):
            return await acting.register(client.database, who, found)

    new = session.run(database_url, ask)
    rows = [
        {"key": one.key, "version": one.version, "digest": digest(one), "new": is_new}
        for one, is_new in zip(found, new, strict=True)
    ]
    if as_json:
        print_json({"registered": rows})
        return
    for row in rows:
        told = "registered" if row["new"] else "known already"
        print_line(f"{row['key']} version {row['version']}: {told}")


@app.command("list", epilog=examples("chimeway workflow list"))
def list_workflows(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List what is registered; `*` marks the version that a trigger starts."""

    async def ask(client: Chimeway) -> list[definitions.Registered]:
        return await definitions.list_definitions(client.database)

    found = session.run(database_url, ask)
    if as_json:
        print_json({"workflows": found})
        return
    rows = (
        (
            one.key,
            f"{one.version}{'*' if one.current else ''}",
            one.digest[:12],
            one.registered_at,
            one.paused_at,
        )
        for one in found
    )
    print_table(("KEY", "VERSION", "DIGEST", "REGISTERED", "PAUSED"), rows)


@app.command(
    epilog=examples(
        "chimeway workflow activate mention_escalation 3", "chimeway workflow activate mention_escalation"
    )
)
def activate(
    key: Key,
    version: Annotated[int | None, typer.Argument(help="Left out: the highest one again.")] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fix the version that triggers start."""

    async def ask(client: Chimeway) -> int:
        return await acting.activate(client.database, logged_in.operator(None), key, version)

    current = session.run(database_url, ask)
    if as_json:
        print_json({"key": key, "version": current, "fixed": version is not None})
    else:
        print_line(f"{key}: triggers start version {current}{'' if version else ', the highest'}")


@app.command(epilog=examples("chimeway workflow pause mention_escalation"))
def pause(key: Key, note: Note = None, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Hold the decisions and first attempts of all runs of a workflow; triggers are taken."""
    _set_paused(key, note, database_url, as_json, paused=True)


@app.command(epilog=examples("chimeway workflow resume mention_escalation"))
def resume(key: Key, note: Note = None, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let the runs of a paused workflow go on, the oldest first."""
    _set_paused(key, note, database_url, as_json, paused=False)


def _set_paused(key: str, note: str | None, database_url: str | None, as_json: bool, *, paused: bool) -> None:
    who, why = logged_in.operator(None), checks.note(note)

    async def ask(client: Chimeway) -> int:
        return await session.alone(client, lambda lent: acting.pause(lent, who, key, why, paused=paused))

    versions = session.run(database_url, ask)
    if as_json:
        print_json({"key": key, "paused": paused, "versions": versions})
    else:
        print_line(f"{key}: {'paused' if paused else 'resumed'} ({many(versions, 'version')})")
