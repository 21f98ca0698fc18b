"""An inbox in a test: when an item is marked, what follows is played at once."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from chimeway.client.inbox import Inbox
from chimeway.client.inbox_calls import Chosen, Items, Mark, MarkOfAll
from chimeway.store.pool import Database
from chimeway.store.views import InboxItem


class SettlingInbox(Inbox):
    """An inbox that has its journey settle after each mark."""

    def __init__(
        self, database: Database, tenant: str, recipient: str, settle: Callable[[], Awaitable[None]]
    ) -> None:
        """Take whose it is, and how the journey settles."""
        super().__init__(database, tenant, recipient)
        self._settle = settle

    async def _mark(self, mark: Mark, items: Items, connection: object | None) -> tuple[UUID, ...]:
        marked = await super()._mark(mark, items, connection)
        await self._settle()
        return marked

    async def _mark_all(
        self,
        mark: MarkOfAll,
        chosen: Chosen,
        through: UUID | str | InboxItem | None,
        connection: object | None,
    ) -> tuple[UUID, ...]:
        marked = await super()._mark_all(mark, chosen, through, connection)
        await self._settle()
        return marked
