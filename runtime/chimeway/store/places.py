"""Our `$1` places as drivers write theirs that know no numbers. Pure."""

import re
from functools import lru_cache
from typing import Final

from chimeway.store.call import Statement

_PLACE: Final = re.compile(r"\$(\d+)")


def named(statement: Statement) -> tuple[str, dict[str, str | None]]:
    """Return a statement with `%(p1)s` for `$1`, and its arguments by name."""
    return _named(statement.sql), {f"p{number}": arg for number, arg in enumerate(statement.args, 1)}


@lru_cache(maxsize=256)
def _named(sql: str) -> str:
    return _PLACE.sub(r"%(p\1)s", sql.replace("%", "%%"))
