"""Giving a held run back, by an operator's hand; `runs.hold` holds one."""

from uuid import UUID

from chimeway.store.pool import Database
from chimeway.store.words import in_our_words


async def resume(database: Database, run_id: UUID, note: str | None = None) -> bool:
    """Let a held run go on; say whether it was held.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    with in_our_words():
        return bool(await database.fetchval("resume_run", run_id, note))
