"""The pages together: what a node serves at `/`."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import cache

from starlette.responses import Response
from starlette.routing import BaseRoute

from chimeway.clock import Clock
from chimeway.store.pool import Database
from chimeway.web.auth import Tokens
from chimeway.web.console.acting import Acting
from chimeway.web.console.assets import Assets
from chimeway.web.console.beside import Beside
from chimeway.web.console.desk import Desk, Kept
from chimeway.web.console.guard import Guard
from chimeway.web.console.overview import Overview
from chimeway.web.console.pages import Pages, View
from chimeway.web.console.plans import Plans
from chimeway.web.console.runs import Runs
from chimeway.web.console.signing_in import SigningIn
from chimeway.web.console.workflows import Workflows


@cache
def _drawing() -> tuple[Assets, Pages]:
    """Return what all pages are drawn by, those for a path at which nothing is, too: read once."""
    assets = Assets()
    return assets, Pages(assets)


def lost(status: int) -> Response:
    """Return the page for people who follow a path at which nothing is, or not to be asked so."""
    told = "There is no such page here." if status == 404 else "This address cannot be asked in this way."
    view = View("told.html.j2", {"title": "Not found" if status == 404 else "Not done", "told": told}, status)
    _, pages = _drawing()
    return pages.page(view, {"who": None, "path": "", "csrf": ""})


def routes(
    database: Database,
    tokens: Tokens,
    clock: Clock,
    lateness: timedelta,
    public_url: str | None = None,
    ending: asyncio.Event | None = None,
    kept: Kept | None = None,
) -> Sequence[BaseRoute]:
    """Return the operators' pages.

    Args:
        database: what they show, and act on.
        tokens: by which people sign in.
        clock: the database's time.
        lateness: past its wake by more than this a run is overdue.
        public_url: the address by which people know this node, if one is set.
        ending: set when the node goes: whoever looks on at a page is let go.
        kept: what is kept for how long, as this node prunes it.
    """
    assets, pages = _drawing()
    guard = Guard(database, pages, public_url, ending or asyncio.Event())
    desk = Desk(database, clock, lateness, kept or Kept())
    runs = Runs(desk)
    return [
        *assets.routes(),
        *SigningIn(database, tokens, guard, pages).routes(),
        *Overview(desk).routes(guard),
        *Acting(desk, runs).routes(guard),
        *runs.routes(guard),
        *Plans(desk).routes(guard),
        *Workflows(desk).routes(guard),
        *Beside(desk).routes(guard),
    ]
