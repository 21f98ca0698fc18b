"""From a view to a page: the templates, what they may use, and the headers that every page bears.

Templates are ours, data is not: everything is escaped, and what is not defined is a fault.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.responses import HTMLResponse

from chimeway.web.console import showing
from chimeway.web.console.assets import Assets

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    # `no-referrer` would have browsers say `Origin: null` of our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


_BEGIN: Final = "<!--live-->"
_END: Final = "<!--/live-->"
_TOLD: Final = re.compile(r"<time[^>]*>[^<]*</time>")
"""Moments are told anew by the browser, as time goes by."""


def mark_of(part: str) -> str:
    """Return by what a live part is known again; how long ago something was makes no other of it."""
    return hashlib.sha256(_TOLD.sub("", part).strip().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class View:
    """A page to be drawn: its template, what it shows, and the status with which it is sent.

    `live`: its block of this name is drawn again while somebody looks on, and sent when it has changed.
    """

    template: str
    shown: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    live: bool = False


class Pages:
    """Draws views."""

    def __init__(self, assets: Assets) -> None:
        """Compile the templates when they are first drawn."""
        folder = resources.files("chimeway.web.console").joinpath("templates")
        files = [file for file in folder.iterdir() if file.name.endswith(".j2")]
        sources = {file.name: file.read_text("utf-8") for file in files}
        self._environment = Environment(
            loader=DictLoader(sources),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(showing.FILTERS)
        self._environment.globals["asset"] = assets.path
        # A name of all, and not imported by each: a block that is drawn alone knows no imports of its page.
        self._environment.globals["ui"] = self._environment.get_template("ui.html.j2").module

    def page(self, view: View, frame: Mapping[str, Any]) -> HTMLResponse:
        """Return a whole page; `frame` is what the frame shows of the one who looks."""
        template = self._environment.get_template(view.template)
        html = template.render({**frame, **view.shown, "is_live": view.live})
        if view.live:
            part = html.partition(_BEGIN)[2].partition(_END)[0]
            html = html.replace(' id="live"', f' id="live" data-mark="{mark_of(part)}"', 1)
        return HTMLResponse(html, view.status, headers=dict(HEADERS))

    def part(self, view: View, frame: Mapping[str, Any]) -> str:
        """Return the block of a page that is sent again when it changes."""
        template = self._environment.get_template(view.template)
        context = template.new_context({**frame, **view.shown, "is_live": view.live})
        return "".join(template.blocks["live"](context))
