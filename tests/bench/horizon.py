"""What an old snapshot costs: a dump, or a transaction that nobody ended, while journeys go on.

A node plays a trickle (triggers, then their signals, a hundred a second each) three times: before; after so
many journeys; and after as many more, beside a snapshot that was taken before these. What they were dealt
with by then lies in the indexes, for vacuum may not take it away. Printed: how long a trigger took until its
run waited, and a signal until its run had stopped (half of them, and 99 of a hundred), by the rows; and the
CPU of the node and of PostgreSQL, for each journey.
"""

from typing import Final

import asyncpg
from tests.bench import whole_journeys as whole
from tests.bench.frame import Asked
from tests.bench.frame.stage import own_server
from tests.bench.paced import paced

_RATE: Final = 100.0
_MANY: Final = 40_000
_AT_ONCE: Final = 1_000
_PARTS: Final = 10
"""So many transactions of these wait, before they are signalled."""
_TOOK: Final = """
select percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from {}) * 1000)
  from chimeway.workflow_runs r {} where r.recipient_id = any($1)"""
_WAITED: Final = _TOOK.format("r.entered_at - r.created_at", "")
_STOPPED: Final = _TOOK.format(
    "r.ended_at - s.created_at",
    "join chimeway.signals s on s.tenant_id = r.tenant_id and s.actor_id = r.recipient_id",
)


async def bench(seconds: float) -> None:
    """Play the trickle before and beside, and print what it took."""
    asked = Asked(seconds=seconds)
    print(f"horizon: {_RATE:g} a second for {seconds:g} s; {_MANY:,} journeys in between")
    async with own_server()(asked) as stage, whole.playing(stage) as play:
        await _bulk(play, "w", _AT_ONCE)
        await _trickle(play, "before", seconds)
        await _bulk(play, "x", _MANY)
        await _trickle(play, "after", seconds)
        holder = await asyncpg.connect(play.url)
        await holder.execute("begin isolation level repeatable read")
        await holder.execute("select txid_current()")
        await _bulk(play, "y", _MANY)
        await _trickle(play, "beside", seconds)
        await holder.close()
        await whole.verified(play.url)


async def _bulk(play: whole.Playing, name: str, many: int) -> None:
    parts = list(whole.batches(many, _AT_ONCE, name))
    for first in range(0, len(parts), _PARTS):
        for people in parts[first : first + _PARTS]:
            await play.trigger(people)
        await play.until(whole.ALL_WAIT)
        for people in parts[first : first + _PARTS]:
            await play.signal(people)
        await play.until(whole.ENDED)


async def _trickle(play: whole.Playing, name: str, seconds: float) -> None:
    people = [f"{name}{number}" for number in range(int(seconds * _RATE))]
    before = {part: meter.cpu_s for part, meter in play.meters.items()}
    await paced([play.rows], _RATE, len(people), lambda _, number: play.trigger([people[number]]))
    await play.until(whole.ALL_WAIT)
    await paced([play.rows], _RATE, len(people), lambda _, number: play.signal([people[number]]))
    await play.until(whole.ENDED)
    told = [f"{name:7}"]
    for part, query in (("waits after", _WAITED), ("stops after", _STOPPED)):
        half, most = await play.rows.fetchval(query, people)
        told.append(f"{part} {half:.1f} ms, p99 {most:.1f};")
    for part, meter in play.meters.items():
        told.append(f"{part} {1000 * (meter.cpu_s - before[part]) / len(people):.2f} ms")
    print("  " + "  ".join(told), flush=True)
