"""A recipient's in-app items, without an event loop: list, count, mark."""

from uuid import UUID

from chimeway.client import verbs
from chimeway.client.verbs import Items, Mark
from chimeway.store import sync_callers as callers
from chimeway.store.sync_pool import SyncDatabase
from chimeway.store.views import InboxItem, Page


class Inbox:
    """The inbox of one recipient of one tenant; `Chimeway.inbox` gives it."""

    def __init__(self, database: SyncDatabase, tenant: str, recipient: str) -> None:
        """Take whose it is, checked."""
        self._database = database
        self._tenant = tenant
        self._recipient = recipient

    def list(
        self,
        cursor: str | None = None,
        *,
        limit: int = 50,
        archived: bool = False,
        connection: object | None = None,
    ) -> Page[InboxItem]:
        """Return a page of items, the newest first; `archived`: with those put away."""
        call = verbs.list_inbox(self._tenant, self._recipient, archived=archived, cursor=cursor, limit=limit)
        return callers.run(self._database, call, connection)

    def unseen_count(self, *, connection: object | None = None) -> int:
        """Return how many items are neither seen nor read nor archived."""
        call = verbs.unseen_count(self._tenant, self._recipient)
        return callers.run(self._database, call, connection)

    def mark_seen(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Mark items as seen; the run of each hears `chimeway.notification.seen`, the first time only.

        Returns:
            the items that had not borne the mark, by id. Unknown ids and those of others are left.
        """
        return self._mark("seen", items, connection)

    def mark_read(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Mark items as read, as `mark_seen` does; the signal is `chimeway.notification.read`."""
        return self._mark("read", items, connection)

    def mark_archived(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Put items away, as `mark_seen` does; the signal is `chimeway.notification.archived`."""
        return self._mark("archived", items, connection)

    def _mark(self, mark: Mark, items: Items, connection: object | None) -> tuple[UUID, ...]:
        call = verbs.mark(self._tenant, self._recipient, items, mark)
        return callers.run(self._database, call, connection)
