"""What `/v1` refuses, and with which status: our errors, the frame's, and its own.

Nothing of the database's own words, and nothing of a secret, is in an answer: they are for the log.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from chimeway.errors import ChimewayError
from chimeway.log import Events
from chimeway.store.faults import passes
from chimeway.web.api.wrong import told
from chimeway.web.problems import of_the_frame, problem

_log = Events()
_AGAIN_S: Final = 2
STATUS_OF: Final[Mapping[str, int]] = {
    "invalid_input": 422,
    "invalid_definition": 422,
    "invalid_data_reference": 422,
    "now_in_future": 422,
    "unknown_workflow": 404,
    "workflow_run_not_found": 404,
    "recipient_not_found": 404,
    "delivery_not_found": 404,
    "idempotency_conflict": 409,
    "run_not_holdable": 409,
    "run_not_held": 409,
    "delivery_not_retryable": 409,
    "run_busy": 503,
}
"""The status of each error of ours that is about what was asked. Others are told as a node's own trouble."""
OWN: Final[Mapping[str, tuple[int, str]]] = {
    "malformed_json": (400, "the body is not JSON, or JSON that is nested too deep or names something twice"),
    "bad_header": (400, "a header is not what it must be"),
    "unauthorized": (401, "no token, or none that opens anything (any more)"),
    "missing_scope": (403, "the token may not do this: the scope that it lacks is named"),
    "wrong_tenant": (403, "the token does not open the tenant that was named"),
    "wrong_recipient": (403, "the inbox token does not open the recipient that was named"),
    "needs_all_tenants": (403, "what is asked is not of one tenant, and the token opens only one"),
    "not_found": (404, "there is nothing at this path"),
    "method_not_allowed": (405, "not this method here; `Allow` names those that are"),
    "too_slow": (408, "the body did not come in time"),
    "request_in_progress": (409, "another request with this `Idempotency-Key` is at it"),
    "answer_forgotten": (410, "it was done, and its answer named somebody who is forgotten"),
    "too_large": (413, "the body is too long"),
    "unsupported_media_type": (415, "the body is not `application/json`"),
    "idempotency_key_reused": (422, "this `Idempotency-Key` was used for another request"),
    "too_many_requests": (
        429,
        "this token, or this inbox, asks more often than it may: `Retry-After` says when",
    ),
    "too_many_streams": (429, "this recipient, or this tenant, has too many event streams open"),
    "internal_error": (500, "our fault: the node's log says more"),
    "try_again": (503, "the database cannot be asked now, or the node is too busy"),
}
"""What `/v1` says by itself: status, and what it means."""


class Refused(Exception):  # noqa: N818  (it is no fault of ours)
    """A request is refused with one of the codes above."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        again_s: int = _AGAIN_S,
        **more: Any,
    ) -> None:
        """Take a code of `OWN`, a sentence for people, when to come again, and facts for programs."""
        self.code = code
        self.status, usual = OWN[code]
        self.detail = detail or usual
        self.headers = headers
        self.again_s = again_s
        self.more = more
        super().__init__(code)

    def answer(self) -> Response:
        """Return it as it is said."""
        again = self.again_s if self.status in {409, 429, 503} else None
        return problem(
            self.status, self.code, self.detail, retry_after_s=again, challenge='Bearer realm="chimeway"',
            headers=self.headers, more=self.more,
        )  # fmt: skip


def answer_to(request: Request, error: Exception) -> Response:
    """Return what is said of an error, whatever it is; what is our fault, or a moment's, is logged."""
    match error:
        case Refused():
            return error.answer()
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException(status_code=404):
            return Refused("not_found").answer()
        case HTTPException(status_code=405):
            return Refused("method_not_allowed", headers={"Allow": _allowed(request)}).answer()
        case HTTPException(status_code=400):
            return Refused("malformed_json").answer()
        case ChimewayError() if error.code in STATUS_OF:
            return _ours(error)
        case TimeoutError():
            return _not_now(request, "it took too long")
        case _ if isinstance(error, ChimewayError) or passes(error):
            return _not_now(request, str(error) or type(error).__name__)
    _log.error("http.failed", route=_route(request), error=repr(error))
    return Refused("internal_error").answer()


async def handler(request: Request, error: Exception) -> Response:
    """Answer as the frame wants to be answered."""
    return answer_to(request, error)


__all__ = ["OWN", "STATUS_OF", "Refused", "answer_to", "handler", "of_the_frame"]


def _ours(error: ChimewayError) -> Response:
    status = STATUS_OF[error.code]
    again = _AGAIN_S if status == 503 else None
    told = {name: error.details[name] for name in ("field", "hint", "path") if name in error.details}
    more = {name: value for name, value in told.items() if isinstance(value, str | int)}
    return problem(status, error.code, error.message, retry_after_s=again, more=more)


def _not_now(request: Request, why: str) -> Response:
    _log.warning("http.put_off", route=_route(request), reason=why)
    return Refused("try_again").answer()


def _invalid(faults: Sequence[Any]) -> Response:
    """Say what is wrong field by field; not what was given: it may be a secret in the wrong place."""
    if any(fault["type"] == "json_invalid" for fault in faults):
        return Refused("malformed_json").answer()
    found = told(faults)
    first = found[0]
    detail = f"{first['field']}: {first['detail']}"
    return problem(422, "invalid_input", detail, more={"field": first["field"], "errors": found})


def _allowed(request: Request) -> str:
    """Return all methods that a path has: the frame knows those of the first route that fits."""
    routes = request.app.state.routes
    return ", ".join(
        sorted({m for each in routes if each.path_regex.match(request.scope["path"]) for m in each.methods})
    )


def _route(request: Request) -> str:
    """Return the path as it is described, without the ids in it."""
    route = request.scope.get("route")
    return getattr(route, "path", "(none)")
