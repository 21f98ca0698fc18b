"""The reading half of the client: runs, explanations, the waiting room, what is late, inboxes."""

from datetime import timedelta
from uuid import UUID

from chimeway.client import checks, verbs
from chimeway.client.explanation import Explanation
from chimeway.client.inbox import Inbox
from chimeway.client.verbs import MAX_LATENESS
from chimeway.progression.snapshot import RunState
from chimeway.store import callers
from chimeway.store.pool import Database
from chimeway.store.views import ListedRun, Page, RunView, WaitingRun


class Reading:
    """What a client can ask; nothing here writes.

    With `connection=` the question is asked in the caller's transaction, and sees what it has written.
    """

    def __init__(self, database: Database, tenant: str | None) -> None:
        """Take an open database and, if one is bound, the tenant."""
        self._database = database
        self._tenant = None if tenant is None else checks.identifier("tenant", tenant)

    @property
    def database(self) -> Database:
        """Return what it works on, for the rooms above."""
        return self._database

    async def get_run(
        self, run_id: UUID | str, *, tenant: str | None = None, connection: object | None = None
    ) -> RunView:
        """Return a run as its row stands.

        Raises:
            WorkflowRunNotFound: `run_id` is none of this tenant's runs.
        """
        return await callers.run(self._database, verbs.get_run(self._of(tenant), run_id), connection)

    async def list_runs(
        self,
        *,
        tenant: str | None = None,
        state: RunState | None = None,
        workflow: str | None = None,
        recipient: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        connection: object | None = None,
    ) -> Page[RunView]:
        """Return a page of runs, the newest first; `page.cursor` leads to the next.

        Args:
            tenant: as for `trigger`.
            state: only those that are so.
            workflow: only those of this key.
            recipient: only those of this person.
            cursor: of the page before.
            limit: how many, at most 1,000.
            connection: as for `trigger`.
        """
        call = verbs.list_runs(
            self._of(tenant), state=state, workflow=workflow, recipient=recipient, cursor=cursor, limit=limit
        )
        return await callers.run(self._database, call, connection)

    async def explain(
        self, run_id: UUID | str, *, tenant: str | None = None, connection: object | None = None
    ) -> Explanation:
        """Return what is known of a run, and why: was this sent, or not sent?

        Read in one snapshot; on a lent connection, in those of the caller's isolation.

        Raises:
            WorkflowRunNotFound: `run_id` is none of this tenant's runs.
        """
        return await callers.run(self._database, verbs.explain(self._of(tenant), run_id), connection)

    async def waiting(
        self,
        *,
        tenant: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        connection: object | None = None,
    ) -> Page[WaitingRun]:
        """Return a page of the waiting room: who waits, for what, until when; the next to go first.

        Args:
            tenant: as for `trigger`.
            cursor: of the page before.
            limit: how many, at most 1,000.
            connection: as for `trigger`.
        """
        call = verbs.waiting(self._of(tenant), cursor, limit)
        return await callers.run(self._database, call, connection)

    async def overdue(
        self,
        *,
        tenant: str | None = None,
        max_lateness: timedelta = MAX_LATENESS,
        connection: object | None = None,
    ) -> list[ListedRun]:
        """Return runs past their wake by more than `max_lateness`: it must be empty.

        Of all tenants, unless one is given or bound; at most 1,000, the latest first.
        """
        call = verbs.overdue(self._tenant if tenant is None else tenant, max_lateness)
        return await callers.run(self._database, call, connection)

    async def stuck(self, *, tenant: str | None = None, connection: object | None = None) -> list[ListedRun]:
        """Return live runs that cannot move by themselves: held, stuck, waiting for a node.

        Of all tenants, unless one is given or bound; at most 1,000.
        """
        return await callers.run(
            self._database, verbs.stuck(self._tenant if tenant is None else tenant), connection
        )

    def inbox(self, recipient: str, *, tenant: str | None = None) -> Inbox:
        """Return a recipient's inbox; nothing is read yet."""
        return Inbox(self._database, self._of(tenant), checks.identifier("recipient", recipient))

    def _of(self, tenant: str | None) -> str:
        return verbs.tenant_of(tenant, self._tenant)
