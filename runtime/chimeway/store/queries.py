"""The SQL of the store, loaded once from `sql/*.sql`: each statement has a name and a sentence.

A file holds statements that open with `-- name: the_name` and a comment that says what they do.
"""

import re
from importlib import resources
from typing import Final

_OPENING = re.compile(r"^-- name: (\w+)\n((?:--.*\n)+)", re.MULTILINE)


def _load() -> dict[str, str]:
    found: dict[str, str] = {}
    folder = resources.files("chimeway.store").joinpath("sql")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        parts = _OPENING.split(file.read_text(encoding="utf-8"))
        for name, _sentence, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            if name in found:
                msg = f"two statements are named {name}"
                raise AssertionError(msg)
            found[name] = body.strip().rstrip(";")
    return found


SQL: Final = _load()
"""Statement by name."""
