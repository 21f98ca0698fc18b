"""`chimeway inbox`: a recipient's in-app items, listed, marked, followed."""

import sys
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from chimeway.cli import session
from chimeway.cli.options import AsJson, Cursor, DatabaseUrl, Limit, Tenant, examples
from chimeway.cli.printing import plain, print_json, print_line
from chimeway.cli.streams import READER_GONE, json_text
from chimeway.cli.tables import print_table, tell_more
from chimeway.client.chimeway import Chimeway
from chimeway.client.inbox import Inbox
from chimeway.store.views import InboxChange, InboxCounts, InboxItem, Page

app = typer.Typer(rich_markup_mode=None)
_Ids: TypeAlias = Annotated[list[str] | None, typer.Option(metavar="ITEM", help="Likewise.")]
_MARKS = ("archived", "interacted", "read", "seen")


class Mark(StrEnum):
    """What all items can be marked as, as an option can name it."""

    seen = "seen"
    read = "read"
    archived = "archived"


@app.command(
    epilog=examples(
        "chimeway inbox user_123 --tenant org_456 --unread",
        "chimeway inbox user_123 --read 019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21",
        "chimeway inbox user_123 --mark-all seen",
        "chimeway inbox user_123 --follow",
    )
)
def inbox(
    recipient: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    *,
    seen: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="Mark this item; may be repeated.")
    ] = None,
    read: _Ids = None,
    interacted: _Ids = None,
    archive: _Ids = None,
    undo_seen: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="Take this mark away; may be repeated.")
    ] = None,
    undo_read: _Ids = None,
    undo_archive: _Ids = None,
    mark_all: Annotated[Mark | None, typer.Option(help="Mark all that lie in the inbox.")] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="List only those not seen.")] = False,
    unread: Annotated[bool, typer.Option("--unread", help="List only those not read.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="List those put away, too.")] = False,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    step: Annotated[str | None, typer.Option(help="Only those of this step.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Say the counts at every change.")] = False,
    tenant: Tenant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List a recipient's in-app items, and mark them."""

    async def ask(client: Chimeway) -> tuple[InboxCounts, Page[InboxItem]]:
        box = client.inbox(recipient, tenant=tenant)
        for marking, items in (
            (box.mark_seen, seen),
            (box.mark_read, read),
            (box.mark_interacted, interacted),
            (box.mark_archived, archive),
            (box.mark_unseen, undo_seen),
            (box.mark_unread, undo_read),
            (box.mark_unarchived, undo_archive),
        ):
            if items:
                await marking(items)
        await _mark_all(box, mark_all)
        if follow:
            await _follow(box, as_json=as_json)
        return await box.counts(), await box.list(
            cursor,
            limit=limit,
            unseen=unseen,
            unread=unread,
            archived=archived,
            workflow=workflow,
            step=step,
        )

    counts, page = session.run(database_url, ask)
    if as_json:
        print_json(
            {"unseen": counts.unseen, "unread": counts.unread, "items": page.items, "cursor": page.cursor}
        )
        return
    print_line(f"{counts.unseen} unseen, {counts.unread} unread")
    rows = ((item.id, item.created_at, _mark(item), item.workflow_key, item.subject) for item in page)
    print_table(("ITEM", "AT", "MARK", "WORKFLOW", "SUBJECT"), rows)
    tell_more(page)


async def _mark_all(box: Inbox, mark: Mark | None) -> None:
    match mark:
        case Mark.seen:
            await box.mark_all_seen()
        case Mark.read:
            await box.mark_all_read()
        case Mark.archived:
            await box.mark_all_archived()
        case None:
            pass


async def _follow(box: Inbox, *, as_json: bool) -> None:
    """Say what the inbox is like, at once and after every change, until interrupted."""
    async for change in box.changes():
        try:
            _say(change, as_json=as_json)
        except BrokenPipeError:  # the client that is open round this would take it for the database's
            raise SystemExit(READER_GONE) from None


def _say(change: InboxChange, *, as_json: bool) -> None:
    if as_json:
        print(json_text(plain(change), sys.stdout))
    else:
        print_line(_told(change))
    sys.stdout.flush()


def _told(change: InboxChange) -> str:
    newest = "no item" if change.newest is None else f"the newest is {change.newest}"
    return f"{change.unseen} unseen, {change.unread} unread; {newest} ({change.mode})"


def _mark(item: InboxItem) -> str | None:
    return next((mark for mark in _MARKS if getattr(item, f"{mark}_at") is not None), None)
