"""A request's body, whole, within bounds: how long it may be, and how long it may take to come."""

import asyncio
from typing import Final, Literal, TypeAlias

from starlette.requests import Request

BODY_S: Final = 10.0
Refusal: TypeAlias = Literal[408, 413]
"""The status for a body that takes too long, or is too long."""


async def body_of(request: Request, most_bytes: int) -> bytes | Refusal:
    """Return the body, or the status that refuses it."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most_bytes:
        return 413
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    return 413
                parts.append(part)
    except TimeoutError:
        return 408
    return b"".join(parts)
