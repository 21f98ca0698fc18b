"""The half without an event loop for what people may ask for: to be forgotten, to be told what is held."""

from collections.abc import Generator

from chimeway.client import checks
from chimeway.store import forgetting
from chimeway.store import sync_callers as callers
from chimeway.store.call import Call
from chimeway.store.forgetting import Document, Exported, Forgotten
from chimeway.sync.unsubscribing import Unsubscribing


class Forgetting(Unsubscribing):
    """Forgets and exports people. For operators; with `connection=`, in the caller's transaction."""

    def forget(
        self, recipient: str, *, tenant: str | None = None, connection: object | None = None
    ) -> Forgotten:
        """Forget a person: cancel their live runs, and erase all that is theirs; the audit stays.

        In one transaction, which waits for runs that somebody has locked. What commits after it began is of
        somebody new, who happens to have the same id.

        Args:
            recipient: who; nobody of this id is known: `known` is false, and nothing was written.
            tenant: whose.
            connection: see `Chimeway`; its transaction must be READ COMMITTED.

        Raises:
            InvalidInput: no id; or a transaction that is stricter.
        """
        call = forgetting.forget(self._of(tenant), checks.identifier("recipient", recipient))
        return callers.run(self._database, call, connection)

    def export(
        self, recipient: str, *, tenant: str | None = None, connection: object | None = None
    ) -> Generator[Document, None, None]:
        """Yield everything that is held about a person, as documents of JSON, page by page.

        Each has a `part`: one is `recipient` (profile, preferences, when he was sent what is capped), then
        comes a `run` for each (with the trigger's data, the audit, messages, items, mailbox), and each
        `signal`. Of somebody unknown there is none. A page is one moment; on a lent connection its isolation
        says which.

        Args:
            recipient: who.
            tenant: whose.
            connection: see `Chimeway`.

        Raises:
            InvalidInput: no id.
        """
        callers.check_lent(connection)
        call = forgetting.export(self._of(tenant), checks.identifier("recipient", recipient))
        return self._exported(call, connection)

    def _exported(self, first: Call[Exported], connection: object | None) -> Generator[Document, None, None]:
        call: Call[Exported] | None = first
        while call is not None:
            page = callers.run(self._database, call, connection)
            yield from page.documents
            call = page.further
