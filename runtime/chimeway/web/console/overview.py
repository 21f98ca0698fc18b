"""The first page: what needs somebody, at a glance."""

from starlette.routing import Route

from chimeway.store import reads
from chimeway.web.console.desk import Desk, tenant_of
from chimeway.web.console.guard import Guard, Visit
from chimeway.web.console.pages import View


class Overview:
    """The page at `/`."""

    def __init__(self, desk: Desk) -> None:
        """Take where to ask."""
        self._desk = desk

    def routes(self, guard: Guard) -> list[Route]:
        """Return it."""
        return [guard.looks("/", self.shown)]

    async def shown(self, visit: Visit) -> View:
        """Show it."""
        tenant = tenant_of(visit, visit.query)
        overdue = await self._desk.ask(reads.list_overdue(self._desk.lateness, tenant))
        return View("overview.html.j2", {"overdue": len(overdue), "now": self._desk.now}, live=True)
