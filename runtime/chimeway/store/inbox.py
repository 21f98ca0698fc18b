"""What is asked of inboxes: pages, counts, marks, and who watches. Pure; `callers` and `sync_callers` ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chimeway.store import cursors, rows
from chimeway.store.call import Call, Row, json_text, one, statement, uuid, uuids
from chimeway.store.queries import SQL
from chimeway.store.views import InboxCounts, InboxItem, Page


@dataclass(frozen=True, slots=True)
class Progress:
    """What one call of a marking of all has marked; `further` is where the next begins, if there is more."""

    marked: tuple[UUID, ...]
    further: UUID | None
    upto: int


@dataclass(frozen=True, slots=True)
class State:
    """An inbox as a front end shows it at first sight; `look` is another when its newest items look so."""

    unseen: int
    unread: int
    newest: UUID | None
    look: str | None


def list_items(
    tenant: str, recipient: str, chosen: Mapping[str, Any], cursor: str | None, limit: int
) -> Call[Page[InboxItem]]:
    """Ask for a page of items, the newest first; `chosen` is a filter of `chimeway.list_inbox`."""
    after = (None, None, None) if cursor is None else cursors.read_arrived(cursor)
    asked = statement(SQL["inbox_items"], tenant, recipient, json_text(chosen), limit + 1, *after)
    return one(asked, lambda found: _page(found, limit))


def count_unseen(tenant: str, recipient: str) -> Call[int]:
    """Ask how many items are neither seen nor read nor put away."""
    return one(statement(SQL["inbox_unseen"], tenant, recipient), lambda found: int(found[0]["count"]))


def count_unread(tenant: str, recipient: str) -> Call[int]:
    """Ask how many items are neither read nor put away."""
    return one(statement(SQL["inbox_unread"], tenant, recipient), lambda found: int(found[0]["count"]))


def count(tenant: str, recipient: str) -> Call[InboxCounts]:
    """Ask for both counts, of one moment."""
    return one(
        statement(SQL["inbox_counts"], tenant, recipient),
        lambda found: InboxCounts(int(found[0]["unseen"]), int(found[0]["unread"])),
    )


def mark(tenant: str, recipient: str, ids: Sequence[UUID], word: str) -> Call[tuple[UUID, ...]]:
    """Ask for a mark, or that one is taken away; the answer names the items that were changed."""
    asked = statement(SQL["inbox_mark"], tenant, recipient, list(ids), word)
    return one(asked, lambda found: tuple(uuid(row["id"]) for row in found))


def mark_all(
    tenant: str,
    recipient: str,
    word: str,
    chosen: Mapping[str, Any],
    *,
    through: UUID | None,
    upto: int | None,
    at_most: int | None,
) -> Call[Progress]:
    """Ask that what lies in an inbox is marked, at most so many items in this call."""
    asked = statement(
        SQL["inbox_mark_all"], tenant, recipient, word, json_text(chosen), through, upto, at_most
    )
    return one(asked, lambda found: _progress(found[0]))


def states(inboxes: Sequence[tuple[str, str]], at_most: int) -> Call[list[State]]:
    """Ask how inboxes (tenant, recipient) are now, in their order; counts end at a bound."""
    tenants, recipients = [each[0] for each in inboxes], [each[1] for each in inboxes]
    asked = statement(SQL["inbox_states"], tenants, recipients, at_most)
    return one(asked, lambda found: [_state(row) for row in sorted(found, key=lambda row: int(row["place"]))])


def watch(watcher: UUID, inboxes: Sequence[tuple[str, str]]) -> Call[list[str]]:
    """Ask to be told of changes of inboxes; the answer is the name that each is called by, in order."""
    tenants, recipients = [each[0] for each in inboxes], [each[1] for each in inboxes]
    asked = statement(SQL["inbox_watch"], watcher, tenants, recipients)
    return one(
        asked,
        lambda found: [str(row["digest"]) for row in sorted(found, key=lambda row: int(row["place"]))],
    )


def unwatch(watcher: UUID, digests: Sequence[str] | None) -> Call[None]:
    """Ask to be told no more of some inboxes, or (None) of any."""
    given = None if digests is None else list(digests)
    return one(statement(SQL["inbox_unwatch"], watcher, given), lambda _: None)


def _page(found: Sequence[Row], limit: int) -> Page[InboxItem]:
    last = found[limit - 1] if len(found) > limit else None
    more = None if last is None else cursors.written(last["created_at"], last["arrival"], last["id"])
    return Page(tuple(rows.item(row) for row in found[:limit]), more)


def _progress(row: Row) -> Progress:
    further = None if row["further"] is None else uuid(row["further"])
    return Progress(uuids(row["marked"]), further, int(row["upto"]))


def _state(row: Row) -> State:
    newest = None if row["newest"] is None else uuid(row["newest"])
    return State(int(row["unseen"]), int(row["unread"]), newest, row["look"])
