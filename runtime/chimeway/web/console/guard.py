"""Who may see a page, and who may do something: sessions, forms that are ours, what is answered to others.

**A session** is a random secret in a cookie (`HttpOnly`, `SameSite=Strict`, `Secure` where the page came by
https) and a row that any node finds. It opens what its token opens now, is asked for at every request, and is
over when the token is.

**A form** is ours if its `Origin` is the place that was asked, and it bears what only this session's pages
show: an HMAC under the cookie's secret, so no node must keep it. Either would do; `SameSite` is the third.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from chimeway.errors import ChimewayError, DatabaseUnavailable, InvalidInput, SchemaMismatch
from chimeway.log import Events
from chimeway.store import console_sessions
from chimeway.store.console_sessions import SignedIn
from chimeway.store.faults import passes
from chimeway.store.pool import Database
from chimeway.web.bodies import body_of
from chimeway.web.console.live import Streams
from chimeway.web.console.pages import HEADERS, Pages, View

_log = Events()
_AT_ONCE: Final = 4
"""Pages that ask the database at once: of the node's connections most stay its engine's."""
_PAGE_S: Final = 20.0
_FORM_BYTES: Final = 16_384
_FIELDS: Final = 100
_COOKIE: Final = "chimeway_console"
_LOOKS: Final = "This token may look, and not act: it lacks the scope operate."
_SLOW: Final = "The database did not answer in time. Nothing was half done; try again in a moment."
_NOT_FOUND: Final = frozenset({"workflow_run_not_found", "unknown_workflow"})


class NotFound(Exception):  # noqa: N818
    """There is no such page, or nothing of this id that this token may see."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who has signed in."""

    request: Request
    who: SignedIn
    form: Mapping[str, str]

    @property
    def query(self) -> Mapping[str, str]:
        """Return what stands behind the question mark; what is empty is left out."""
        return {name: value.strip() for name, value in self.request.query_params.items() if value.strip()}

    @property
    def ids(self) -> Mapping[str, Any]:
        """Return what the path names."""
        return self.request.path_params


Handler: TypeAlias = Callable[[Visit], Awaitable[View | Response]]


