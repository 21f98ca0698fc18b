"""`chimeway verify`: whether all invariants hold."""

import sys

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, MaxLateness, examples
from chimeway.cli.printing import print_json, print_line, progress
from chimeway.client.chimeway import Chimeway
from chimeway.settings import Settings
from chimeway.store.verify import verify as find_violations
from chimeway.store.verify_findings import CHECKS, Violation

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=examples("chimeway verify", "chimeway verify --max-lateness PT1M --json"))
def verify(
    max_lateness: MaxLateness = None, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """Check all invariants of a database; exit 1 if one is violated.

    Nothing is written, and daemons may work meanwhile. Memory does not grow with the database.
    """
    settings = Settings(database_url=database_url, max_lateness=max_lateness)
    looked_at = 0

    async def ask(client: Chimeway) -> list[Violation]:
        with progress("verifying") as tell:

            def count(rows: int) -> None:
                nonlocal looked_at
                looked_at += rows
                tell(f"{looked_at} rows so far")

            return await find_violations(
                client.database,
                max_lateness=settings.max_lateness,
                retention=settings.retention_completed,
                progress=count,
            )

    violations = session.run(database_url, ask)
    if as_json:
        print_json({"rows": looked_at, "violations": violations})
    else:
        _tell(looked_at, violations)
    sys.exit(1 if violations else 0)


def _tell(rows: int, violations: list[Violation]) -> None:
    for violation in violations:
        print_line(
            f"{violation.invariant} {violation.check}: {violation.count} violate: {violation.sentence}"
        )
        for example in violation.examples:
            print_line(f"  {example}")
    broken = len({violation.invariant for violation in violations})
    told = f"{broken} of 10 invariants violated" if broken else "all 10 invariants hold"
    print_line(f"{rows} rows, {len(CHECKS)} checks: {told}")
