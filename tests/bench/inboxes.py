"""What live inboxes cost writers while nobody, others, or they themselves are watched; how soon; how many.

Writers are a real daemon that delivers in-app items, and sixteen who mark one item after the other, each in
an inbox of their own. For their rates nobody reads: what is measured is the looking at the list, and NOTIFY.
"""

import asyncio
import resource
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import asyncpg
from tests.bench import place

from chimeway import Chimeway, InboxChange

_MARKERS = 16
_JOURNEYS = 2_000
_TIMES = 200
_LOOKERS = 10_000
_ROUNDS = 3
_WORKFLOW = """
key: bench
version: 1
steps:
  - id: tell
    action: {type: notify, channel: in_app, render_key: plain}
"""
_FORGET = "delete from chimeway.inbox_watchers"


async def bench(seconds: float) -> None:
    """Measure writers, latency, and many who look on."""
    print(f"inboxes: {_JOURNEYS} items, {_MARKERS} markers for {seconds:g} s, {_ROUNDS} rounds, medians")
    with place.server() as url:
        await place.prepare(url)
        async with place.daemon(url, _WORKFLOW), Chimeway.connect(url) as client:
            await _writers(url, client, seconds)
            await _soon(client)
            await _many(client)


async def _writers(url: str, client: Chimeway, seconds: float) -> None:
    people = [f"user-{number}" for number in range(1_000)]
    ways: dict[str, list[str]] = {"nobody": [], "others": [f"other-{n}" for n in range(1_000)], "all": people}
    delivered: dict[str, list[float]] = {way: [] for way in ways}
    marked: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(_ROUNDS):
        for way, watched in ways.items():
            await _watched(url, watched)
            delivered[way].append(await _deliver(client, people))
            marked[way].append(await _mark(url, client, seconds))
    await _watched(url, [])
    for name, rates in (("items delivered", delivered), ("marks", marked)):
        floor = statistics.median(rates["nobody"])
        for way, found in rates.items():
            rate = statistics.median(found)
            print(f"  {name:15} watched: {way:6} {rate:7.0f}/s {rate / floor:5.2f} x nobody")


async def _watched(url: str, people: list[str]) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(_FORGET)
    if people:
        await connection.execute(
            "select chimeway.watch_inboxes('00000000-0000-7000-8000-000000000001',"
            f" array_fill('default'::text, array[{len(people)}]),"
            f" array[{','.join(repr(each) for each in people)}])"
        )
        # As if it gave a sign of life all the time.
        await connection.execute("update chimeway.inbox_watchers set seen_at = now() + interval '1 hour'")
    await connection.close()


async def _deliver(client: Chimeway, people: list[str]) -> float:
    before, began = await _items(client), time.monotonic()
    for _ in range(_JOURNEYS // len(people)):
        await client.trigger("bench", recipients=people)
    while await _items(client) < before + _JOURNEYS:  # noqa: ASYNC110  (there is nothing else to wait for)
        await asyncio.sleep(0.01)
    return _JOURNEYS / (time.monotonic() - began)


async def _items(client: Chimeway) -> int:
    async with client.database.acquire() as connection:
        found: int = await connection.fetchval("select count(*) from chimeway.inbox_items")
    return found


async def _mark(url: str, client: Chimeway, seconds: float) -> float:
    ids = [(await client.inbox(f"user-{number}").list(limit=1))[0].id for number in range(_MARKERS)]
    pool = await asyncpg.create_pool(url, min_size=_MARKERS, max_size=_MARKERS)
    end = time.monotonic() + seconds

    async def marker(number: int) -> int:
        many = 0
        async with pool.acquire() as connection:
            while time.monotonic() < end:
                mark = "unread" if many % 2 else "read"
                await connection.fetch(
                    "select chimeway.mark_inbox('default', $1, array[$2::uuid], $3)",
                    f"user-{number}", ids[number], mark,
                )  # fmt: skip
                many += 1
        return many

    began = time.monotonic()
    many = sum(await asyncio.gather(*(marker(number) for number in range(_MARKERS))))
    rate = many / (time.monotonic() - began)
    await pool.close()
    return rate


async def _soon(client: Chimeway) -> None:
    """How long after a mark's commit was answered who looks on has the change."""
    inbox = client.inbox("lonely")
    await client.trigger("bench", recipients="lonely")
    async with aclosing(inbox.changes()) as changes:
        while (change := await anext(changes)).newest is None or change.mode != "hinted":
            await inbox.mark_read([] if change.newest is None else change.newest)
        assert change.newest is not None
        await inbox.mark_unread(change.newest)
        after: list[float] = []
        for number in range(_TIMES):
            mark = inbox.mark_unread if number % 2 else inbox.mark_read
            told = asyncio.ensure_future(_until(changes, number % 2))
            await asyncio.sleep(0.02)
            await mark(change.newest)
            committed = time.monotonic()
            after.append(max(0.0, await told - committed) * 1_000)
    after.sort()
    print(f"  commit to change: median {after[_TIMES // 2]:.2f} ms, p99 {after[int(_TIMES * 0.99)]:.2f} ms")


async def _until(changes: AsyncGenerator[InboxChange, None], unread: int) -> float:
    """Return when a state with so many unread items came."""
    while (await anext(changes)).unread != unread:
        pass
    return time.monotonic()


async def _many(client: Chimeway) -> None:
    """What it takes to begin to look on ten thousand inboxes, and to hold them."""
    before, began, used = _megabytes(), time.monotonic(), time.process_time()
    async with AsyncExitStack() as stack:
        lookers = [client.inbox(f"user-{number}").changes() for number in range(_LOOKERS)]
        for looker in lookers:
            stack.push_async_callback(looker.aclose)
        await asyncio.gather(*(anext(looker) for looker in lookers))
        begun = time.monotonic() - began
        used_s, kilobytes = time.process_time() - used, (_megabytes() - before) * 1_000 / _LOOKERS
        print(
            f"  {_LOOKERS} begin to look on in {begun:.1f} s, {used_s:.1f} s of CPU; {kilobytes:.1f} kB each"
        )
        quiet, used = time.monotonic(), time.process_time()
        await asyncio.sleep(30)
        share = (time.process_time() - used) / (time.monotonic() - quiet)
        print(f"  while nothing changes: {share * 100:.1f} % of a core here")


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
