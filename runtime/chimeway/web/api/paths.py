"""Ids in paths: a slash that is written as `%2F` is a part of its id, and divides nothing.

The frame is given a path that is decoded already, where both look the same. So it is decoded here, part by
part, with half of a surrogate pair in the slash's place: no decoded text has one, and no id may.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

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


def is_utf8(scope: Scope) -> bool:
    """Say whether a request's path and query are UTF-8: the frame has one sign for all that is none.

    So two people whose ids somebody has written in another coding would be one.
    """
    return all(_is_text(scope.get(name) or b"") for name in ("raw_path", "query_string"))


def _is_text(raw: bytes) -> bool:
    try:
        unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def as_meant(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a path named, as whoever asked meant it."""
    return {
        name: value.replace(_STAND_IN, "/") if isinstance(value, str) else value
        for name, value in found.items()
    }
