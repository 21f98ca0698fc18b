"""The reading half of the client: runs, explanations, the waiting room, what is late, inboxes."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from chimeway.client import checks
from chimeway.client.explanation import Explanation, explained
from chimeway.client.inbox import Inbox
from chimeway.progression.snapshot import RunState
from chimeway.store import reads
from chimeway.store.pool import Database
from chimeway.store.views import ListedRun, Page, RunView, WaitingRun

DEFAULT_TENANT: Final = "default"
MAX_LATENESS: Final = timedelta(seconds=5)
"""Past its wake by more than this a run is overdue (CHIMEWAY_MAX_LATENESS, by default)."""


class Reading:
    """What a client can ask; nothing here writes."""

    def __init__(self, database: Database, tenant: str | None) -> None:
        """Take an open database and, if one is bound, the tenant."""
        self._database = database
        self._tenant = None if tenant is None else checks.identifier("tenant", tenant)

    @property
    def database(self) -> Database:
        """Return what it works on, for the rooms above."""
        return self._database

    async def get_run(self, run_id: UUID | str, *, tenant: str | None = None) -> RunView:
        """Return a run's row, or raise WorkflowRunNotFound."""
        return await reads.get_run(self._database, self._of(tenant), checks.uuid("run_id", run_id))

    async def list_runs(
        self,
        *,
        tenant: str | None = None,
        state: RunState | None = None,
        workflow: str | None = None,
        recipient: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RunView]:
        """Return a page of runs, the newest first; `page.cursor` leads to the next."""
        return await reads.list_runs(
            self._database,
            self._of(tenant),
            state=state,
            workflow=workflow,
            recipient=recipient,
            cursor=cursor,
            limit=checks.page_size(limit),
        )

    async def explain(self, run_id: UUID | str, *, tenant: str | None = None) -> Explanation:
        """Return what is known of a run, and why: was this sent, or not sent?

        Raises:
            WorkflowRunNotFound: `run_id` is none of this tenant's runs.
        """
        story = await reads.read_story(self._database, self._of(tenant), checks.uuid("run_id", run_id))
        return explained(story)

    async def waiting(
        self, *, tenant: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[WaitingRun]:
        """Return a page of the waiting room: who waits, for what, until when; the next to go first."""
        return await reads.list_waiting(
            self._database, self._of(tenant), cursor=cursor, limit=checks.page_size(limit)
        )

    async def overdue(
        self, *, tenant: str | None = None, max_lateness: timedelta = MAX_LATENESS
    ) -> list[ListedRun]:
        """Return runs past their wake by more than `max_lateness`: it must be empty.

        Of all tenants, unless one is given or bound; at most 1,000, the latest first.
        """
        return await reads.list_overdue(self._database, max_lateness, tenant or self._tenant)

    async def stuck(self, *, tenant: str | None = None) -> list[ListedRun]:
        """Return live runs that cannot move by themselves: held, stuck, waiting for a node.

        Of all tenants, unless one is given or bound; at most 1,000.
        """
        return await reads.list_stuck(self._database, tenant or self._tenant)

    def inbox(self, recipient: str, *, tenant: str | None = None) -> Inbox:
        """Return a recipient's inbox; nothing is read yet."""
        return Inbox(self._database, self._of(tenant), checks.identifier("recipient", recipient))

    def _of(self, tenant: str | None) -> str:
        if tenant is not None:
            return checks.identifier("tenant", tenant)
        return self._tenant if self._tenant is not None else DEFAULT_TENANT
