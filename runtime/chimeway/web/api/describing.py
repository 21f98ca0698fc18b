"""The description of `/v1` (OpenAPI 3.1): what each route needs, what it answers, and what it may refuse."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from chimeway.web.api.models import Problem
from chimeway.web.problems import MEDIA_TYPE

_API: Final = "apiToken"
_PAGE: Final = re.compile(r"Page_(\w+?)_(?=\W)")
"""How the frame names a page of something: no name for a class in another language."""
_INBOX: Final = "inboxToken"
_SCHEMES: Final = {
    _API: {
        "type": "http", "scheme": "bearer", "bearerFormat": "cw_...",
        "description": "An API token: `chimeway tokens create`.",
    },
    _INBOX: {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "An inbox token: `POST /v1/inbox-tokens`. It opens the inbox of one recipient.",
    },
}  # fmt: skip
_TOO_OFTEN: Final = "This token, or this inbox, asks more often than it may."
_USUAL: Final = {
    "400": "The body or a header cannot be read.",
    "401": "No token, or none that opens anything.",
    "403": "The token may not do this, or not here.",
    "404": "There is nothing of this name, in this tenant.",
    "422": "Something that was given is not what it must be.",
    "429": _TOO_OFTEN,
    "500": "Our fault.",
    "503": "Not now: ask again.",
}
_OF_BODIES: Final = {
    "408": "The body did not come in time.",
    "413": "The body is too long.",
    "415": "The body is not `application/json`.",
}
_OF_KEYS: Final = {
    "409": "It cannot be done as things are, or another request with this key is at it.",
    "410": "It was done, and its answer named somebody who is forgotten.",
}
_OF_DOORS: Final = {
    "400": {"description": "It cannot be read."},
    "401": {"description": "Not signed by whom it should be."},
    "404": {"description": "No source, or no link, of ours."},
    "408": {"description": "The body did not come in time."},
    "413": {"description": "The body is too long."},
    "503": {"description": "Not now: ask again."},
}
_SOURCES: Final[dict[str, Any]] = {
    "/v1/feedback/{source}": {
        "post": {
            "operationId": "tellFeedback",
            "summary": "What a provider tells of deliveries, signed as its source is set up.",
            "description": "Not for tokens: see docs/feedback.md.",
            "parameters": [{"name": "source", "in": "path", "required": True, "schema": {"type": "string"}}],
            "requestBody": {"content": {"application/json": {"schema": {}}}, "required": True},
            "responses": {"200": {"description": "An answer for each event."}, **_OF_DOORS},
            "security": [],
        }
    },
    "/v1/unsubscribe/{token}": {
        "post": {
            "operationId": "unsubscribe",
            "summary": "Unsubscribe by a signed link, with one click (RFC 8058).",
            "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "A page that says so."}, **_OF_DOORS},
            "security": [],
        }
    },
}


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Have an application describe itself with what its routes have in common."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, routers)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI names


def _described(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes, openapi_version="3.1.0",
        separate_input_output_schemas=False,
    )  # fmt: skip
    parts = found.setdefault("components", {})
    parts["securitySchemes"] = dict(_SCHEMES)
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for path, method, operation, route in _operations(routers, found):
        scope = _scope(route)
        operation["security"] = [{_API: []}, *([{_INBOX: []}] if path.startswith("/v1/inbox/") else [])]
        operation["x-scope"] = scope
        usual = dict(_USUAL)
        if method != "get":
            usual |= _OF_BODIES
        if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())):
            usual |= _OF_KEYS
        if path == "/v1/inbox/stream":
            usual["429"] = f"{_TOO_OFTEN} Or there are too many event streams of this recipient, or tenant."
        for status, sentence in usual.items():
            operation["responses"][status] = _problem(sentence)
    found["paths"] |= _SOURCES
    named: dict[str, Any] = json.loads(_PAGE.sub(r"PageOf\1", json.dumps(found)))
    return named


def _problem(sentence: str) -> dict[str, Any]:
    return {
        "description": sentence,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _operations(
    routers: Sequence[APIRouter], found: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any], APIRoute]]:
    for route in (each for router in routers for each in router.routes):
        assert isinstance(route, APIRoute)
        for method in sorted(route.methods or ()):
            yield route.path, method.lower(), found["paths"][route.path][method.lower()], route


def _scope(route: APIRoute) -> str:
    """Return what a route needs: its first dependency is who asks, and says so."""
    call = route.dependant.dependencies[0].call
    return (getattr(call, "__doc__", None) or "").replace(" ", " or ")
