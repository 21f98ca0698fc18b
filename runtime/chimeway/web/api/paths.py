"""Ids in paths: a slash that is written as `%2F` is a part of its id, and divides nothing.

The frame is given a path that is decoded already, where both look the same. So it is decoded here, part by
part, with half of a surrogate pair in the slash's place: no decoded text has one, and no id may.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import Scope

_STAND_IN: Final = "\udc2f"
_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)


def with_slashes_in_ids(scope: Scope) -> Scope:
    """Return the scope of a request with a path whose ids the frame finds whole."""
    raw: bytes = scope.get("raw_path") or b""
    if not _SLASH.search(raw):
        return scope
    parts = (unquote(part.decode("latin-1")) for part in raw.split(b"/"))
    return {**scope, "path": "/".join(part.replace("/", _STAND_IN) for part in parts)}


def as_meant(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a path named, as whoever asked meant it."""
    return {
        name: value.replace(_STAND_IN, "/") if isinstance(value, str) else value
        for name, value in found.items()
    }
