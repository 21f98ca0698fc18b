"""Live changes of inboxes: who looks on gets each inbox as it is, at once and after every change.

**Level-triggered.** A change says what the inbox is like now, not what happened. So nothing needs to be kept
for who is slow or was away: the last state is all there is to know, and who comes (back) begins with it.

**One watch for a client**, however many look on: one connection that listens, opened when the first comes and
closed when the last goes; one task (`watching.Watch`). Those who look on the same inbox share its `Sight`.
Somebody who looks on costs an event and a generator.
"""

import asyncio
from collections.abc import AsyncGenerator

from chimeway.client.sights import Mode
from chimeway.client.watching import stage_of
from chimeway.clock import SystemClock, set_within
from chimeway.store.inbox import State
from chimeway.store.pool import Database
from chimeway.store.views import InboxChange


async def follow(
    database: Database, tenant: str, recipient: str, longest_s: float | None
) -> AsyncGenerator[InboxChange, None]:
    """Look on an inbox, as `Inbox.changes` says; until nothing has changed for so long."""
    database.check_usable()
    stage, looker = stage_of(database), asyncio.Event()
    sight = stage.join((tenant, recipient), looker)
    mine, shown, now = sight.asked, -1, SystemClock().monotonic
    since = now()  # not since the last waking: who comes to the same inbox wakes all, for no change
    try:
        while not stage.closed:
            if sight.answered >= mine and sight.changed != shown and sight.state is not None:
                shown = sight.changed
                yield _change(sight.state, stage.mode)
                since = now()
                continue
            looker.clear()
            if longest_s is None:
                await looker.wait()
            elif not await set_within(looker, since + longest_s - now()):
                return
        if stage.fault is not None:
            raise stage.fault
    finally:
        stage.leave(sight, looker)  # no await here: it is also run where nobody may wait any more


def _change(state: State, mode: Mode) -> InboxChange:
    return InboxChange(state.unseen, state.unread, state.newest, mode)
