"""A recipient's in-app items, without an event loop: list, count, mark, and look for changes."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from chimeway.client import checks, inbox_calls
from chimeway.client.inbox_calls import Archived, Chosen, Items, Mark, MarkOfAll
from chimeway.inbox_tokens import LASTS
from chimeway.limits import INBOX_BLOCKING_POLL_S, INBOX_COUNTED
from chimeway.store import inbox
from chimeway.store import sync_callers as callers
from chimeway.store.call import Call
from chimeway.store.inbox import Progress
from chimeway.store.sync_pool import SyncDatabase
from chimeway.store.views import InboxChange, InboxCounts, InboxItem, Page


class Inbox:
    """The inbox of one recipient of one tenant; `Chimeway.inbox` gives it.

    An item that is put away (archived) is in no count, and in lists only when asked for.
    """

    def __init__(self, database: SyncDatabase, tenant: str, recipient: str) -> None:
        """Take whose it is, checked."""
        self._database = database
        self._tenant = tenant
        self._recipient = recipient

    def list(  # noqa: PLR0913  (all but the first by name)
        self,
        cursor: str | None = None,
        *,
        limit: int = 50,
        unseen: bool = False,
        unread: bool = False,
        uninteracted: bool = False,
        archived: Archived | bool = "no",
        workflow: str | None = None,
        render_key: str | None = None,
        step: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        connection: object | None = None,
    ) -> Page[InboxItem]:
        """Return a page of items, the newest first; of one instant those planned last.

        Args:
            cursor: of the page before.
            limit: how many, at most 1,000.
            unseen: only those that nobody has seen.
            unread: only those that nobody has read.
            uninteracted: only those with which nobody has done anything.
            archived: `no`, `only` or `with` those put away (True: with).
            workflow: only those of this workflow.
            render_key: only those of this render key.
            step: only those of this step.
            since: only those that arrived from this instant on.
            before: only those that arrived before this instant.
            connection: see `Chimeway`.
        """
        chosen = Chosen(unseen, unread, uninteracted, archived, workflow, render_key, step, since, before)
        whose = self._tenant, self._recipient
        call = inbox_calls.list_items(*whose, chosen, cursor, limit)
        return callers.run(self._database, call, connection)

    def unseen_count(self, *, connection: object | None = None) -> int:
        """Return how many items are neither seen nor read nor archived."""
        call = inbox.count_unseen(self._tenant, self._recipient)
        return callers.run(self._database, call, connection)

    def unread_count(self, *, connection: object | None = None) -> int:
        """Return how many items are neither read nor archived."""
        call = inbox.count_unread(self._tenant, self._recipient)
        return callers.run(self._database, call, connection)

    def counts(self, *, connection: object | None = None) -> InboxCounts:
        """Return both counts, of one moment."""
        return callers.run(self._database, inbox.count(self._tenant, self._recipient), connection)

    def mark_seen(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Mark items as seen; the run of each hears `chimeway.notification.seen`, the first time only.

        Returns:
            the items that had not borne the mark, by id. Unknown ids and those of others are left.
        """
        return self._mark("seen", items, connection)

    def mark_read(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Mark items as read, and so as seen; runs hear `chimeway.notification.read`, and then `.seen`."""
        return self._mark("read", items, connection)

    def mark_interacted(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Mark items as clicked or acted upon, and so as read and seen; the first signal is `.interacted`."""
        return self._mark("interacted", items, connection)

    def mark_archived(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Put items away, as `mark_seen` does; the signal is `chimeway.notification.archived`."""
        return self._mark("archived", items, connection)

    def mark_unseen(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Take the marks seen and read away; no run hears of it, nor of the next time they are put."""
        return self._mark("unseen", items, connection)

    def mark_unread(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Take the mark read away, as `mark_unseen` does; they stay seen."""
        return self._mark("unread", items, connection)

    def mark_unarchived(self, items: Items, *, connection: object | None = None) -> tuple[UUID, ...]:
        """Bring items back that were put away, as `mark_unseen` does; other marks stay."""
        return self._mark("unarchived", items, connection)

    def mark_all_seen(
        self,
        *,
        through: UUID | str | InboxItem | None = None,
        workflow: str | None = None,
        render_key: str | None = None,
        step: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        connection: object | None = None,
    ) -> tuple[UUID, ...]:
        """Mark as seen what lies in the inbox, as `mark_seen` does, and nothing that arrives meanwhile.

        In transactions of 500 items; on a lent connection in the caller's one.

        Args:
            through: the newest item that the person had before their eyes: nothing newer is marked.
            workflow: as for `list`.
            render_key: as for `list`.
            step: as for `list`.
            since: as for `list`.
            before: as for `list`.
            connection: see `Chimeway`.

        Returns:
            the items that had not borne the mark.
        """
        chosen = Chosen(workflow=workflow, render_key=render_key, step=step, since=since, before=before)
        return self._mark_all("seen", chosen, through, connection)

    def mark_all_read(
        self,
        *,
        through: UUID | str | InboxItem | None = None,
        workflow: str | None = None,
        render_key: str | None = None,
        step: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        connection: object | None = None,
    ) -> tuple[UUID, ...]:
        """Mark as read what lies in the inbox; as `mark_all_seen`.

        Args:
            through: the newest item that the person had before their eyes: nothing newer is marked.
            workflow: as for `list`.
            render_key: as for `list`.
            step: as for `list`.
            since: as for `list`.
            before: as for `list`.
            connection: see `Chimeway`.

        Returns:
            the items that had not borne the mark.
        """
        chosen = Chosen(workflow=workflow, render_key=render_key, step=step, since=since, before=before)
        return self._mark_all("read", chosen, through, connection)

    def mark_all_archived(
        self,
        *,
        through: UUID | str | InboxItem | None = None,
        workflow: str | None = None,
        render_key: str | None = None,
        step: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        connection: object | None = None,
    ) -> tuple[UUID, ...]:
        """Put away what lies in the inbox; as `mark_all_seen`.

        Args:
            through: the newest item that the person had before their eyes: nothing newer is marked.
            workflow: as for `list`.
            render_key: as for `list`.
            step: as for `list`.
            since: as for `list`.
            before: as for `list`.
            connection: see `Chimeway`.

        Returns:
            the items that had not borne the mark.
        """
        chosen = Chosen(workflow=workflow, render_key=render_key, step=step, since=since, before=before)
        return self._mark_all("archived", chosen, through, connection)

    def token(self, keys: Sequence[str], *, lasts: timedelta = LASTS, with_data: bool = False) -> str:
        """Return a token by which a front end looks on this inbox alone, by HTTP; nothing is asked.

        Args:
            keys: as `CHIMEWAY_INBOX_KEYS` of the nodes has them; the first signs.
            lasts: for how long, an hour at most: it cannot be called back.
            with_data: whether items come with the data of their trigger, whole.

        Raises:
            InvalidInput: there is no key, one can be guessed, or it would last longer than an hour.
            MissingExtra: the packages of the extra `web` are not installed.
        """
        return inbox_calls.token(self._tenant, self._recipient, keys, lasts, with_data)

    def changes(self, *, timeout: float | None = None) -> Iterator[InboxChange]:
        """Yield the inbox as it is, at once and whenever it looks otherwise; look every second.

        It holds no connection between looks, and no NOTIFY reaches it: a thread for each who looks on is dear
        enough. What changes neither a count nor one of the newest twenty items is not seen. For many who look
        on, or to be told within milliseconds, there is the client with an event loop.

        Args:
            timeout: it ends when nothing has changed for so many seconds; without it, never.
        """
        longest = None if timeout is None else checks.seconds("timeout", timeout)
        ask = inbox.states([(self._tenant, self._recipient)], INBOX_COUNTED)
        known, since = None, time.monotonic()
        while True:
            (state,) = callers.run(self._database, ask)
            if state != known:
                known = state
                yield InboxChange(state.unseen, state.unread, state.newest, "polling")
                since = time.monotonic()  # of whoever is slow the time does not count
            pause = INBOX_BLOCKING_POLL_S
            if longest is not None:
                pause = min(pause, since + longest - time.monotonic())
            if pause <= 0:
                return
            time.sleep(pause)

    def _mark(self, mark: Mark, items: Items, connection: object | None) -> tuple[UUID, ...]:
        call = inbox_calls.mark(self._tenant, self._recipient, items, mark)
        return callers.run(self._database, call, connection)

    def _mark_all(
        self,
        mark: MarkOfAll,
        chosen: Chosen,
        through: UUID | str | InboxItem | None,
        connection: object | None,
    ) -> tuple[UUID, ...]:
        everything = inbox_calls.mark_all(self._tenant, self._recipient, mark, chosen, through)
        call: Call[Progress] | None = everything.begin(whole=connection is not None)
        marked: list[UUID] = []
        while call is not None:
            progress = callers.run(self._database, call, connection)
            marked += progress.marked
            call = everything.go_on(progress)
        return tuple(marked)
