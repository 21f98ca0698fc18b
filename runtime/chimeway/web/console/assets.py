"""The one style sheet, the one script and the icon of the pages, under names that bear their content's hash.

So a browser keeps each for a year, and never shows a page with the style of another version.
"""

import hashlib
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'",
}


class Assets:
    """What pages link to."""

    def __init__(self) -> None:
        """Read them all: they are small."""
        self._paths: dict[str, str] = {}
        self._served: dict[str, tuple[bytes, str]] = {}
        for file in resources.files("chimeway.web.console").joinpath("static").iterdir():
            stem, _, kind = file.name.rpartition(".")
            if kind in _TYPES:
                content = file.read_bytes()
                name = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}"
                self._paths[file.name] = f"/assets/{name}"
                self._served[name] = (content, _TYPES[kind])

    def path(self, name: str) -> str:
        """Return where a file is, by its plain name."""
        return self._paths[name]

    def routes(self) -> list[Route]:
        """Return what serves them."""
        return [Route("/assets/{name}", self._serve, methods=["GET"])]

    async def _serve(self, request: Request) -> Response:
        found = self._served.get(request.path_params["name"])
        if found is None:
            return Response(status_code=404, headers={"Cache-Control": "no-store"})
        content, kind = found
        return Response(content, media_type=kind, headers=_HEADERS)
