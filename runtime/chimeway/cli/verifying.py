"""`chimeway verify`: whether all invariants hold."""

import sys
from secrets import randbelow
from typing import Annotated

import typer

from chimeway.cli import reading_files, session
from chimeway.cli.options import (
    AsJson,
    DatabaseUrl,
    EveryTenant,
    MaxLateness,
    Sample,
    Seed,
    Since,
    examples,
)
from chimeway.cli.printing import print_json, print_line, progress, shown
from chimeway.client.chimeway import Chimeway
from chimeway.settings import Settings
from chimeway.store.verify import Report, Scope, examine
from chimeway.store.verify_findings import CHECKS
from chimeway.store.verify_walks import Place, place_of

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "chimeway verify",
        "chimeway verify --since P1D --max-lateness PT1M --json",
        "chimeway verify --sample 10000",
        "chimeway verify --after runs:019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
    )
)
def verify(
    *,
    max_lateness: MaxLateness = None,
    tenant: EveryTenant = None,
    since: Since = None,
    sample: Sample = None,
    seed: Seed = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE", help="Go on where another had come to, as it said.", show_default=False
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check all invariants of a database; exit 1 if one is violated.

    Nothing is written, and daemons may work meanwhile. Memory does not grow with the database; time does,
    unless it is asked of some only. What was looked at is said. Interrupted, it says what it has found, and
    where to go on.
    """
    scope = scope_of(tenant, since, sample, seed)
    report = Report(place=_place_of(after, scope))
    settings = Settings(database_url=database_url, max_lateness=max_lateness)
    looked_at = 0

    async def ask(client: Chimeway) -> None:
        with progress("verifying") as tell:

            def count(rows: int) -> None:
                nonlocal looked_at
                looked_at += rows
                tell(f"{looked_at} rows so far")

            await examine(
                client.database,
                scope,
                max_lateness=settings.max_lateness,
                progress=count,
                come=report,
            )

    try:
        session.run(database_url, ask)
    except BaseException:
        if report.rows:
            _tell_so_far(report, scope, as_json=as_json)
        raise
    if as_json:
        _tell_json(report, scope)
    else:
        _tell(report, scope, after)
    sys.exit(1 if report.violations else 0)


def scope_of(tenant: str | None, since: str | None, sample: int | None, seed: int | None) -> Scope:
    """Return what is to be looked at, by its options.

    Raises:
        typer.BadParameter: they do not go together, or --since is no time.
    """
    if sample is not None and (tenant is not None or since is not None):
        raise typer.BadParameter("--sample is of everything: leave --tenant and --since out")
    if seed is not None and sample is None:
        raise typer.BadParameter("--seed is of a sample: give --sample, too")
    chosen = randbelow(1_000_000) if seed is None and sample is not None else seed or 0
    return Scope(tenant, reading_files.since("--since", since), sample, chosen)


def limits_of(scope: Scope) -> str:
    """Return a sentence's end that says what was looked at; empty: everything."""
    if scope.sample is not None:
        return f", a sample of about {scope.sample} runs (seed {scope.seed})"
    told = "" if scope.tenant is None else f", of tenant {scope.tenant}"
    return told if scope.since is None else f"{told}, since {shown(scope.since)}"


def _place_of(after: str | None, scope: Scope) -> Place | None:
    if after is None:
        return None
    if scope.sample is not None:
        raise typer.BadParameter("--after goes by the order of rows: leave --sample out")
    try:
        return place_of(after)
    except ValueError:
        raise typer.BadParameter(f"--after is no place that verify told: {after}") from None


def _tell_so_far(report: Report, scope: Scope, *, as_json: bool) -> None:
    if as_json:
        _tell_json(report, scope)  # which has the place
        return
    _tell_violations(report)
    told = f"verified {report.rows} rows"
    if report.place is not None:
        told += f" as far as {report.place}: go on with --after {report.place}"
    print(told, file=sys.stderr)


def _tell_json(report: Report, scope: Scope) -> None:
    print_json(
        {
            "rows": report.rows,
            "runs": report.runs,
            "events": report.events,
            "signals": report.signals,
            "unreadable": report.unreadable,
            "scope": scope,
            "place": None if report.place is None else str(report.place),
            "violations": report.violations,
        }
    )


def _tell_violations(report: Report) -> None:
    for violation in report.violations:
        print_line(
            f"{violation.invariant} {violation.check}: {violation.count} violate: {violation.sentence}"
        )
        for example in violation.examples:
            print_line(f"  {example}")


def _tell(report: Report, scope: Scope, after: str | None) -> None:
    _tell_violations(report)
    if report.unreadable:
        print_line(
            f"{report.unreadable} runs are of definitions that this program does not understand:"
            " their decisions were not made again"
        )
    broken = len({violation.invariant for violation in report.violations})
    told = f"{broken} of 10 invariants violated" if broken else "all 10 invariants hold"
    rows = f"{report.runs} runs, {report.events} events, {report.signals} signals"
    behind = "" if after is None else f", behind {after}"
    print_line(f"{rows}{limits_of(scope)}{behind}, {len(CHECKS)} checks: {told}")
