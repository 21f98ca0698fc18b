"""What stands beside runs: messages that fail, recipients, nodes with their shards, what operators did."""

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import RedirectResponse
from starlette.routing import Route

from chimeway.errors import RecipientNotFound
from chimeway.limits import CONSOLE_WINDOW
from chimeway.store import console, console_actions, console_sights, profiles, whereabouts
from chimeway.store.console import RunFilter
from chimeway.store.console_sights import Failure
from chimeway.web.console.desk import Desk, tenant_of, text_of
from chimeway.web.console.guard import Guard, NotFound, Visit
from chimeway.web.console.pages import HEADERS, View
from chimeway.web.console.runs import lines

_LISTED: Final = 100
_PAGE: Final = 50
_RUNS: Final = 20


class Beside:
    """The pages."""

    def __init__(self, desk: Desk) -> None:
        """Take where to ask."""
        self._desk = desk

    def routes(self, guard: Guard) -> list[Route]:
        """Return them."""
        return [
            guard.looks("/deliveries", self.failing),
            guard.looks("/recipients", self.recipients),
            guard.looks("/recipient", self.recipient),
            guard.looks("/nodes", self.nodes),
            guard.looks("/audit", self.audit),
            guard.looks("/find", self.find),
        ]

    async def failing(self, visit: Visit) -> View:
        """Show messages that failed: what is tried again, and what is not any more."""
        tenant, channel = tenant_of(visit, visit.query), text_of(visit.query, "channel")
        retried = await self._desk.ask(console_sights.retried(tenant, channel, _LISTED))
        given_up = await self._desk.ask(console_sights.given_up(tenant, channel, _LISTED))
        had = await self._desk.ask(console_sights.channels())
        return View(
            "deliveries.html.j2",
            {
                "tenant": tenant, "channel": channel, "now": self._desk.now, "listed": _LISTED,
                "channels": _offered(had, channel, (*retried, *given_up)), "window": CONSOLE_WINDOW,
                "retried": retried, "given_up": given_up,
            },
            live=True,
        )  # fmt: skip

    async def recipients(self, visit: Visit) -> View:
        """Show a tenant's recipients by their ids."""
        query = visit.query
        tenant = tenant_of(visit, query)
        tenants = () if visit.who.tenant is not None else await self._desk.ask(console.tenants())
        if tenant is None and len(tenants) == 1:
            (tenant,) = tenants
        page = further = None
        if tenant is not None:
            page = await self._desk.ask(
                profiles.list_recipients(tenant, cursor=query.get("after"), limit=_PAGE)
            )
            if page.cursor is not None:
                further = "/recipients?" + urlencode({"tenant": tenant, "after": page.cursor})
        shown = {"tenant": tenant, "tenants": tenants, "page": page, "further": further}
        return View("recipients.html.j2", {**shown, "now": self._desk.now, "is_first": "after" not in query})

    async def recipient(self, visit: Visit) -> View:
        """Show one: profile, wishes, newest runs."""
        tenant, recipient = tenant_of(visit, visit.query), text_of(visit.query, "id")
        if tenant is None or recipient is None:
            raise NotFound("Name a tenant and a recipient.")
        try:
            profile = await self._desk.ask(profiles.get_recipient(tenant, recipient))
        except RecipientNotFound:
            profile = None
        wanted = RunFilter(tenant=tenant, recipient=recipient)
        found = await self._desk.ask(console.list_runs(wanted, None, _RUNS, self._desk.lateness))
        if profile is None and not found.items:
            raise NotFound("Nobody of this id is known in this tenant.")
        now = self._desk.now
        return View(
            "recipient.html.j2",
            {
                "tenant": tenant, "recipient": recipient, "profile": profile, "now": now,
                "preferences": None if profile is None else told(profile.preferences),
                "data": None if profile is None else told(profile.data),
                "lines": lines(found.items, now, self._desk.lateness), "more": found.cursor is not None,
                "all": "/runs?" + urlencode({"tenant": tenant, "recipient": recipient}),
            },
            live=True,
        )  # fmt: skip

    async def audit(self, visit: Visit) -> View:
        """Show what operators did lately."""
        tenant = tenant_of(visit, visit.query)
        found = await self._desk.ask(console_sights.deeds(tenant, _LISTED))
        shown = {"deeds": found, "tenant": tenant, "listed": _LISTED, "now": self._desk.now}
        return View("audit.html.j2", shown, live=True)

    async def find(self, visit: Visit) -> RedirectResponse:
        """Lead to what bears a name: a run or a message by its id or key, else a recipient's runs."""
        name, tenant = text_of(visit.query, "q"), visit.who.tenant
        if name is None:
            return _to("/runs")
        run_id = await self._by_id(name, tenant) or await self._desk.ask(console.run_named(tenant, name))
        return _to(f"/runs/{run_id}" if run_id else "/runs?" + urlencode({"recipient": name}))

    async def _by_id(self, name: str, tenant: str | None) -> UUID | None:
        try:
            given = UUID(name)
        except ValueError:
            return None
        if await console_actions.tenant_of_run(self._desk.database, given, tenant) is not None:
            return given
        found = await console_actions.run_of_delivery(self._desk.database, given, tenant)
        return None if found is None else found[0]

    async def nodes(self, visit: Visit) -> View:
        """Show who works, and on how much; for who sees all tenants."""
        if visit.who.tenant is not None:
            raise NotFound("Nodes work for all tenants; this token is of one.")
        found = await whereabouts.listed_nodes(self._desk.database)
        ownerless = await whereabouts.ownerless(self._desk.database)
        return View(
            "nodes.html.j2", {"nodes": found, "ownerless": ownerless, "now": self._desk.now}, live=True
        )


def _offered(had: Sequence[str], channel: str | None, listed: Sequence[Failure]) -> list[str]:
    """Return the channels to choose from: also one that no node has, of which messages fail for just that."""
    chosen = () if channel is None else (channel,)
    return sorted({*had, *chosen, *(each.channel for each in listed)}) if had else []


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, headers=dict(HEADERS))


def told(document: Any) -> str | None:
    """Return a document as people read it; None: it is empty."""
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) if document else None
