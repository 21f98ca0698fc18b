"""A recipient's in-app items: list, count, mark."""

from collections.abc import Iterable
from uuid import UUID

from chimeway.client import checks
from chimeway.errors import InvalidInput
from chimeway.limits import MAX_PAGE
from chimeway.store import callers, reads, statements
from chimeway.store.pool import Database
from chimeway.store.views import InboxItem, Page


class Inbox:
    """The inbox of one recipient of one tenant; `Chimeway.inbox` gives it."""

    def __init__(self, database: Database, tenant: str, recipient: str) -> None:
        """Take whose it is, checked."""
        self._database = database
        self._tenant = tenant
        self._recipient = recipient

    async def list(
        self, cursor: str | None = None, *, limit: int = 50, archived: bool = False
    ) -> Page[InboxItem]:
        """Return a page of items, the newest first; `archived`: with those put away."""
        return await reads.list_inbox(
            self._database,
            self._tenant,
            self._recipient,
            archived=archived,
            cursor=cursor,
            limit=checks.page_size(limit),
        )

    async def unseen_count(self) -> int:
        """Return how many items are neither seen nor read nor archived."""
        return await reads.count_unseen(self._database, self._tenant, self._recipient)

    async def mark_seen(
        self, items: UUID | str | Iterable[UUID | str], *, connection: object | None = None
    ) -> tuple[UUID, ...]:
        """Mark items as seen; the run of each hears `chimeway.notification.seen`, the first time only.

        Returns:
            the items that had not borne the mark, by id. Unknown ids and those of others are left.
        """
        return await self._mark("seen", items, connection)

    async def mark_read(
        self, items: UUID | str | Iterable[UUID | str], *, connection: object | None = None
    ) -> tuple[UUID, ...]:
        """Mark items as read, as `mark_seen` does; the signal is `chimeway.notification.read`."""
        return await self._mark("read", items, connection)

    async def mark_archived(
        self, items: UUID | str | Iterable[UUID | str], *, connection: object | None = None
    ) -> tuple[UUID, ...]:
        """Put items away, as `mark_seen` does; the signal is `chimeway.notification.archived`."""
        return await self._mark("archived", items, connection)

    async def _mark(
        self, mark: str, items: UUID | str | Iterable[UUID | str], connection: object | None
    ) -> tuple[UUID, ...]:
        given = [items] if isinstance(items, UUID | str) else items
        ids = [checks.uuid("items", item) for item in given]
        if len(ids) > MAX_PAGE:
            raise InvalidInput(f"{len(ids)} items: at most {MAX_PAGE} in one call", field="items")
        statement = statements.mark_inbox(self._tenant, self._recipient, ids, mark)
        rows = await callers.run(self._database, statement, connection)
        return tuple(row["id"] for row in rows)
