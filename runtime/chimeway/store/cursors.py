"""Cursors: where a page ended, as a text that callers hand back as it stands. Pure."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from chimeway.errors import InvalidInput
from chimeway.store import rows
from chimeway.workflow.problems import shown

_ARRIVALS: Final = range(2**63)
"""What the database can compare with: a bigint."""


def written(at: str, *more: object) -> str:
    """Return the cursor behind a row, by its instant and what orders those of one instant."""
    text = " ".join([rows.moment(at).isoformat(), *(str(each) for each in more)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def written_name(name: str) -> str:
    """Return the cursor behind a row of a list in the order of names."""
    return base64.urlsafe_b64encode(f"={name}".encode()).decode().rstrip("=")


def read_name(cursor: str) -> str:
    """Return the name of such a cursor, or raise InvalidInput."""
    try:
        text = _decoded(cursor)
        if not text.startswith("=") or "\0" in text:
            raise ValueError(text)
    except (ValueError, TypeError, binascii.Error):
        raise _of_no_page(cursor) from None
    return text[1:]


def read(cursor: str) -> tuple[datetime, UUID]:
    """Return the instant and the id of a cursor, or raise InvalidInput."""
    at, _, row_id = read_arrived(cursor)
    return at, row_id


def read_arrived(cursor: str) -> tuple[datetime, int, UUID]:
    """Return the instant, arrival number (0 where it has none) and id of a cursor, or raise InvalidInput."""
    try:
        text = _decoded(cursor)
        at, *arrival, row_id = text.split(" ")
        moment = datetime.fromisoformat(at)
        number = int(arrival[0]) if arrival else 0
        if moment.tzinfo is None or len(arrival) > 1 or number not in _ARRIVALS:
            raise ValueError(at)
        return moment.astimezone(UTC), number, UUID(row_id)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise _of_no_page(cursor) from None


def _decoded(cursor: str) -> str:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()


def _of_no_page(cursor: object) -> InvalidInput:
    hint = "give the cursor of the page before, as it stands"
    told = f"cursor is {shown(cursor)}, which no page has given: {hint}"
    return InvalidInput(told, field="cursor", hint=hint)
