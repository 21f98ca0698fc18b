"""`chimeway templates`: whether each message of some workflows can be made."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from chimeway.cli import session
from chimeway.cli.finding_app import find_app
from chimeway.cli.options import AsJson, DatabaseUrl, examples
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.cli.reading_files import definitions_in
from chimeway.cli.rendering import AppPath, TemplatesFolder, renderers
from chimeway.client.chimeway import Chimeway
from chimeway.daemon.checking import wanted_in
from chimeway.errors import InvalidSettings
from chimeway.render.check import Checked, Wanted, wanted_by
from chimeway.render.check import check as find
from chimeway.render.findings import Finding
from chimeway.store import definitions
from chimeway.store.definitions import Stored
from chimeway.workflow.build import schema_of
from chimeway.workflow.definition import Definition

app = typer.Typer(
    name="templates", help="Check templates against the messages of workflows.", rich_markup_mode=None
)
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@app.callback()
def group() -> None:
    """Check templates against the messages of workflows."""


@app.command(
    epilog=examples(
        "chimeway templates check --templates templates --workflows workflows",
        "chimeway templates check --app shop.notifications:app --json",
        "chimeway templates check --templates templates",
    )
)
def check(
    templates: TemplatesFolder = None,
    workflows: Annotated[
        Path | None,
        typer.Option(help="Definitions in files: a folder, or one file.", show_default=False),
    ] = None,
    app_path: AppPath = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find every message that could not be made; exit 1 if there is an error.

    Of which workflows: those of --workflows and of --app, where one is given, and then no database is
    asked unless it is named; else those that are registered, in their current versions and in the ones
    that live runs are pinned to. A fault is told as compilers do: file:line: error[code] what is wrong.
    """
    by = renderers(templates, app_path)
    wanted = [*_in_files(workflows), *_in_app(app_path)]
    if database_url is not None or (workflows is None and app_path is None):
        wanted += wanted_in(_registered(database_url))
    found = find(by, wanted)
    if as_json:
        print_json(_for_programs(found))
    else:
        for finding in found.findings:
            print_line(finding.printed())
        print_line(_summary(found, len(by.templates.sources)))
    sys.exit(1 if found.errors else 0)


def found_for(drafts: Iterable[Definition], templates: Path) -> list[Finding]:
    """Return what is wrong with a folder's templates of the messages of these definitions."""
    wanted = [one for definition in drafts for one in wanted_by(definition)]
    return find(renderers(templates, None), wanted).findings


def _in_files(path: Path | None) -> Iterator[Wanted]:
    if path is None:
        return
    if not path.exists():
        raise InvalidSettings(
            f"--workflows: {path} is not there; name a folder or a file", option="--workflows"
        )
    files = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES) if path.is_dir() else [path]
    for file in files:
        for definition in definitions_in(file):
            yield from wanted_by(definition)


def _in_app(app_path: str | None) -> Iterator[Wanted]:
    if app_path is None:
        return
    declared = find_app(app_path).declared
    for definition in declared.workflows:
        model = declared.models.get((definition.key, definition.version))
        yield from wanted_by(definition, None if model is None else schema_of(model))


def _registered(database_url: str | None) -> list[Stored]:
    """Return the current versions, and those that live runs are pinned to, each once."""

    async def ask(client: Chimeway) -> list[Stored]:
        found: dict[tuple[str, int], Stored] = {}
        with progress("reading definitions"):
            after = ""
            while page := await definitions.current_definitions(client.database, after, 200):
                found |= {(one.key, one.version): one for one in page}
                after = page[-1].key
            live = await definitions.definitions_with_live_runs(client.database)
        return list((found | {(one.key, one.version): one for one in live}).values())

    return session.run(database_url, ask)


def _for_programs(found: Checked) -> Mapping[str, Any]:
    return {
        "messages": found.messages,
        "findings": [one.as_json() for one in found.findings],
        "errors": len(found.errors),
        "warnings": len(found.findings) - len(found.errors),
    }


def _summary(found: Checked, templates: int) -> str:
    counts = (
        (len(found.messages), "message"),
        (templates, "template"),
        (len(found.errors), "error"),
        (len(found.findings) - len(found.errors), "warning"),
    )
    told = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts]
    return f"{', '.join(told[:2])}: {', '.join(told[2:])}"
