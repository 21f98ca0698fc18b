"""Inboxes, for front ends with an inbox token, and for programs with an API token that names whose."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import TypeAdapter

from chimeway.client.inbox_calls import Archived
from chimeway.inbox_tokens import InboxBearer
from chimeway.store.views import InboxCounts, InboxItem, Page
from chimeway.web.api import models
from chimeway.web.api.asking import Identifier, Looker, Service, looker, service_of, written
from chimeway.web.api.guard import ReadOnce
from chimeway.web.api.reading import Cursor, Limit
from chimeway.web.api.streams import EVENT, MEDIA_TYPE, EventStream, Streams, told

router = APIRouter(route_class=ReadOnce)
Reading: TypeAlias = Annotated[Looker, Depends(looker("read"))]
Marking: TypeAlias = Annotated[Looker, Depends(looker("produce"))]
_ITEMS: Final = TypeAdapter(Page[InboxItem])
_COUNTS: Final = TypeAdapter(InboxCounts)
_MARKED: Final = TypeAdapter(models.Marked)


@router.get("/v1/inbox/items", operation_id="listInbox", response_model=Page[InboxItem])
async def list_items(
    looker: Reading,
    *,
    unseen: bool = False,
    unread: bool = False,
    archived: Archived = "no",
    workflow: Identifier | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List items, the newest first. With an inbox token, without `data`, unless it was made `with_data`."""
    page = await looker.inbox.list(
        cursor, limit=limit, unseen=unseen, unread=unread, archived=archived, workflow=workflow
    )
    if not looker.with_data:
        page = Page(tuple(replace(item, data=None) for item in page), page.cursor)
    return written(_ITEMS, page)


@router.get("/v1/inbox/counts", operation_id="countInbox", response_model=InboxCounts)
async def counts(looker: Reading) -> Response:
    """Return how many items are unseen, and unread, of one moment."""
    return written(_COUNTS, await looker.inbox.counts())


@router.post("/v1/inbox/marks", operation_id="markItems", response_model=models.Marked)
async def mark(looker: Marking, said: models.Marking) -> Response:
    """Mark items, or take a mark away; their runs hear it, the first time. Unknown ids are left out."""
    box = looker.inbox
    verb = {
        "seen": box.mark_seen, "read": box.mark_read, "interacted": box.mark_interacted,
        "archived": box.mark_archived, "unseen": box.mark_unseen, "unread": box.mark_unread,
        "unarchived": box.mark_unarchived,
    }[said.mark]  # fmt: skip
    return written(_MARKED, models.Marked(item_ids=list(await verb(said.item_ids))))


@router.post("/v1/inbox/marks/all", operation_id="markAllItems", response_model=models.Marked)
async def mark_all(looker: Marking, said: models.MarkingAll) -> Response:
    """Mark all that lies in the inbox, down from an item; nothing that arrives meanwhile."""
    box = looker.inbox
    verb = {"seen": box.mark_all_seen, "read": box.mark_all_read, "archived": box.mark_all_archived}[
        said.mark
    ]
    return written(
        _MARKED, models.Marked(item_ids=list(await verb(through=said.through, workflow=said.workflow)))
    )


@router.get(
    "/v1/inbox/stream",
    operation_id="streamInbox",
    status_code=200,
    response_class=EventStream,
    responses={200: {"content": {MEDIA_TYPE: {"schema": EVENT}}, "description": "Events."}},
)
async def stream(
    looker: Reading,
    request: Request,
    last_event_id: Annotated[str | None, Header(max_length=100, description="What was known last.")] = None,
    ends_after_s: Annotated[float | None, Query(gt=0, le=3_600, description="When it is to end.")] = None,
) -> Response:
    """Follow an inbox by server-sent events: as it is at once, and after every change.

    An event is `state`: the counts, the id of the newest item, and `resync` where that is not the one known
    last (`Last-Event-ID`): then list the first page again. `expired` is the last, where the token expires.
    """
    service, streams = service_of(request), _streams(request)
    longest = _longest(looker, service.clock.now(), ends_after_s)
    place = streams.join((looker.tenant, looker.recipient))

    async def events() -> AsyncIterator[str]:
        with place:
            changes = looker.inbox.changes()
            async for event in told(changes, last_event_id, longest, _holds(looker, service), streams):
                yield event

    return EventStream(events(), longest, place)


def _longest(looker: Looker, now: datetime, asked: float | None) -> tuple[float | None, bool]:
    """Return how many seconds a stream lasts at most, and whether that is the token's end."""
    if not isinstance(looker.bearer, InboxBearer):
        return asked, False
    left = max(0.0, (looker.bearer.expires_at - now).total_seconds())
    return (asked, False) if asked is not None and asked < left else (left, True)


def _holds(looker: Looker, service: Service) -> Callable[[], Awaitable[bool]]:
    """Return what asks, now and then, whether whoever follows still may: an API token can be revoked."""

    async def holds() -> bool:
        if isinstance(looker.bearer, InboxBearer):
            return True
        return await service.tokens.of(looker.secret) is not None

    return holds


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams
