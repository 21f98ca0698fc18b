"""What callers give, judged before any SQL is sent: a refusal there would abort a lent transaction.

Pure. The SQL functions check again; what is exact in bytes of stored JSON is theirs alone to say.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chimeway.errors import InvalidInput
from chimeway.limits import (
    MAX_DATA_BYTES,
    MAX_IDENTIFIER_CHARS,
    MAX_JSON_DEPTH,
    MAX_NOTE_CHARS,
    MAX_PAGE,
)
from chimeway.store.call import json_text

# PostgreSQL's text holds no NUL; an even number of backslashes before it escapes nothing.
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def identifier(field: str, value: object) -> str:
    """Return a text of 1 to 255 characters, or raise InvalidInput."""
    if not isinstance(value, str):
        raise _refused(field, f"a {type(value).__name__}", "give a text")
    if not 0 < len(value) <= MAX_IDENTIFIER_CHARS:
        given = f"{len(value)} characters long" if value else "empty"
        raise _refused(field, given, f"give a text of 1 to {MAX_IDENTIFIER_CHARS} characters")
    if "\0" in value or not _encodable(value):
        raise _refused(field, "no text that PostgreSQL can hold", "leave NUL and lone surrogates out")
    return value


def optional_identifier(field: str, value: object) -> str | None:
    """Return None for None, else as `identifier`."""
    return None if value is None else identifier(field, value)


def note(value: object) -> str | None:
    """Return free text of at most 1,000 characters, or raise InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_NOTE_CHARS or "\0" in value or not _encodable(value):
        raise _refused("note", "no such text", f"give a text of at most {MAX_NOTE_CHARS} characters")
    return value


def json_object(field: str, value: object) -> dict[str, Any]:
    """Return a mapping as a dict that JSON, and PostgreSQL's jsonb, can hold; else raise InvalidInput."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused(field, f"a {type(value).__name__}", "give a mapping, such as {}")
    found = dict(value)
    if _too_deep(found):
        raise _refused(field, "nested too deep", f"at most {MAX_JSON_DEPTH} levels")
    try:
        text = json_text(found)
    except (TypeError, ValueError) as fault:
        hint = "give JSON values only; write instants as RFC 3339 text, ids and numbers as text"
        raise _refused(field, f"no JSON ({fault})", hint) from None
    if _NUL.search(text) or not _encodable(text):
        raise _refused(field, "no JSON that PostgreSQL can hold", "leave NUL and lone surrogates out")
    if len(text.encode()) > MAX_DATA_BYTES:
        hint = f"at most {MAX_DATA_BYTES} bytes; keep large things elsewhere and pass their ids"
        raise _refused(field, f"{len(text.encode())} bytes of JSON", hint)
    return found


def instant(field: str, value: object) -> datetime | None:
    """Return an aware datetime, or raise InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _refused(field, "no instant", "give a datetime with its zone, such as datetime.now(UTC)")
    return value


def uuid(field: str, value: object) -> UUID:
    """Return an id, given as UUID or as its text, or raise InvalidInput."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value) if isinstance(value, str) else _no_uuid()
    except ValueError:
        raise _refused(field, "no UUID", "give the id that a receipt or a list has shown") from None


def page_size(value: object) -> int:
    """Return how many rows a page may have, or raise InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PAGE:
        raise _refused("limit", repr(value), f"give a number from 1 to {MAX_PAGE}")
    return value


def _refused(field: str, given: str, hint: str) -> InvalidInput:
    return InvalidInput(f"{field} is {given}: {hint}", field=field, hint=hint)


def _no_uuid() -> UUID:
    raise ValueError


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep(value: object) -> bool:
    layer = [value]
    for _ in range(MAX_JSON_DEPTH):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list | tuple)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return any(isinstance(inner, dict | list | tuple) for inner in layer)
