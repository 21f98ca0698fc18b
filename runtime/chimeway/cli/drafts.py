"""`chimeway workflow check` and `rehearse`: definitions that are files yet. No database."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from chimeway.cli.options import AsJson
from chimeway.cli.pathways import after
from chimeway.cli.printing import print_json, print_line, print_sentence, shown
from chimeway.cli.reading_files import (
    File,
    Files,
    WhichKey,
    content,
    definition_in,
    format_of,
    named,
    plain_data,
)
from chimeway.cli.tables import print_table
from chimeway.progression.rehearse import Rehearsal
from chimeway.progression.rehearse import rehearse as play
from chimeway.progression.snapshot import LIVE
from chimeway.render.findings import Finding
from chimeway.workflow.encode import digest
from chimeway.workflow.parse import Checked
from chimeway.workflow.text import check_text


def check(
    files: Files,
    templates: Annotated[
        Path | None,
        typer.Option(help="A folder of templates: look whether it makes their messages.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every fault of the definitions in files; exit 1 if there is an error.

    A fault is told as compilers do: file:line: error[code] path: what is wrong.
    """
    found = {named(path): check_text(content(path), format=format_of(path)) for path in files}
    each = [checked for checks in found.values() for checked in checks]
    rendering = [] if templates is None else _rendering(templates, each)
    errors = sum(len(checked.errors) for checked in each)
    warnings = sum(len(checked.warnings) for checked in each)
    errors += sum(1 for one in rendering if one.severity == "error")
    warnings += sum(1 for one in rendering if one.severity == "warning")
    if as_json:
        definitions = [_checked(name, checked) for name, checks in found.items() for checked in checks]
        told = {} if templates is None else {"templates": [one.as_json() for one in rendering]}
        print_json({"definitions": definitions, **told, "errors": errors, "warnings": warnings})
    else:
        for name, checks in found.items():
            for problem in (problem for checked in checks for problem in checked.problems):
                print_line(problem.printed(name))
        for finding in rendering:
            print_line(finding.printed())
        print_line(
            f"{_many(len(each), 'definition')}: {_many(errors, 'error')}, {_many(warnings, 'warning')}"
        )
    sys.exit(1 if errors else 0)


def rehearse(
    file: File,
    script: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="What happens: start, zone, data, deliveries, events (YAML or JSON). Without it, time.",
        ),
    ] = None,
    key: WhichKey = None,
    as_json: AsJson = False,
) -> None:
    """Play a journey on paper, through the decision core itself, and write its timeline."""
    played = play(definition_in(file, key), None if script is None else plain_data(script))
    if as_json:
        print_json(_rehearsal(played))
    else:
        _tell(played)


def _rendering(templates: Path, each: list[Checked]) -> list[Finding]:
    """Return what is wrong with the messages of these definitions; other workflows may use the rest."""
    from chimeway.cli.templating import found_for  # noqa: PLC0415  (a node's parts, which take a while)

    found = found_for([checked.definition for checked in each if checked.definition], templates)
    return [one for one in found if one.code not in {"unused_template", "unused_function"}]


def _checked(name: str, checked: Checked) -> dict[str, Any]:
    definition = checked.definition
    return {
        "file": name,
        "key": definition.key if definition else None,
        "version": definition.version if definition else None,
        "digest": digest(definition) if definition else None,
        "problems": checked.problems,
    }


def _rehearsal(played: Rehearsal) -> dict[str, Any]:
    run = played.run
    return {
        "state": run.state,
        "step": run.step,
        "reason": run.status_reason,
        "rests_because": played.noop,
        "timeline": played.timeline,
        "deliveries": played.deliveries,
    }


def _tell(played: Rehearsal) -> None:
    start = played.timeline[0].at
    rows = (
        (after(line.at - start), shown(line.at), line.what, line.step, line.detail)
        for line in played.timeline
    )
    print_table(("AFTER", "AT", "WHAT", "STEP", "DETAIL"), rows, lead=(0, 2))
    because = f", and rests: {played.noop}" if played.run.state in LIVE else ""
    print_sentence(f"The run is {played.run.state} ({played.run.status_reason}){because}.")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
