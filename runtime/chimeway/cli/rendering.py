"""`chimeway render`: a message as a node would make it, of data that is given here. No database."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chimeway.cli.finding_app import find_app
from chimeway.cli.options import AsJson, examples
from chimeway.cli.printing import print_json, print_line, shown
from chimeway.cli.reading_files import json_object
from chimeway.client.checks import identifier
from chimeway.client.recipient import Recipient
from chimeway.daemon.template_folder import read_sources
from chimeway.delivery.declared import NOTHING_DECLARED
from chimeway.render.message import (
    RenderContext,
    Rendered,
    RenderFault,
    RenderRecipient,
    RenderRun,
    RenderStep,
)
from chimeway.render.renderers import Renderers
from chimeway.render.templates import Templates
from chimeway.settings import Settings
from chimeway.spelling import did_you_mean

app = typer.Typer(rich_markup_mode=None)
AppPath = Annotated[
    str | None,
    typer.Option("--app", help="An App in your code: module:attribute.", show_default=False),
]
TemplatesFolder = Annotated[
    Path | None,
    typer.Option(help="The folder of templates; without it CHIMEWAY_TEMPLATES_DIR.", show_default=False),
]
_RUN: Final = "00000000-0000-7000-8000-000000000000"
_JSON: Final = "JSON, @FILE, or - for stdin."
_PROFILE: Final = ("id", "email", "phone", "timezone", "locale", "addresses", "preferences", "data")


def renderers(templates: Path | None, app_path: str | None) -> Renderers:
    """Return what a node with this folder and this app would render by.

    Raises:
        InvalidSettings: the folder, a file in it or the app is not what it must be.
    """
    folder, named = (templates, "--templates") if templates else (None, "CHIMEWAY_TEMPLATES_DIR")
    folder = folder or Settings().templates_dir
    if folder is None and app_path is None:
        print("no folder of templates is named: --templates, or CHIMEWAY_TEMPLATES_DIR", file=sys.stderr)
    declared = NOTHING_DECLARED if app_path is None else find_app(app_path).declared
    return Renderers(declared.renderers, Templates(read_sources(folder, named)))


@app.command(
    epilog=examples(
        'chimeway render mention_email --channel email --data \'{"title": "Plan"}\'',
        "chimeway render mention_email --channel email --data @mention.json --locale pt-BR",
        "chimeway render mention_email --channel email --data @mention.json --html > mention.html",
    )
)
def render(
    render_key: Annotated[str, typer.Argument(metavar="KEY", help="The render key.", show_default=False)],
    *,
    channel: Annotated[str, typer.Option(help="Like email or in_app.", show_default=False)],
    data: Annotated[str | None, typer.Option(help=f"The trigger's data: {_JSON}", show_default=False)] = None,
    locale: Annotated[
        str | None, typer.Option(help="The reader's, before that of --recipient.", show_default=False)
    ] = None,
    recipient: Annotated[
        str | None,
        typer.Option(
            help=f"The reader's profile, as `identify` takes it, and an id: {_JSON}", show_default=False
        ),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose.")] = "default",
    workflow: Annotated[str, typer.Option(help="The run's workflow.")] = "workflow",
    version: Annotated[int, typer.Option(help="The workflow's version.")] = 1,
    step: Annotated[str, typer.Option(help="The step that sends it.")] = "step",
    templates: TemplatesFolder = None,
    app_path: AppPath = None,
    html: Annotated[bool, typer.Option("--html", help="Write the body alone, as it is.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Write the plain text alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a message as a node would make it.

    Exit 1 where it cannot be made. Templates come from a folder, functions from an app. A fault is told
    with its template and line.
    """
    if html + text + as_json > 1:
        raise typer.BadParameter("--html, --text and --json are three ways to write it; give one")
    if data == recipient == "-":
        raise typer.BadParameter("--data and --recipient cannot both be read from stdin")
    context = RenderContext(
        data=json_object("--data", data),
        recipient=_reader(json_object("--recipient", recipient), locale),
        tenant=tenant,
        run=RenderRun(_RUN, workflow, version),
        step=RenderStep(step),
    )
    by = renderers(templates, app_path)
    made = by.render(render_key, channel, context)
    source = by.source(render_key, channel, context.recipient.locale)
    if as_json:
        print_json(_told(made, source))
    elif isinstance(made, RenderFault):
        print(f"error: {shown(made.reason)}", file=sys.stderr)
    elif html or text:
        _write(made.body if html else made.text if made.text is not None else made.body)
    else:
        _show(made, source)
    sys.exit(1 if isinstance(made, RenderFault) else 0)


def _reader(given: Mapping[str, Any], locale: str | None) -> RenderRecipient:
    """Return the reader of a profile; addresses are where `identify` would put them."""
    for name in given:
        if name not in _PROFILE:
            near = did_you_mean(name, _PROFILE)
            raise typer.BadParameter(f"--recipient has {name!r}, which no profile has{near}")
    who = Recipient(**{"id": "recipient", **given})
    profile = who.profile()
    direct = {"email": ("email",), "phone": ("phone", "sms")}
    moved = {channel: profile[name] for name, to in direct.items() if name in profile for channel in to}
    addresses = {**profile.get("addresses", {}), **moved}
    return RenderRecipient(
        id=identifier("--recipient's id", who.id),
        locale=locale if locale is not None else profile.get("locale"),
        timezone=profile.get("timezone"),
        addresses={name: one for name, one in addresses.items() if one is not None},
        data=profile.get("data", {}),
    )


def _told(made: Rendered | RenderFault, source: str | None) -> dict[str, Any]:
    if isinstance(made, RenderFault):
        return {"source": source, "fault": made.reason}
    return {"source": source, "locale": None, **made.as_json()}


def _show(made: Rendered, source: str | None) -> None:
    """Write all parts, each under its name."""
    print_line(f"made by  {source}")
    print_line(f"locale   {made.locale or '-'}")
    print_line(f"subject  {made.subject or '-'}")
    for name, part in (("text", made.text), ("body", made.body)):
        if part is None:
            continue
        print_line("")
        print_line(name, style="bold")
        for line in part.splitlines() or [""]:
            print_line(f"  {line}" if line else "")


def _write(part: str) -> None:
    """Write a part as it is, for files and pipes; on a terminal nothing in it moves the cursor."""
    for line in part.split("\n"):
        print(shown(line) if sys.stdout.isatty() else line)
