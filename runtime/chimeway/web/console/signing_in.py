"""Signing in by an API token, and out."""

import secrets
from typing import Final

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from chimeway.errors import DatabaseUnavailable, InvalidInput, SchemaMismatch
from chimeway.limits import CONSOLE_SESSION_S
from chimeway.log import Events
from chimeway.store import console_sessions
from chimeway.store.faults import passes
from chimeway.store.pool import Database
from chimeway.web.auth import Tokens
from chimeway.web.console.guard import Guard, NotOurs
from chimeway.web.console.pages import HEADERS, Pages, View

_log = Events()
_UNKNOWN: Final = "This is no token that holds: it is mistyped, has expired, or was revoked."
_TOO_LITTLE: Final = "This token may not read: sign in by one with the scope read or operate."


class SigningIn:
    """The page on which a token is given, and the button that ends a session."""

    def __init__(self, database: Database, tokens: Tokens, guard: Guard, pages: Pages) -> None:
        """Take who knows tokens."""
        self._database = database
        self._tokens = tokens
        self._guard = guard
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return both."""
        return [
            Route("/sign-in", self._show, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return self._page(request.query_params.get("next", ""))

    def _page(self, wanted: str, fault: str = "", status: int = 200) -> Response:
        view = View("sign_in.html.j2", {"next": ours(wanted), "fault": fault}, status)
        return self._pages.page(view, {"who": None, "path": "/sign-in", "csrf": ""})

    async def _sign_in(self, request: Request) -> Response:
        wanted = ""
        try:
            form = await self._guard.read_form(request)
            wanted = form.get("next", "")
            principal = await self._tokens.of(form.get("token", ""))
            if principal is None:
                return self._page(wanted, _UNKNOWN, 403)
            if not principal.may("read"):
                return self._page(wanted, _TOO_LITTLE, 403)
            secret = secrets.token_urlsafe(32)
            await console_sessions.begin(self._database, secret, principal.token_id)
        except NotOurs as refused:
            return self._page(wanted, str(refused), 403)
        except InvalidInput as refused:
            return self._page(wanted, str(refused), 400)
        except Exception as error:  # noqa: BLE001  (the boundary: what is asked must not end the node)
            return self._faulty(wanted, error)
        _log.info("console.signed_in", name=principal.name, tenant=principal.tenant)
        noting = BackgroundTask(self._tokens.note_use)
        answer = RedirectResponse(ours(wanted) or "/", 303, headers=dict(HEADERS), background=noting)
        answer.set_cookie(
            self._guard.cookie_name(request),
            secret,
            max_age=CONSOLE_SESSION_S,
            path="/",
            secure=self._guard.is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        """End the session of whoever asks; a form from elsewhere could do no more than that, and may not."""
        try:
            self._guard.check_origin(request)
        except NotOurs as refused:
            return self._page("", str(refused), 403)
        secret = self._guard.secret_of(request)
        try:
            if secret:
                await console_sessions.end(self._database, secret)
        except Exception as error:  # noqa: BLE001  (the session goes on: his cookie must not be taken away)
            return self._faulty("", error)
        answer = RedirectResponse("/sign-in", 303, headers=dict(HEADERS))
        answer.delete_cookie(
            self._guard.cookie_name(request), path="/", secure=self._guard.is_secure(request), httponly=True,
            samesite="strict",
        )  # fmt: skip
        return answer

    def _faulty(self, wanted: str, error: Exception) -> Response:
        if isinstance(error, DatabaseUnavailable | SchemaMismatch | TimeoutError) or passes(error):
            return self._page(wanted, "The database did not answer. Try again in a moment.", 503)
        _log.error("console.failed", path="/sign-in", error=repr(error))
        return self._page(wanted, "Something is wrong here; the node's log says what.", 500)


def ours(wanted: str) -> str:
    """Return a path of ours that somebody wanted to see before he signed in; empty where it is none."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/sign"))
    return wanted if is_path and wanted.isprintable() and "\\" not in wanted and len(wanted) < 2_000 else ""
