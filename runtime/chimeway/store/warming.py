"""Statements carried out once on a new connection, with nothing to do: who comes first waits for no plans.

Each session of PostgreSQL reads the catalogue, compiles our functions and plans their statements for itself:
twenty-five milliseconds of work for the first signal on a new connection, two for the next. Connections of a
node come and go (they are closed when nobody needs them), so that a signal after a quiet hour would meet one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from chimeway.store.faults import fault_of
from chimeway.store.queries import SQL

if TYPE_CHECKING:
    from chimeway.store.pool import Connection

_NOBODY: Final = (None, None)


def _with_nothing(statement: str, first: Sequence[Any]) -> Sequence[Any]:
    """Return arguments that begin so, and are empty arrays else."""
    many = max(int(number) for number in re.findall(r"\$(\d+)", SQL[statement]))
    return [*first, *([] for _ in range(many - len(first)))]


_FIRST: Final[Mapping[str, Sequence[Any]]] = {
    "heed_signals": (0, 0, 0),
    "load_runs": ([], True),
    "commit_decisions": _NOBODY,
    "any_new_run": (),
}
"""What a signal's way goes through → the first arguments that are no arrays."""


async def warm(connection: "Connection") -> None:
    """Carry out each with nothing to do. What is refused is refused again to whoever means it."""
    for statement, first in _FIRST.items():
        arguments = _with_nothing(statement, first) if "$" in SQL[statement] else ()
        try:
            await connection.fetch(SQL[statement], *arguments)
        except asyncpg.PostgresError as error:
            if fault_of(error) == "connection":
                raise
            return
