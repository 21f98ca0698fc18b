"""Reading what strangers send: headers in any case, JSON within bounds, texts that may be ids or instants."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from uuid import UUID

from chimeway.errors import FeedbackRefused, InvalidInput
from chimeway.limits import MAX_FEEDBACK_BYTES, MAX_IDENTIFIER_CHARS, MAX_NOTE_CHARS

_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_WHOLE_UUID: Final = re.compile(_UUID)
_OURS: Final = re.compile(rf"(?i:x-chimeway-delivery:\s*({_UUID})|<({_UUID})@chimeway>)")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


def by_name(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in small letters."""
    return {name.lower(): value for name, value in headers.items()}


def json_object(body: bytes, what: str = "the body") -> dict[str, Any]:
    """Return the JSON object that bytes are, or raise InvalidInput."""
    if len(body) > MAX_FEEDBACK_BYTES:
        raise InvalidInput(f"{what} is longer than {MAX_FEEDBACK_BYTES} bytes", field="body")
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):  # not chained: these errors quote what they read
        raise InvalidInput(f"{what} is no JSON: send a JSON object in UTF-8", field="body") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} is JSON, and no object", field="body")
    return found


def _no_number(_name: str) -> NoReturn:
    raise ValueError


def text(value: object) -> str | None:
    """Return a text that a row can hold, or None for what is none."""
    if not isinstance(value, str) or not value:
        return None
    return _UNSTORABLE.sub("", value) or None


def detail(*parts: object) -> str | None:
    """Return the texts among the parts as one note."""
    told = ": ".join(part for part in map(text, parts) if part)
    return told[:MAX_NOTE_CHARS] or None


def event_id(*parts: object) -> str:
    """Return the parts as one name for an event, or raise InvalidInput where one is missing."""
    names = [text(str(part) if type(part) is int else part) for part in parts]
    known = [name for name in names if name is not None]
    if len(known) < len(names):
        raise InvalidInput("the event has no id", field="id")
    return ":".join(known)[:MAX_IDENTIFIER_CHARS]


def uuid(value: object) -> UUID | None:
    """Return the id that a text is, or None."""
    if isinstance(value, str) and _WHOLE_UUID.fullmatch(value.strip()):
        return UUID(value.strip())
    return None


def uuid_within(value: object) -> UUID | None:
    """Return the delivery that a text, such as a bounced message, names by our header or Message-ID."""
    found = _OURS.search(value) if isinstance(value, str) else None
    return UUID(found[1] or found[2]) if found else None


def instant(value: object) -> datetime | None:
    """Return the instant that a text is, or None; one without offset is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def refuse(why: str) -> FeedbackRefused:
    """Return the error for a request that does not show who sent it; what would be right it never says."""
    return FeedbackRefused(why)
