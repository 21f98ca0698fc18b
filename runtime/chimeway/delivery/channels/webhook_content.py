"""What a webhook's receiver gets: the same bytes in every attempt of a delivery. Pure.

    {"type": "mention_webhook", "timestamp": "2026-05-04T12:00:00.000Z", "data": {...}}

`type` is the render key: it says what stands in the message. `timestamp` is when the delivery was planned,
which its id bears (left out where the id is no such). `data` has `delivery_id`, `run_id`, `tenant_id`,
`recipient_id`, `workflow`, `step`, the rendered `subject`, `body` and `text`, `unsubscribe_url` where there
is one, and `data`, the trigger's, unless that is left out.

Nothing of the attempt is in it: a receiver may compare bodies, and a cache may know them.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from chimeway.delivery.channel import Message, PermanentFailure

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def content_of(message: Message, *, with_data: bool, most_bytes: int) -> bytes:
    """Return the body.

    Raises:
        PermanentFailure: it is longer than it may be, or not JSON.
    """
    whole: dict[str, Any] = {"type": message.render_key or message.channel}
    if (planned := planned_at(message.delivery_id)) is not None:
        whole["timestamp"] = planned.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    whole["data"] = _data(message, with_data=with_data)
    try:
        text = json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        raise PermanentFailure("the message cannot be written as JSON") from None
    if len(body) > most_bytes:
        raise PermanentFailure(
            f"the body has {len(body)} bytes, and may have {most_bytes}", bytes=len(body), most=most_bytes
        )
    return body


def _data(message: Message, *, with_data: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "delivery_id": message.delivery_id,
        "run_id": message.run_id,
        "tenant_id": message.tenant_id,
        "recipient_id": message.recipient_id,
        "workflow": message.workflow,
        "step": message.step,
        "subject": message.subject,
        "body": message.body,
        "text": message.text,
    }
    if message.unsubscribe_url is not None:
        data["unsubscribe_url"] = message.unsubscribe_url
    if with_data:
        data["data"] = dict(message.data)
    return data


def planned_at(delivery_id: str) -> datetime | None:
    """Return the instant in an id whose time goes first (UUIDv7)."""
    try:
        found = UUID(delivery_id)
    except ValueError:
        return None
    return _EPOCH + timedelta(milliseconds=found.int >> 80) if found.version == 7 else None
