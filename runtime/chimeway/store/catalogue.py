"""The registered definitions that a node has met, parsed once: a version never changes."""

from typing import Final

from chimeway.errors import InvalidDefinition
from chimeway.store.pool import Database
from chimeway.workflow.definition import Definition
from chimeway.workflow.parse import parse

_KEPT: Final = 1_000


class Catalogue:
    """Definitions by (key, version); None where this program cannot read the stored one."""

    def __init__(self, database: Database) -> None:
        """Read from this database."""
        self._database = database
        self._known: dict[tuple[str, int], Definition | None] = {}

    async def get(self, key: str, version: int) -> Definition | None:
        """Return a registered definition, or None when this program does not understand it."""
        name = (key, version)
        if name not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            row = await self._database.fetchrow("load_definition", key, version)
            try:
                self._known[name] = parse(row["definition"]) if row else None
            except InvalidDefinition:
                self._known[name] = None
        return self._known[name]
