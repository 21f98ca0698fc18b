"""Options and arguments that several commands have, each said once."""

from typing import Annotated, TypeAlias

import typer

DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="postgresql://user:password@host/name; without it CHIMEWAY_DATABASE_URL, else a server of "
        "one's own, in CHIMEWAY_DATA_DIR.",
        show_default=False,
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Tenant: TypeAlias = Annotated[
    str | None, typer.Option(help='Whose; without it "default".', show_default=False)
]
EveryTenant: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", help="Whose; without it those of all tenants.", show_default=False)
]
AllTenants: TypeAlias = Annotated[
    bool, typer.Option("--all-tenants", help="Those of all tenants, and not of one.")
]
Note: TypeAlias = Annotated[
    str | None, typer.Option(help="Free text, kept beside the reason.", show_default=False)
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Cursor: TypeAlias = Annotated[
    str | None, typer.Option(help="Where the page before this one said to go on.", show_default=False)
]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=1_000, help="Rows of a page.")]
MaxLateness: TypeAlias = Annotated[
    str | None,
    typer.Option(help="ISO 8601, like PT5S; without it CHIMEWAY_MAX_LATENESS.", show_default=False),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Only what was triggered or recorded since: an instant, or how long ago, like P1D.",
        show_default=False,
    ),
]
Sample: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=1_000_000, help="Only about so many runs, at random.", show_default=False),
]
Seed: TypeAlias = Annotated[
    int | None, typer.Option(help="Of --sample: the same seed, the same runs.", show_default=False)
]
RunId: TypeAlias = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id.", show_default=False)]


def examples(*commands: str) -> str:
    """Return the end of a command's help: what one might type."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