class Guard:
    """Lets visits through."""

    def __init__(
        self, database: Database, pages: Pages, public_url: str | None, ending: asyncio.Event
    ) -> None:
        """Take where sessions are, and the address by which people know this place, if it is set."""
        self._database = database
        self._pages = pages
        self._public = urlsplit(public_url or "")
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._streams = Streams(pages, ending)

    def looks(self, path: str, handler: Handler) -> Route:
        """Return a page for whoever may read."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, handler, acts=False)

        return Route(path, answer, methods=["GET"])

    def acts(self, path: str, handler: Handler) -> Route:
        """Return where a form of those who may operate goes."""

        async def answer(request: Request) -> Response:
            return await self._answered(request, handler, acts=True)

        return Route(path, answer, methods=["POST"])

    async def _answered(self, request: Request, handler: Handler, *, acts: bool) -> Response:
        frame: dict[str, Any] = {"who": None, "path": request.url.path, "csrf": ""}
        try:
            secret = self.secret_of(request)
            who = await console_sessions.find(self._database, secret) if secret else None
            if who is None or secret is None:
                return self._to_sign_in(request, acts=acts)
            frame.update(who=who, csrf=form_token(secret))
            form = await self._form(request, secret) if acts else {}
            if acts and not who.operates:
                return self._refused(frame, 403, _LOOKS)
            visit = Visit(request, who, form)
            if not acts and "text/event-stream" in request.headers.get("accept", ""):
                whose = who.token_id if who.tenant is None else who.tenant
                return self._streams.begin(lambda: self._again(request, secret, handler), whose)
            made = await self._made(handler, visit)
            return self._pages.page(made, frame) if isinstance(made, View) else made
        except NotOurs as refused:
            return self._refused(frame, 403, str(refused))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001  (the boundary: what is asked must not end the node)
            return self._faulty(frame, error)

    async def _made(self, handler: Handler, visit: Visit) -> View | Response:
        async with asyncio.timeout(_PAGE_S), self._asking:
            return await handler(visit)

    async def _again(self, request: Request, secret: str, handler: Handler) -> str | None:
        """Draw a page's live part once more for somebody who looks on; None: there is nothing more to see.

        No form stands in it, and what else it shows of him is his tenant, and whether he may act.
        """
        who = await console_sessions.find(self._database, secret)
        if who is None:
            return None

        async def drawing() -> tuple[View, dict[str, Any]] | None:
            made = await self._made(handler, Visit(request, who, {}))
            if not isinstance(made, View) or not made.live:
                return None
            return made, {"who": who, "path": request.url.path, "csrf": ""}

        # Not `request.url`: whoever asks has a say in it, by `Host`, and could have others shown his page.
        place = (request.scope["path"], request.scope["query_string"])
        return await self._streams.part((place, who.tenant, who.operates), drawing)

    def secret_of(self, request: Request) -> str | None:
        """Return the secret of the cookie that is right here."""
        return request.cookies.get(self.cookie_name(request))

    def cookie_name(self, request: Request) -> str:
        """Return the cookie's name; the prefix has browsers refuse it from elsewhere, and needs https."""
        return f"__Host-{_COOKIE}" if self.is_secure(request) else _COOKIE

    def is_secure(self, request: Request) -> bool:
        """Say whether people come by https. Who claims that falsely only keeps himself out."""
        forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
        return "https" in {self._public.scheme, forwarded, request.url.scheme}

    def check_origin(self, request: Request) -> None:
        """Raise NotOurs for a form that another place has sent."""
        origin = request.headers.get("origin")
        if origin is None:
            if request.headers.get("sec-fetch-site") == "same-origin":
                return
            raise NotOurs("The form does not say where it comes from.")
        ours = {request.headers.get("host", ""), self._public.netloc} - {""}
        if _place_of(origin) not in ours:
            raise NotOurs("The form comes from another place. Open the page here, and send it again.")

    async def read_form(self, request: Request) -> dict[str, str]:
        """Return what a form says.

        Raises:
            NotOurs: it comes from elsewhere.
            InvalidInput: it is too long, or takes too long to come.
        """
        self.check_origin(request)
        body = await body_of(request, _FORM_BYTES)
        if not isinstance(body, bytes):
            raise InvalidInput("the form is too long, or came too slowly", hint="send it again")
        try:
            fields = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=_FIELDS)
        except ValueError:
            raise InvalidInput("the form has too many fields", hint="send it again") from None
        return {name: value.strip() for name, value in fields if value.strip()}

    async def _form(self, request: Request, secret: str) -> dict[str, str]:
        form = await self.read_form(request)
        given = form.get("csrf", "")
        if not hmac.compare_digest(given.encode(), form_token(secret).encode()):
            raise NotOurs("The form is of another session. Open the page again.")
        return form

    def _to_sign_in(self, request: Request, *, acts: bool) -> Response:
        if acts:
            frame = {"who": None, "path": "", "csrf": ""}
            return self._refused(frame, 401, "Nobody is signed in, or no longer. Sign in, and do it again.")
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        to = "/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='')}"
        return RedirectResponse(to, 303, headers=dict(HEADERS))

    def _refused(self, frame: Mapping[str, Any], status: int, told: str) -> Response:
        return self._pages.page(View("told.html.j2", {"title": "Not done", "told": told}, status), frame)

    def _faulty(self, frame: Mapping[str, Any], error: Exception) -> Response:
        status, title, told = _told_of(error)
        if status == 500:
            _log.error("console.failed", path=str(frame["path"]), error=repr(error))
        return self._pages.page(View("told.html.j2", {"title": title, "told": told}, status), frame)


class NotOurs(Exception):  # noqa: N818
    """A form that this session's pages have not shown."""


def _place_of(origin: str) -> str:
    """Return the host and port of an `Origin`; empty where it is none, whoever made it up."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def form_token(secret: str) -> str:
    """Return what the forms of a session bear."""
    return hmac.new(secret.encode(), b"chimeway console form", "sha256").hexdigest()


def _told_of(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, DatabaseUnavailable | TimeoutError) or passes(error):
        return 503, "Not now", _SLOW
    if isinstance(error, SchemaMismatch):
        return 503, "Not yet", "The database's schema is older than these pages: chimeway db migrate."
    if isinstance(error, NotFound):
        return 404, "Not found", str(error)
    if isinstance(error, ChimewayError):
        status = 404 if error.code in _NOT_FOUND else 400
        return status, "Not found" if status == 404 else "Not understood", str(error)
    return 500, "Something is wrong here", "The node's log says what. Nothing was half done."
