"""What callers give, judged before any SQL is sent: a refusal there would abort a lent transaction.

Pure. The SQL functions check again, by the same rules.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args
from uuid import UUID

from chimeway.client.json_values import json_object, quoted, refused
from chimeway.database_url import read as read_url
from chimeway.errors import InvalidInput
from chimeway.limits import MAX_IDENTIFIER_CHARS, MAX_NOTE_CHARS, MAX_PAGE
from chimeway.progression.snapshot import RunState
from chimeway.spelling import did_you_mean
from chimeway.workflow.parse import MAX_VERSION
from chimeway.workflow.soundness import string_fault

__all__ = (
    "archived", "flag", "identifier", "instant", "json_object", "note", "opening", "optional_identifier",
    "page_size", "quoted", "refused", "run_state", "seconds", "signing_keys", "span", "uuid", "version",
)  # fmt: skip
_STATES: Final = get_args(RunState)


def identifier(field: str, value: object) -> str:
    """Return a text of 1 to 255 characters, or raise InvalidInput."""
    wanted = f"give a text of 1 to {MAX_IDENTIFIER_CHARS} characters"
    if not isinstance(value, str):
        raise refused(field, quoted(value), wanted)
    if not 0 < len(value) <= MAX_IDENTIFIER_CHARS:
        raise refused(field, f"{len(value)} characters long" if value else "empty", wanted)
    return _holdable(field, value)


def optional_identifier(field: str, value: object) -> str | None:
    """Return None for None, else as `identifier`."""
    return None if value is None else identifier(field, value)


def note(value: object) -> str | None:
    """Return free text of at most 1,000 characters, or raise InvalidInput."""
    if value is None:
        return None
    wanted = f"give a text of at most {MAX_NOTE_CHARS} characters"
    if not isinstance(value, str):
        raise refused("note", quoted(value), wanted)
    if len(value) > MAX_NOTE_CHARS:
        raise refused("note", f"{len(value)} characters long", wanted)
    return _holdable("note", value)


def instant(field: str, value: object) -> datetime | None:
    """Return an aware datetime, or raise InvalidInput."""
    if value is None:
        return None
    wanted = "give a datetime with its zone, such as datetime.now(UTC)"
    if not isinstance(value, datetime):
        raise refused(field, quoted(value), wanted)
    if value.utcoffset() is None:
        raise refused(field, f"{value.isoformat()} without a zone", wanted)
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise refused(field, f"{value.isoformat()}, outside the years 1 to 9999 in UTC", wanted) from None
    return value


def span(field: str, value: object) -> timedelta:
    """Return a span of time that is not negative, or raise InvalidInput."""
    if not isinstance(value, timedelta):
        raise refused(field, quoted(value), "give a timedelta")
    if value < timedelta(0):
        raise refused(field, str(value), "give no less than timedelta(0)")
    return value


def seconds(field: str, value: object) -> float:
    """Return a number of seconds that is not negative, or raise InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise refused(field, quoted(value), "give a number of seconds, 0 or more")
    return float(value)


def uuid(field: str, value: object) -> UUID:
    """Return an id, given as UUID or as its text, or raise InvalidInput."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value) if isinstance(value, str) else _no_uuid()
    except ValueError:
        hint = "give the UUID that a receipt or a list has shown"
        raise refused(field, quoted(value), hint) from None


def flag(field: str, value: object) -> bool:
    """Return True or False, or raise InvalidInput: "no" is a text, and would count as yes."""
    if not isinstance(value, bool):
        raise refused(field, quoted(value), "give True or False")
    return value


def signing_keys(value: object) -> list[bytes]:
    """Return the keys of inbox tokens, or raise InvalidInput for what is no list of texts; none is shown."""
    wanted = "give a list of keys, each as openssl rand -base64 32 makes one"
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise refused("keys", "no list", wanted)
    keys = list(value)
    for place, key in enumerate(keys):
        if not isinstance(key, str) or string_fault(key):
            raise refused(f"keys[{place}]", "no text", wanted)
    return [key.encode() for key in keys]


def archived(value: object) -> str:
    """Return which items are meant, by what is put away: no, only, with; or raise InvalidInput."""
    match value:
        case bool():
            return "with" if value else "no"
        case "no" | "only" | "with":
            return str(value)
        case _:
            raise refused("archived", quoted(value), 'give "no", "only" or "with"')


def page_size(value: object) -> int:
    """Return how many rows a page may have, or raise InvalidInput."""
    return _whole("limit", value, MAX_PAGE)


def opening(dsn: object, pool_size: object, direct_dsn: object = None) -> None:
    """Raise InvalidInput for what is no text, or no number of connections; a dsn is never shown."""
    _database("dsn", dsn)
    if direct_dsn is not None:  # it is used much later, where nobody would look
        _readable("direct_dsn", _database("direct_dsn", direct_dsn))
    _whole("pool_size", pool_size, MAX_PAGE)


def _readable(field: str, url: str) -> None:
    try:
        read_url(url)
    except InvalidInput as fault:
        told = f"{field} cannot be used: {fault.details['reason']}"
        raise InvalidInput(told, **{**fault.details, "field": field}) from None


def _database(field: str, value: object) -> str:
    if isinstance(value, str) and not string_fault(value):
        return value
    given = "no text" if not isinstance(value, str) else f"a text that {string_fault(value)}"
    raise refused(field, given, "give postgresql://user:password@host:port/name")


def version(field: str, value: object) -> int | None:
    """Return a workflow's version, or None; else raise InvalidInput."""
    return None if value is None else _whole(field, value, MAX_VERSION)


def run_state(value: object) -> Any:
    """Return a state of runs, or None; else raise InvalidInput."""
    if value is None or value in _STATES:
        return value
    near = did_you_mean(value, _STATES) if isinstance(value, str) else ""
    raise refused("state", quoted(value), f"give one of {', '.join(_STATES)}{near}")


def _whole(field: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise refused(field, quoted(value), f"give a whole number from 1 to {most}")
    return value


def _holdable(field: str, text: str) -> str:
    if fault := string_fault(text):
        raise InvalidInput(f"{field} {fault}: {quoted(text)}; leave it out", field=field)
    return text


def _no_uuid() -> UUID:
    raise ValueError
