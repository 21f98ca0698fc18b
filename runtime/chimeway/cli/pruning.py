"""`chimeway prune`: what has ended long ago leaves."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, DatabaseUrl, EveryTenant, examples
from chimeway.cli.printing import Progress, print_json, print_line, progress
from chimeway.cli.tables import print_table
from chimeway.client.chimeway import Chimeway
from chimeway.clock import SystemClock
from chimeway.limits import PRUNE_BATCH
from chimeway.settings import Settings
from chimeway.store.pool import Database
from chimeway.store.pruning import PARTS, Retention, batches, retention_of

app = typer.Typer(rich_markup_mode=None)
_KEPT: Final = {
    "CHIMEWAY_RETENTION_COMPLETED": "ended runs",
    "CHIMEWAY_RETENTION_SIGNALS": "signals",
    "CHIMEWAY_IDEMPOTENCY_RETENTION": "idempotency keys",
    "CHIMEWAY_KEEP_BODIES": "texts of messages",
    "CHIMEWAY_RETENTION_AUDIT": "deeds of operators",
}


@dataclass(slots=True)
class Pruned:
    """What has left so far, by table; `complete` says whether all was looked at."""

    rows: Counter[str] = field(default_factory=Counter)
    complete: bool = False


@app.command(
    epilog=examples(
        "chimeway prune --dry-run",
        "chimeway prune --tenant org_456 --json",
        "CHIMEWAY_RETENTION_COMPLETED=P30D chimeway prune",
    )
)
def prune(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would leave; nothing is locked or removed.")
    ] = False,
    tenant: EveryTenant = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1_000, help="Rows that one transaction looks at.")
    ] = PRUNE_BATCH,
    rest: Annotated[
        float, typer.Option(min=0, max=100, help="How long to rest after each, in multiples of what it took.")
    ] = 1.0,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Remove what has ended long ago, in small batches.

    Runs leave with all that is theirs (their inbox items, too), signals and keys of triggers when nothing
    needs them any more, of messages their texts, and last of all who did what, and what was held after a
    restore. How long each is kept is a setting: CHIMEWAY_RETENTION_COMPLETED, CHIMEWAY_RETENTION_SIGNALS,
    CHIMEWAY_IDEMPOTENCY_RETENTION, CHIMEWAY_KEEP_BODIES, CHIMEWAY_RETENTION_AUDIT.
    Each batch is a short transaction that waits for nobody; nodes work meanwhile, and
    prune by themselves, unless CHIMEWAY_PRUNE is off. Interrupted, it says what has left; started again, it
    goes on.
    """
    settings = Settings(database_url=database_url)
    retention, done = retention_of(settings), Pruned()

    async def ask(client: Chimeway) -> None:
        with progress("counting" if dry_run else "pruning") as tell:
            await _all_parts(client.database, retention, tenant, batch, rest, done, tell, dry=dry_run)

    try:
        session.run(database_url, ask)
    except BaseException:
        if done.rows:
            _tell(done, tenant, settings, dry=dry_run, as_json=as_json)
        raise
    _tell(done, tenant, settings, dry=dry_run, as_json=as_json)


async def _all_parts(
    database: Database,
    retention: Retention,
    tenant: str | None,
    at_most: int,
    rest: float,
    done: Pruned,
    tell: Progress,
    *,
    dry: bool,
) -> None:
    clock = SystemClock()
    for part in PARTS:
        began = clock.monotonic()
        async for batch in batches(database, part, retention, tenant=tenant, dry=dry, at_most=at_most):
            done.rows.update(batch.removed)
            tell(f"{part}: {done.rows.total()} rows so far")
            if batch.more and not dry:
                await asyncio.sleep(rest * (clock.monotonic() - began))
            began = clock.monotonic()
    done.complete = True


def _tell(done: Pruned, tenant: str | None, settings: Settings, *, dry: bool, as_json: bool) -> None:
    """Say what has left, or would; what is not complete is no answer, and goes to stderr, JSON aside."""
    kept = {row.name: row.value for row in settings.describe() if row.name in _KEPT}
    if as_json:
        print_json(
            {
                "dry_run": dry,
                "complete": done.complete,
                "tenant": tenant,
                "kept": {_KEPT[name]: value for name, value in kept.items()},
                "removed": dict(sorted(done.rows.items())),
            }
        )
        return
    if not done.complete:
        print(f"interrupted; removed so far: {_listed(done)}; start it again to go on", file=sys.stderr)
        return
    whose = "" if tenant is None else f" of tenant {tenant}"
    if not done.rows:
        print_line(f"nothing{whose} is old enough to leave")
    else:
        head = "WOULD LEAVE" if dry else "LEFT"
        print_table(("TABLE", head), [(table, many) for table, many in sorted(done.rows.items())])
    print_line(", ".join(f"{_KEPT[name]} are kept for {value}" for name, value in kept.items()))


def _listed(done: Pruned) -> str:
    return ", ".join(f"{table} {many}" for table, many in sorted(done.rows.items()))
