"""What the tests of pruning share: how long is kept, all batches at once, and a life to prune."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from chimeway.store.pool import Database
from chimeway.store.pruning import PARTS, Retention, batches

DAY = timedelta(days=1)
KEPT = Retention(runs=90 * DAY, signals=30 * DAY, keys=30 * DAY, bodies=7 * DAY, audit=400 * DAY)
OF_RUNS = (
    "workflow_transitions", "deliveries", "delivery_attempts", "run_mailbox", "inbox_items",
)  # fmt: skip
"""Tables that bear `run_id`."""


async def prune(database: Database, kept: Retention = KEPT, **more: Any) -> Counter[str]:
    """Remove all that may leave; return what did, by table."""
    removed: Counter[str] = Counter()
    for part in PARTS:
        async for batch in batches(database, part, kept, **more):
            removed.update(batch.removed)
    return removed


async def rows_of_run(database: Database, run: UUID) -> dict[str, int]:
    """Return how many rows of each table are of a run."""
    found = {}
    async with database.acquire() as connection:
        for table in ("workflow_runs", *OF_RUNS):
            name = "id" if table == "workflow_runs" else "run_id"
            found[table] = await connection.fetchval(
                f"select count(*) from chimeway.{table} where {name} = $1", run
            )
    return {table: many for table, many in found.items() if many}
