"""The waiting room, what is overdue, and what is done to many runs: counted first, then just that."""

from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlencode

from starlette.responses import RedirectResponse
from starlette.routing import Route

from chimeway.errors import InvalidInput
from chimeway.limits import CONSOLE_COUNTED, CONSOLE_PLAN
from chimeway.store import console, console_actions, reads
from chimeway.store.console_actions import Plan, PlanAction, When
from chimeway.web.console.desk import Desk, moved, note_of, run_id_of, tenant_of, text_of, wait_filter
from chimeway.web.console.guard import Guard, NotFound, Visit
from chimeway.web.console.outcomes import told_of_plan
from chimeway.web.console.pages import HEADERS, View
from chimeway.web.console.runs import lines

_PAGE: Final = 50
_SAMPLE: Final = 20
_ACTIONS: Final = ("cancel", "wake", "retime")
_DONE_IN_S: Final = 12.0
"""For so long one request acts; who has more to do is offered to go on."""


class Plans:
    """The pages of many runs."""

    def __init__(self, desk: Desk) -> None:
        """Take where to ask and to act."""
        self._desk = desk

    def routes(self, guard: Guard) -> list[Route]:
        """Return them."""
        return [
            guard.looks("/waiting", self.waiting),
            guard.looks("/overdue", self.overdue),
            guard.acts("/plans", self.make),
            guard.looks("/plans/{plan_id}", self.show),
            guard.acts("/plans/{plan_id}", self.carry_out),
        ]

    async def waiting(self, visit: Visit) -> View:
        """Show who waits, for what, and until when."""
        query = visit.query
        tenant = tenant_of(visit, query)
        tenants = () if visit.who.tenant is not None else await self._desk.ask(console.tenants())
        if tenant is None and len(tenants) == 1:
            (tenant,) = tenants
        further, wanted = None, wait_filter(query, tenant)
        page = await self._desk.ask(console.list_waiting(wanted, query.get("after"), _PAGE))
        if page.cursor is not None:
            whose = {} if tenant is None else {"tenant": tenant}
            further = "/waiting?" + urlencode({**query, **whose, "after": page.cursor})
        return View(
            "waiting.html.j2",
            {
                "tenant": tenant, "tenants": tenants, "wanted": wanted, "page": page, "further": further,
                "now": self._desk.now, "most": CONSOLE_COUNTED, "takes": CONSOLE_PLAN,
                "is_first": "after" not in query,
                "workflows": await self._desk.ask(console.workflows()), "may": visit.who.operates,
            },
            live="after" not in query,
        )  # fmt: skip

    async def overdue(self, visit: Visit) -> View:
        """Show what should have moved, and has not."""
        tenant = tenant_of(visit, visit.query)
        found = await self._desk.ask(reads.list_overdue(self._desk.lateness, tenant))
        return View(
            "overdue.html.j2",
            {
                "found": found[:200], "count": len(found), "now": self._desk.now, "tenant": tenant,
                "lateness": self._desk.lateness, "may": visit.who.operates, "takes": CONSOLE_PLAN,
            },
            live=True,
        )  # fmt: skip

    async def make(self, visit: Visit) -> RedirectResponse:
        """Count, and write down what would be done; nothing is done."""
        form = visit.form
        action, tenant = form.get("action"), tenant_of(visit, form)
        if action not in _ACTIONS:
            raise InvalidInput("what is to be done is missing", field="action", hint=", ".join(_ACTIONS))
        when = When(*moved(form, self._desk.now)) if action == "retime" else When()
        if form.get("of") == "overdue":
            chosen = await self._desk.ask(console.choose_overdue(tenant, self._desk.lateness))
            by: Mapping[str, str] = {"of": "overdue"}
        elif tenant is None:
            raise InvalidInput("a tenant is missing", field="tenant", hint="choose one above the list")
        else:
            wanted = wait_filter(form, tenant)
            chosen = await self._desk.ask(console.choose_waiting(wanted))
            names = {name: text_of(form, name) for name in ("workflow", "step", "before")}
            by = {"of": "waiting", **{name: value for name, value in names.items() if value is not None}}
        if tenant is not None:
            by = {**by, "tenant": tenant}
        plan = await console_actions.make_plan(
            self._desk.database, visit.who, cast("PlanAction", action), chosen, by=by, when=when
        )
        return RedirectResponse(f"/plans/{plan}", 303, headers=dict(HEADERS))

    async def show(self, visit: Visit) -> View:
        """Show what would be done, or what was."""
        plan = await console_actions.find_plan(self._desk.database, visit.who, run_id_of(visit, "plan_id"))
        if plan is None:
            raise NotFound("There is no such plan of this token's; plans are kept for a week.")
        sample = await self._desk.ask(console.find_runs(plan.run_ids[:_SAMPLE]))
        now = self._desk.now
        return View(
            "plan.html.j2",
            {
                "plan": plan, "now": now, "sample": lines(sample, now, self._desk.lateness),
                "finished": plan.done >= len(plan.run_ids), "may": visit.who.operates,
                "told": [(number, told_of_plan(word)) for word, number in sorted(_ranked(plan))],
            },
        )  # fmt: skip

    async def carry_out(self, visit: Visit) -> RedirectResponse:
        """Do what was counted, batch by batch, for as long as one request may take."""
        plan_id, note = run_id_of(visit, "plan_id"), note_of(visit)
        loop_time = self._desk.clock.monotonic
        began = loop_time()
        while True:
            plan = await console_actions.go_on(self._desk.database, visit.who, plan_id, note)
            if plan is None:
                raise InvalidInput(
                    "what was counted is too old, or not this token's", field="plan", hint="count again"
                )
            if plan.done >= len(plan.run_ids) or loop_time() - began > _DONE_IN_S:
                return RedirectResponse(f"/plans/{plan_id}", 303, headers=dict(HEADERS))


def _ranked(plan: Plan) -> list[tuple[str, int]]:
    return list(plan.outcome.items())
