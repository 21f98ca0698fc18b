"""The calls of an inbox, from what callers give to what is asked of the database; for both clients.

Everything is checked here, before any SQL is sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, TypeAlias
from uuid import UUID

from chimeway.client import checks
from chimeway.clock import SystemClock
from chimeway.inbox_tokens import minted
from chimeway.limits import INBOX_MARKED_AT_ONCE, MAX_PAGE
from chimeway.store import inbox
from chimeway.store.call import Call
from chimeway.store.inbox import Progress
from chimeway.store.views import InboxItem, Page

Mark = Literal["seen", "read", "interacted", "archived", "unseen", "unread", "unarchived"]
MarkOfAll = Literal["seen", "read", "archived"]
Archived = Literal["no", "only", "with"]
Items: TypeAlias = UUID | str | InboxItem | Iterable[UUID | str | InboxItem]
"""One item or many, by their ids or as a list gave them."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which items of an inbox are meant, as callers say it."""

    unseen: bool = False
    unread: bool = False
    uninteracted: bool = False
    archived: Archived | bool = "no"
    workflow: str | None = None
    render_key: str | None = None
    step: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def filter(self) -> dict[str, Any]:
        """Return it as the database takes it, or raise InvalidInput; what is not said is left out."""
        given = {
            "unseen": checks.flag("unseen", self.unseen) or None,
            "unread": checks.flag("unread", self.unread) or None,
            "uninteracted": checks.flag("uninteracted", self.uninteracted) or None,
            "archived": _other_than("no", checks.archived(self.archived)),
            "workflow": checks.optional_identifier("workflow", self.workflow),
            "render_key": checks.optional_identifier("render_key", self.render_key),
            "step": checks.optional_identifier("step", self.step),
            "since": _instant("since", self.since),
            "before": _instant("before", self.before),
        }
        return {name: value for name, value in given.items() if value is not None}


def list_items(
    tenant: str, recipient: str, chosen: Chosen, cursor: str | None, limit: int
) -> Call[Page[InboxItem]]:
    """Ask for a page of items, the newest first."""
    return inbox.list_items(tenant, recipient, chosen.filter(), cursor, checks.page_size(limit))


def token(tenant: str, recipient: str, keys: object, lasts: object, with_data: object) -> str:
    """Return a front end's token, signed now; or raise InvalidInput."""
    checked = checks.signing_keys(keys), checks.span("lasts", lasts), checks.flag("with_data", with_data)
    written, span, data = checked
    return minted(tenant, recipient, written, now=SystemClock().now(), lasts=span, with_data=data)[0]


def mark(tenant: str, recipient: str, items: Items, word: Mark) -> Call[tuple[UUID, ...]]:
    """Ask for a mark on items, or that one is taken away; the answer names those that were changed."""
    given = [items] if isinstance(items, UUID | str | InboxItem) else items
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise checks.refused("items", checks.quoted(given), "give one id, or a list of them")
    ids = [_id(f"items[{place}]", item) for place, item in enumerate(islice(given, MAX_PAGE + 1))]
    if len(ids) > MAX_PAGE:
        raise checks.refused(
            "items", f"a list of more than {MAX_PAGE} ids", f"at most {MAX_PAGE} in one call"
        )
    return inbox.mark(tenant, recipient, ids, word)


def mark_all(
    tenant: str, recipient: str, word: MarkOfAll, chosen: Chosen, through: UUID | str | InboxItem | None
) -> "Everything":
    """Ask that all that is meant is marked."""
    start = None if through is None else _id("through", through)
    return Everything(tenant, recipient, word, chosen.filter(), start)


@dataclass(frozen=True, slots=True)
class Everything:
    """A marking of all that is meant: page by page, or in one transaction of somebody else."""

    tenant: str
    recipient: str
    word: MarkOfAll
    filter: Mapping[str, Any]
    through: UUID | None

    def begin(self, *, whole: bool) -> Call[Progress]:
        """Ask for the first page, or for the whole."""
        return self._call(self.through, None, None if whole else INBOX_MARKED_AT_ONCE)

    def go_on(self, progress: Progress) -> Call[Progress] | None:
        """Ask for the next page, if there is one."""
        if progress.further is None:
            return None
        return self._call(progress.further, progress.upto, INBOX_MARKED_AT_ONCE)

    def _call(self, through: UUID | None, upto: int | None, at_most: int | None) -> Call[Progress]:
        return inbox.mark_all(
            self.tenant, self.recipient, self.word, self.filter, through=through, upto=upto, at_most=at_most
        )


def _id(field: str, item: UUID | str | InboxItem) -> UUID:
    return item.id if isinstance(item, InboxItem) else checks.uuid(field, item)


def _instant(field: str, value: datetime | None) -> str | None:
    checked = checks.instant(field, value)
    return None if checked is None else checked.astimezone(UTC).isoformat()


def _other_than(default: str, value: str) -> str | None:
    return None if value == default else value
