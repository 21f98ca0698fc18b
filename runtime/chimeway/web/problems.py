"""Errors as HTTP says them: problem+json (RFC 9457), with our stable code."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def problem(status: int, code: str, detail: str, *, retry_after_s: int | None = None) -> Response:
    """Return the answer for an error: status, stable code, and a sentence for people."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="chimeway"'
    return JSONResponse(
        {"type": f"urn:chimeway:{code}", "title": code.replace("_", " "), "status": status, "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


async def of_the_frame(_request: Request, error: Exception) -> Response:
    """Turn what the frame itself refuses (no such path, no such method) into a problem."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "bad_request")
    return problem(status, code, "look at the URL and at the method")
