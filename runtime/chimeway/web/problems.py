"""Errors as HTTP says them: problem+json (RFC 9457), with our stable code."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MEDIA_TYPE: Final = "application/problem+json"
_BASIC: Final = 'Basic realm="chimeway"'


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    retry_after_s: int | None = None,
    challenge: str = _BASIC,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Return the answer for an error: status, stable code, and a sentence for people.

    Args:
        status, code, detail: what is said.
        retry_after_s: when it may be asked again.
        challenge: of a 401: how one says who asks.
        headers, more: what else is said, in the head and in the body.
    """
    said = dict(headers or {})
    if retry_after_s is not None:
        said["Retry-After"] = str(retry_after_s)
    if status == 401:
        said["WWW-Authenticate"] = challenge
    body = {
        "type": f"urn:chimeway:{code}", "title": code.replace("_", " "), "status": status, "code": code,
        "detail": detail,
    }  # fmt: skip
    return JSONResponse(body | dict(more or {}), status_code=status, headers=said, media_type=MEDIA_TYPE)


Lost: TypeAlias = Callable[[int], Response]
"""Draws a page for people, for a status: there is nothing at this path, or not by this method."""


def for_people(lost: Lost | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return what turns the frame's refusals into a page where a browser asks for one, else a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        wants = "text/html" in request.headers.get("accept", "")
        if lost is None or not wants or not isinstance(error, HTTPException):
            return await of_the_frame(request, error)
        page = lost(error.status_code)
        page.headers.update(error.headers or {})
        return page

    return answer


async def of_the_frame(_request: Request, error: Exception) -> Response:
    """Turn what the frame itself refuses (no such path, no such method) into a problem."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")
    headers = error.headers if isinstance(error, HTTPException) else None
    return problem(status, code, "look at the URL and at the method", headers=headers)
