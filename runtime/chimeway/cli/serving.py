"""`chimeway serve`: a node, as a process."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from chimeway.cli.finding_app import find_app
from chimeway.cli.options import AsJson, DatabaseUrl
from chimeway.cli.printing import print_json
from chimeway.cli.reading_files import instant
from chimeway.cli.tables import print_table
from chimeway.daemon import door
from chimeway.daemon import serve as run_node
from chimeway.daemon.channels import described
from chimeway.delivery.declared import NOTHING_DECLARED
from chimeway.settings import Settings

app = typer.Typer(rich_markup_mode=None)


@app.command()
def serve(
    app_path: Annotated[
        str | None,
        typer.Option("--app", help="An App in your code: module:attribute.", show_default=False),
    ] = None,
    workflows: Annotated[
        Path | None,
        typer.Option(help="A folder of definitions, registered at the start.", show_default=False),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="A folder of templates: <render_key>.<channel>.j2.", show_default=False),
    ] = None,
    smtp_url: Annotated[
        str | None,
        typer.Option(
            help="smtp://user:password@host:port?starttls=true, or smtps://; with CHIMEWAY_EMAIL_FROM.",
            show_default=False,
        ),
    ] = None,
    *,
    after_restore: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT",
            help="The database was restored from a backup that was taken then: what may have been sent since "
            "is held (chimeway deliveries restored).",
            show_default=False,
        ),
    ] = None,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Say what holds and who said so, and end.")
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --print-settings.")] = False,
) -> None:
    """Run a node until it is told to end (SIGTERM, SIGINT).

    What is not given here comes from CHIMEWAY_... variables and chimeway.toml.
    """
    settings = Settings(
        database_url=database_url, smtp_url=smtp_url, workflows_dir=workflows, templates_dir=templates
    )
    if print_settings:
        _print(settings, as_json)
        return
    declared = NOTHING_DECLARED if app_path is None else find_app(app_path).declared
    taken_at = instant("--after-restore", after_restore)
    asyncio.run(run_node(settings, declared, taken_at))


def _print(settings: Settings, as_json: AsJson) -> None:
    rows = [*settings.describe(), *described(settings), *door.described(settings)]
    if as_json:
        print_json({"settings": [row._asdict() for row in rows], "warnings": settings.warnings()})
        return
    print_table(("SETTING", "VALUE", "FROM"), rows)
    for warning in settings.warnings():
        print(f"warning: {warning}", file=sys.stderr)
