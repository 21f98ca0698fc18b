"""How long things took, and whether all has ended: the only part that reads the engine's rows.

No verdict of a journey comes from here. What is asked beside them, once nothing comes any more: whether a
journey is still open, which nobody outside can see, and whether `chimeway verify` finds anything.

Take-over is from the moment at which a node is killed, stopped or asked to end to the next decision, or
attempt, that somebody makes for a shard that it had. It includes the pause until there was anything to
decide: with few journeys under way it says more about them than about nodes.
"""

import asyncio
import json
import os
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from chimeway import Chimeway
from faults.checker import Judgement
from faults.nodes import Node
from faults.plan import recipients
from faults.postgres import Postgres
from faults.producer import Orders
from faults.schedule import TAKEN_OVER, Happened
from faults.story import Item, Story

_HAS_NODE: Final = """
select exists (select from information_schema.columns
                where table_schema = 'chimeway' and table_name = 'shards' and column_name = 'node')"""
_HELD: Final = """
select s.first_shard from chimeway.shards s join chimeway.nodes n on n.id = s.node where n.name = $1"""
_MOMENTS: Final = """
select extract(epoch from at)::float8, shard from chimeway.workflow_transitions
 where reason not in ('workflow_started', 'cancelled_by_request')
 union all
select extract(epoch from started_at)::float8, shard from chimeway.delivery_attempts order by 1"""
_OPEN: Final = "select count(*) from chimeway.workflow_runs where ended_at is null"
_LATE: Final = "PT1M"
_LOOK_S: Final = 0.5
_LONGEST_S: Final = 60.0
_MOST_ITEMS: Final = 500
_AFTER_S: Final = 10.0


async def shards_of(postgres: Postgres, node: Node) -> list[int]:
    """Return which shards a node has now."""
    if await postgres.primary.value(_HAS_NODE):
        return [row[0] for row in await postgres.primary.sql(_HELD, node.name)]
    # Before shards were split one node had all of them; which, its log says.
    words = node.log.read_text(errors="replace")
    had = max(words.rfind("lease.acquired"), -1)
    return list(range(256)) if had > max(words.rfind("lease.lost"), words.rfind("lease.released")) else []


@dataclass(slots=True)
class Figures:
    """Times, in seconds, by kind of fault. `late_s`: of what was due while a fault lasted, or soon after."""

    taken_over_s: dict[str, list[float]] = field(default_factory=dict)
    lasted_s: dict[str, list[float]] = field(default_factory=dict)
    late_s: dict[str, list[float]] = field(default_factory=dict)
    live: dict[str, list[int]] = field(default_factory=dict)


async def figures(
    postgres: Postgres, faults: Sequence[Happened], judgement: Judgement, stories: Iterable[Story]
) -> Figures:
    """Measure a run that is over."""
    made = Figures()
    by_shard: dict[int, list[float]] = {}
    for at, shard in await postgres.primary.sql(_MOMENTS):
        by_shard.setdefault(shard, []).append(at)
    late = sorted(judgement.late_s)
    dues = [due for due, _ in late]
    live = Live(stories)
    for fault in faults:
        made.lasted_s.setdefault(fault.kind, []).append(fault.ended - fault.began)
        made.live.setdefault(fault.kind, []).append(live.at(fault.began))
        near = late[bisect_left(dues, fault.began) : bisect_right(dues, fault.ended + _AFTER_S)]
        made.late_s.setdefault(fault.kind, []).extend(late_s for _, late_s in near)
        took_s = _taken_over(fault, by_shard)
        if took_s is not None:
            alone = ", and nothing else was wrong" if fault.detail.get("alone") else ""
            made.taken_over_s.setdefault(f"`{fault.kind}`{alone}", []).append(took_s)
    return made


def _taken_over(fault: Happened, by_shard: dict[int, list[float]]) -> float | None:
    """Return how long after a fault somebody decided something for a shard of the node that it met."""
    if fault.kind not in TAKEN_OVER or not fault.held or not fault.detail["others"]:
        return None
    firsts = []
    for shard in fault.held:
        moments = by_shard.get(shard, [])
        place = bisect_right(moments, fault.began)
        if place < len(moments):
            firsts.append(moments[place] - fault.began)
    return min(firsts) if firsts and min(firsts) < _LONGEST_S else None


class Live:
    """How many journeys were under way at any moment, at least, by the producers' and the provider's logs."""

    def __init__(self, stories: Iterable[Story]) -> None:
        """Take all journeys."""
        begun, over = [], []
        for story in stories:
            if story.trigger.known is None:
                continue
            known = story.trigger.known
            ends = [max(known, said.begun) for said in (story.read, story.cancel) if said is not None]
            begun.append(known)
            over.append(min([known + story.plan.wait_s, *ends]))
        self._begun, self._over = sorted(begun), sorted(over)

    def at(self, moment: float) -> int:
        """Return how many."""
        return bisect_right(self._begun, moment) - bisect_right(self._over, moment)


async def items_of(url: str, orders: Sequence[Orders]) -> list[Item]:
    """Return all in-app items, as the public client lists them for each person."""
    found: list[Item] = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Chimeway.connect(url, pool_size=4))
        people = [person for each in orders for person in recipients(each.name, each.people)]
        for start in range(0, len(people), 4):
            pages = await asyncio.gather(*(_inbox(client, *who) for who in people[start : start + 4]))
            found += [item for page in pages for item in page]
    return found


async def _inbox(client: Chimeway, tenant: str, recipient: str) -> list[Item]:
    inbox, cursor = client.inbox(recipient, tenant=tenant), None
    found: list[Item] = []
    while True:
        page = await inbox.list(cursor, limit=_MOST_ITEMS, archived="with")
        for item in page:
            data: dict[str, Any] = item.data or {}
            mention = str(data.get("mention"))
            found.append(
                Item(str(item.id), str(item.run_id), mention, tenant, recipient, item.created_at.timestamp())
            )
        cursor = page.cursor
        if cursor is None:
            return found


async def still_open(postgres: Postgres, patience_s: float) -> int:
    """Return how many journeys have not ended after so long."""
    ends = time.monotonic() + patience_s
    while (found := int(await postgres.primary.value(_OPEN))) and time.monotonic() < ends:  # noqa: ASYNC110  (rows are no events)
        await asyncio.sleep(_LOOK_S)
    return found


async def verified(url: str) -> list[str]:
    """Return what `chimeway verify` finds, in its own process: ours, also where nodes run a mutant."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", "verify", "--max-lateness", _LATE, "--json", cwd="/",
        env=clean | {"CHIMEWAY_DATABASE_URL": url}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, error = await process.communicate()
    assert process.returncode in {0, 1}, error.decode()
    found = json.loads(told)["violations"]
    return [f"{v['invariant']} {v['check']}: {v['count']} violate: {v['sentence']}" for v in found]


async def words_about(url: str, runs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what `explain` says of some runs (tenant and id), for the report of what went wrong."""
    said: dict[str, list[str]] = {}
    async with Chimeway.connect(url, pool_size=1) as client:
        for tenant, run in runs:
            told = await client.explain(run, tenant=tenant)
            said[run] = [
                *told.why,
                *(f"{m.at.isoformat()} {m.kind} {m.what} {m.step} {m.detail}" for m in told.timeline),
            ]
    return said


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the greatest of some values."""
    if not values:
        return {}
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(last * 0.5)], 3),
        "p99": round(ordered[round(last * 0.99)], 3),
        "max": round(ordered[-1], 3),
        "n": len(ordered),
    }
