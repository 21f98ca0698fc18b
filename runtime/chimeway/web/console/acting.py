"""What is done to one run or one message: a page that says what will happen, and the deed itself."""

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from starlette.responses import RedirectResponse
from starlette.routing import Route

from chimeway.store import console_actions
from chimeway.store.console_actions import RunAction, When
from chimeway.web.console.desk import Desk, moved, note_of, run_id_of
from chimeway.web.console.guard import Guard, NotFound, Visit
from chimeway.web.console.outcomes import code_of
from chimeway.web.console.pages import HEADERS, View
from chimeway.web.console.runs import Runs
from chimeway.web.console.showing import standing


class Asked(NamedTuple):
    """The words of a page that asks whether it is meant."""

    title: str
    told: str
    button: str


ASKED: Final[Mapping[str, Asked]] = {
    "cancel": Asked(
        "Cancel this run?",
        "It stops where it stands, for good. Messages that no provider was asked for yet are not sent; "
        "what is on its way cannot be called back.",
        "Cancel the run",
    ),
    "hold": Asked(
        "Hold this run?",
        "Nothing is decided or sent until it is resumed. Signals are kept; time goes on.",
        "Hold the run",
    ),
    "resume": Asked(
        "Resume this run?", "It goes on from where it stands. What has fallen due is done now.", "Resume"
    ),
    "wake": Asked(
        "Wake this run?",
        "It is evaluated now, by its rows: it moves only if it ought to. Nothing of its journey is changed.",
        "Wake the run",
    ),
    "retime": Asked(
        "Move this wait?",
        "The wait is over at another time, never before now; signals still end it before. The audit says so.",
        "Move the wait",
    ),
}  # fmt: skip


class Acting:
    """Forms and deeds."""

    def __init__(self, desk: Desk, runs: Runs) -> None:
        """Take where to act, and who finds runs."""
        self._desk = desk
        self._runs = runs

    def routes(self, guard: Guard) -> list[Route]:
        """Return them; they come before the page of one run."""
        return [
            guard.looks("/runs/{run_id}/retry/{delivery_id}", self.ask_retry),
            guard.acts("/runs/{run_id}/retry/{delivery_id}", self.retry),
            guard.looks("/runs/{run_id}/{action}", self.ask),
            guard.acts("/runs/{run_id}/{action}", self.act),
        ]

    async def ask(self, visit: Visit) -> View:
        """Show what would happen."""
        action = visit.ids["action"]
        if action not in ASKED:
            raise NotFound("There is no such page.")
        story = await self._runs.story(visit, run_id_of(visit))
        now = self._desk.now
        return View(
            "confirm.html.j2",
            {
                "asked": ASKED[action], "action": action, "run": story.run, "delivery": None, "now": now,
                "zone": story.zone, "stands": standing(story.run, now, self._desk.lateness),
                "may": visit.who.operates, "with_note": action != "wake",
            },
        )  # fmt: skip

    async def act(self, visit: Visit) -> RedirectResponse:
        """Do it, and lead back to the run."""
        action, run_id = visit.ids["action"], run_id_of(visit)
        if action not in ASKED:
            raise NotFound("There is no such page.")
        when = When(*moved(visit.form, self._desk.now)) if action == "retime" else None
        tenant = await console_actions.tenant_of_run(self._desk.database, run_id, visit.who.tenant)
        if tenant is None:
            raise NotFound("There is no run of this id, or none that this token may see.")
        outcome = await console_actions.act_on_run(
            self._desk.database, visit.who, cast("RunAction", action), run_id, tenant=tenant,
            note=note_of(visit) if action != "wake" else None, when=when,
        )  # fmt: skip
        return _back(f"/runs/{run_id}?did={code_of(action, outcome)}")

    async def ask_retry(self, visit: Visit) -> View:
        """Show which message would be tried again."""
        story = await self._runs.story(visit, run_id_of(visit))
        delivery_id = run_id_of(visit, "delivery_id")
        found = next((each for each in story.deliveries if each.id == delivery_id), None)
        if found is None:
            raise NotFound("This run has no message of this id.")
        asked = Asked(
            "Try this message again now?",
            f"The {found.channel} message of {found.step_id} failed, and is tried again by itself later. "
            "Its provider gets the same id: who has it already sends nothing twice.",
            "Try it now",
        )
        now = self._desk.now
        return View(
            "confirm.html.j2",
            {
                "asked": asked, "action": f"retry/{found.id}", "run": story.run, "delivery": found,
                "now": now,
                "zone": story.zone, "stands": standing(story.run, now, self._desk.lateness),
                "may": visit.who.operates, "with_note": False,
            },
        )  # fmt: skip

    async def retry(self, visit: Visit) -> RedirectResponse:
        """Try it again."""
        run_id, delivery_id = run_id_of(visit), run_id_of(visit, "delivery_id")
        found = await console_actions.run_of_delivery(self._desk.database, delivery_id, visit.who.tenant)
        if found is None or found[0] != run_id:
            raise NotFound("This run has no message of this id.")
        outcome = await console_actions.retry_delivery(self._desk.database, visit.who, delivery_id, found[1])
        return _back(f"/runs/{run_id}?did={code_of('retry', outcome)}")


def _back(to: str) -> RedirectResponse:
    return RedirectResponse(to, 303, headers=dict(HEADERS))
