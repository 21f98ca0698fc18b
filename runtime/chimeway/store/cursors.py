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


def read(cursor: str) -> tuple[datetime, UUID]:
    """Return the instant and the id of a cursor, or raise InvalidInput."""
    at, _, row_id = read_arrived(cursor)
    return at, row_id


def read_arrived(cursor: str) -> tuple[datetime, int, UUID]:
    """Return the instant, arrival number (0 where it has none) and id of a cursor, or raise InvalidInput."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, *arrival, row_id = text.split(" ")
        moment = datetime.fromisoformat(at)
        number = int(arrival[0]) if arrival else 0
        if moment.tzinfo is None or len(arrival) > 1 or number not in _ARRIVALS:
            raise ValueError(at)
        return moment.astimezone(UTC), number, UUID(row_id)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        hint = "give the cursor of the page before, as it stands"
        told = f"cursor is {shown(cursor)}, which no page has given: {hint}"
        raise InvalidInput(told, field="cursor", hint=hint) from None
