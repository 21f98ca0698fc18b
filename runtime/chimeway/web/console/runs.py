"""Runs: the list with its filters, and one run: where it is, how it came there, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from markupsafe import Markup
from starlette.routing import Route

from chimeway.client.explanation import Explanation, explained
from chimeway.client.why_nothing import why_nothing
from chimeway.store import console, console_actions, reads
from chimeway.store.absences import Sought, look_for
from chimeway.store.console import RunFilter, RunPage
from chimeway.store.views import DeliveryView, RunView, Story
from chimeway.web.console.desk import KINDS, STATES, Desk, cursor_of, run_filter, run_id_of
from chimeway.web.console.guard import Guard, NotFound, Visit
from chimeway.web.console.outcomes import message_of
from chimeway.web.console.pages import View
from chimeway.web.console.showing import Standing, standing
from chimeway.web.console.trail import told, trail_of
from chimeway.workflow.svg import figure

_PAGE: Final = 50
_LOOKS_S: Final = 0.1
"""For so long a page goes on to look where there is no index; then it says how far it came."""
_TOLD: Final = 300
"""Moments and sentences that a page tells of one run, the newest: it may have entered a thousand steps."""


@dataclass(frozen=True, slots=True)
class Line:
    """A run in a list."""

    run: RunView
    standing: Standing


def lines(found: Sequence[RunView], now: datetime, lateness: timedelta) -> tuple[Line, ...]:
    """Return runs as a list shows them."""
    return tuple(Line(run, standing(run, now, lateness)) for run in found)


def actions_for(run: RunView, word: str) -> tuple[str, ...]:
    """Return what can be done to a run that stands so."""
    if run.ended_at is not None:
        return ()
    wakes = ("wake",) if word in {"overdue", "no node"} else ()
    moves = ("retime",) if run.state == "waiting" else ()
    return (*wakes, *moves, "resume" if run.held_reason else "hold", "cancel")


def can_retry(delivery: DeliveryView, run: RunView) -> bool:
    """Say whether a message waits for its next attempt, which may as well be now."""
    return delivery.status == "failed" and delivery.waiting_for_node is None and run.held_reason is None


class Runs:
    """Both pages."""

    def __init__(self, desk: Desk) -> None:
        """Take where to ask."""
        self._desk = desk

    def routes(self, guard: Guard) -> list[Route]:
        """Return both."""
        return [guard.looks("/runs", self.listed), guard.looks("/runs/{run_id}", self.one)]

    async def listed(self, visit: Visit) -> View:
        """Show a page of runs."""
        wanted, after = run_filter(visit), cursor_of(visit)
        page = await self._found(wanted, after)
        query = dict(visit.query)
        query.pop("after", None)
        first = f"/runs?{urlencode(query)}" if query else "/runs"
        further = None if page.cursor is None else "/runs?" + urlencode({**query, "after": page.cursor})
        now = self._desk.now
        return View(
            "runs.html.j2",
            {
                "wanted": wanted, "states": STATES, "kinds": KINDS, "now": now,
                "lines": lines(page.items, now, self._desk.lateness),
                "first": first, "further": further, "is_first": after is None,
                "searched": page.searched,
                "nothing": [] if page.items or after else await self._why_nothing(visit, wanted),
                "workflows": await self._desk.ask(console.workflows()),
            },
            live=after is None,
        )  # fmt: skip

    async def _why_nothing(self, visit: Visit, wanted: RunFilter) -> list[str]:
        """Say why there is no run of somebody, where a tenant and a recipient are named, and no more."""
        others = (wanted.state, wanted.step, wanted.kind)
        if wanted.tenant is None or wanted.recipient is None or any(each is not None for each in others):
            return []
        found = await look_for(self._desk.database, Sought(wanted.tenant, wanted.recipient, wanted.workflow))
        if visit.who.tenant is not None:
            found = replace(found, elsewhere=())  # of others this token learns nothing
        return why_nothing(found, keys_kept=self._desk.kept.keys, runs_kept=self._desk.kept.runs)

    async def _found(self, wanted: RunFilter, after: UUID | None) -> RunPage:
        """Look through window after window, for as long as nobody would call it slow."""
        began, items, searched = self._desk.clock.monotonic(), list[RunView](), 0
        while True:
            limit = _PAGE - len(items)
            page = await self._desk.ask(console.list_runs(wanted, after, limit, self._desk.lateness))
            items += page.items
            searched += page.searched or 0
            if page.searched is None or self._desk.clock.monotonic() - began > _LOOKS_S:
                return RunPage(tuple(items), page.cursor, searched if page.searched else None)
            after = page.cursor

    async def one(self, visit: Visit) -> View:
        """Show one run."""
        run_id = run_id_of(visit)
        story = await self.story(visit, run_id)
        seen, now = explained(story), self._desk.now
        stands = standing(story.run, now, self._desk.lateness)
        return View(
            "run.html.j2",
            {
                "run": story.run, "seen": seen, "stands": stands, "now": now,
                "moments": seen.timeline[-_TOLD:], "sentences": seen.why[-_TOLD:], "told": _TOLD,
                "paused_at": story.paused_at,
                "graph": _graph(story, seen),
                "actions": actions_for(story.run, stands.word) if visit.who.operates else (),
                "retries": {d.id for d in seen.deliveries if visit.who.operates and can_retry(d, story.run)},
                "deeds": await console_actions.deeds(self._desk.database, run_id),
                "message": message_of(visit.query.get("did")),
            },
            live=True,
        )  # fmt: skip

    async def story(self, visit: Visit, run_id: UUID) -> Story:
        """Return all of a run that this token may see, or raise NotFound."""
        tenant = await console_actions.tenant_of_run(self._desk.database, run_id, visit.who.tenant)
        if tenant is None:
            raise NotFound("There is no run of this id, or none that this token may see.")
        return await self._desk.ask(reads.read_story(tenant, run_id))


def _graph(story: Story, seen: Explanation) -> Markup | None:
    if story.definition is None:
        return None
    trail = trail_of(story.run, seen.transitions)
    # Ours, and escaped where it was drawn.
    return Markup(figure(story.definition, trail, about=told(story.run, trail)))  # noqa: S704
