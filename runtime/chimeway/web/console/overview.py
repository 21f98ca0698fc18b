"""The first page: does anything need me? And the last day, in charts."""

from typing import Any, Final

from markupsafe import Markup
from starlette.routing import Route

from chimeway.limits import CONSOLE_COUNTED
from chimeway.store import console_sights, reads, whereabouts
from chimeway.store.console_sights import Hour, Lately
from chimeway.web.console.charts import Bar, bars
from chimeway.web.console.desk import Desk, tenant_of
from chimeway.web.console.guard import Guard, Visit
from chimeway.web.console.pages import View

_HOURS: Final = 24
_RETRIED: Final = 200


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
        tenant, now, ask = tenant_of(visit, visit.query), self._desk.now, self._desk.ask
        overdue = await ask(reads.list_overdue(self._desk.lateness, tenant))
        retried = await ask(console_sights.retried(tenant, None, _RETRIED))
        shown: dict[str, Any] = {
            "now": now, "most": CONSOLE_COUNTED, "listed": _RETRIED, "tenant": tenant, "nodes": None,
            "overdue": len(overdue), "needs": await ask(console_sights.needs(tenant)),
            "retried": len(retried),
        }  # fmt: skip
        if visit.who.tenant is None:
            nodes = await whereabouts.listed_nodes(self._desk.database)
            shown["nodes"] = sum(node.state == "working" for node in nodes)
            shown["ownerless"] = await whereabouts.ownerless(self._desk.database)
        return View(
            "overview.html.j2",
            {**shown, **charts(await ask(console_sights.lately(tenant, now, _HOURS)))},
            live=True,
        )


def charts(found: Lately) -> dict[str, Any]:
    """Return the charts of the last hours, and the same in numbers."""
    hours = found.hours
    planned, failed = sum(hour.all for hour in hours), sum(hour.failed for hour in hours)
    late = max((hour.late_s for hour in hours if hour.late_s is not None), default=None)
    through = [
        Bar(_clock(hour), (("good", hour.succeeded), ("bad", hour.failed), ("calm", hour.others)))
        for hour in hours
    ]
    rates = [Bar(_clock(hour), (("bad", 100 * hour.failed / hour.all if hour.all else 0),)) for hour in hours]
    delays = [Bar(_clock(hour), (("waits", hour.late_s or 0),)) for hour in hours]
    told = "not told" if late is None else f"{late:.1f} s"
    return {
        "hours": hours, "whole": found.whole, "planned": planned, "failed": failed, "late_s": late,
        "throughput": _drawn(through, f"Messages planned an hour: {planned} in all, {failed} of them failed"),
        "failures": _drawn(rates, f"Share of messages that failed: {failed} of {planned}", " %", 10.0),
        "lateness": _drawn(delays, f"Lateness of the slowest step after a wait: at most {told}", " s", 1.0),
    }  # fmt: skip


def _drawn(drawn: list[Bar], about: str, unit: str = "", least: float = 0.0) -> Markup:
    return Markup(bars(drawn, about, unit, least))  # noqa: S704  (ours, and escaped where it was drawn)


def _clock(hour: Hour) -> str:
    return f"{hour.at:%H:00}"
