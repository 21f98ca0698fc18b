"""Workflows: their versions, the graph, how far runs come, and pausing."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import RedirectResponse
from starlette.routing import Route

from chimeway.errors import InvalidDefinition
from chimeway.limits import CONSOLE_PLAN
from chimeway.store import console_actions, console_sights, definitions
from chimeway.store.console_sights import Funnel
from chimeway.store.definitions import Registered, Stored
from chimeway.store.words import in_our_words
from chimeway.web.console.acting import Asked
from chimeway.web.console.charts import share
from chimeway.web.console.desk import Desk, note_of, tenant_of, text_of
from chimeway.web.console.guard import Guard, NotFound, Visit
from chimeway.web.console.outcomes import message_of
from chimeway.web.console.pages import HEADERS, View
from chimeway.workflow.parse import parse
from chimeway.workflow.svg import figure

_ASKED: Final = {
    "pause": Asked(
        "Pause this workflow?",
        "Its runs of all versions and tenants decide nothing, and begin no message, until it goes on. "
        "Triggers and signals are taken meanwhile.",
        "Pause the workflow",
    ),
    "unpause": Asked(
        "Let this workflow go on?",
        "What fell due meanwhile is done now, the oldest first, slowly at first.",
        "Go on",
    ),
}


class Workflows:
    """The list, one workflow, and pausing it."""

    def __init__(self, desk: Desk) -> None:
        """Take where to ask and to act."""
        self._desk = desk

    def routes(self, guard: Guard) -> list[Route]:
        """Return them. A key may be any text, so it stands behind the question mark."""
        return [
            guard.looks("/workflows", self.listed),
            guard.looks("/workflow", self.one),
            guard.looks("/workflow/{action}", self.ask),
            guard.acts("/workflow/{action}", self.act),
        ]

    async def listed(self, _visit: Visit) -> View:
        """Show all keys, each with its versions."""
        with in_our_words():
            found = await definitions.list_definitions(self._desk.database)
        by_key = [(key, list(group)) for key, group in groupby(found, lambda each: each.key)]
        return View("workflows.html.j2", {"workflows": by_key, "now": self._desk.now}, live=True)

    async def one(self, visit: Visit) -> View:
        """Show one workflow: the version that is asked for, or else the current one."""
        key, versions = await self._found(visit.query)
        asked = visit.query.get("version", "")
        current = next((one.version for one in versions if one.current), versions[0].version)
        version = int(asked) if asked.isdecimal() and len(asked) < 10 else current
        if version not in {one.version for one in versions}:
            raise NotFound("There is no such version of this workflow.")
        with in_our_words():
            stored = await definitions.fetch_definition(self._desk.database, key, version)
        tenant = tenant_of(visit, visit.query)
        went = await self._desk.ask(console_sights.funnel(tenant, key, version))
        steps = [step["id"] for step in stored.raw["steps"]]
        return View(
            "workflow.html.j2",
            {
                "key": key, "version": version, "versions": versions, "paused_at": versions[0].paused_at,
                "now": self._desk.now, "graph": _graph(stored), "steps": funnel_rows(steps, went),
                "funnel": went, "takes": CONSOLE_PLAN, "message": message_of(visit.query.get("did")),
                "may_pause": visit.who.operates and visit.who.tenant is None,
            },
            live=True,
        )  # fmt: skip

    async def ask(self, visit: Visit) -> View:
        """Show what would happen."""
        action = _checked(visit)
        key, _ = await self._found(visit.query)
        shown = {"asked": _ASKED[action], "action": action, "key": key, "may": visit.who.operates}
        return View("pause.html.j2", {**shown, "now": self._desk.now})

    async def act(self, visit: Visit) -> RedirectResponse:
        """Pause it, or let it go on."""
        paused = _checked(visit) == "pause"
        key, _ = await self._found(visit.form)
        await console_actions.pause_workflow(
            self._desk.database, visit.who, key, paused=paused, note=note_of(visit)
        )
        to = "/workflow?" + urlencode({"key": key, "did": "paused" if paused else "unpaused"})
        return RedirectResponse(to, 303, headers=dict(HEADERS))

    async def _found(self, given: Mapping[str, str]) -> tuple[str, list[Registered]]:
        key = text_of(given, "key")
        with in_our_words():
            found = await definitions.list_definitions(self._desk.database)
        versions = [one for one in found if one.key == key]
        if key is None or not versions:
            raise NotFound("There is no such workflow.")
        return key, versions


def _checked(visit: Visit) -> str:
    """Return what is to be done, or raise NotFound."""
    action: str = visit.ids["action"]
    if action not in _ASKED:
        raise NotFound("There is no such page.")
    if visit.who.tenant is not None:
        raise NotFound("A workflow is of all tenants; this token is of one.")
    return action


def _graph(stored: Stored) -> Markup | None:
    try:
        drawn = figure(parse(stored.raw))
    except InvalidDefinition:  # of a program of the next version
        return None
    return Markup(drawn)  # noqa: S704  (ours, and escaped where it was drawn)


def funnel_rows(steps: Sequence[str], went: Funnel) -> list[tuple[str, int, Markup]]:
    """Return each step, how many runs have entered it, and its bar."""
    return [
        (step, went.entered.get(step, 0), Markup(share(went.entered.get(step, 0), went.runs)))  # noqa: S704
        for step in steps
    ]
