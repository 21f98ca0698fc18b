"""What others feel of a channel that hangs: B's messages, alone and while A's provider hangs on a backlog.

Pairs in turns: B alone; then B while A has thousands of messages due on a channel whose server takes the
connection and never answers (each call ends by its timeout, and is tried again; the breaker is off, which
would make it easy). B sends by another channel, and by the same one to a server that answers. Then the server
answers A, too, the backlog goes out, and the next pair begins. A latency is what the rows say: from the
planning of a delivery to the record that it was sent. B's triggers come at random moments, at a steady rate.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from tests.bench import place

_PAIRS = 5
_BACKLOG = 5_000
_AT_ONCE = 1_000
_RATE = 40.0
_WAYS = ("another", "shared")
_APP = """
import asyncio
from chimeway import App, ChannelLimits, Sent, TransientFailure

app = App()

def journey(channel):
    action = {{"type": "notify", "channel": channel, "render_key": "plain"}}
    app.add({{"key": channel, "version": 1, "steps": [{{"id": "tell", "action": action}}]}})

@app.render("plain")
def plain(context):
    return "You were mentioned"

class Hook:
    name = "shared"
    needs_address = False
    limits = ChannelLimits(timeout_s=5.0, breaker_failures=0, max_attempts=1_000)

    async def send(self, message):
        reader, writer = await asyncio.open_connection("127.0.0.1", {port})
        try:
            writer.write(message.tenant_id.encode() + b"\\n")
            if await reader.readline() != b"ok\\n":
                raise TransientFailure("no answer")
            return Sent()
        finally:
            writer.close()

class Another(Hook):
    name = "another"

for channel in (Hook, Another):
    app.channel(channel.name)(channel)
    journey(channel.name)
"""
_LATENCIES = """select extract(epoch from d.terminal_at - d.created_at)::float8 * 1000 as ms
  from chimeway.deliveries d
 where d.tenant_id = 'b' and d.channel = $1 and d.created_at >= $2 and d.status = 'succeeded'"""
_LEFT = "select count(*) from chimeway.workflow_runs where tenant_id = $1 and state = 'active'"
_UNPLANNED = """select count(*) from chimeway.workflow_runs
  where tenant_id = 'a' and state = 'active' and step is null"""


class Server:
    """Answers a line with `ok`; what is of tenant A only while it does not hang."""

    def __init__(self) -> None:
        """Answer everybody."""
        self.hanging = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one line, and answer it, or hang until all are answered or the caller gives up."""
        try:
            if await reader.readline() == b"a\n" and not self.answering.is_set():
                self.hanging += 1
                gone = asyncio.ensure_future(reader.read())
                waits = asyncio.ensure_future(self.answering.wait())
                await asyncio.wait((gone, waits), return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                waits.cancel()
                self.hanging -= 1
            writer.write(b"ok\n")
            await writer.drain()
        except OSError:
            pass  # the caller gave up
        finally:
            writer.close()


@asynccontextmanager
async def _serving() -> AsyncIterator[tuple[Server, int]]:
    server = Server()
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0, backlog=1_000)
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def bench(seconds: float, messages: int = 0) -> None:
    """Measure pair by pair, and print p50, p99 and their ratios.

    `messages`: at least so many by each channel and in each half of all pairs, however long that takes.
    """
    seconds = max(seconds, messages * len(_WAYS) / _RATE / _PAIRS)
    print(f"isolation: {_PAIRS} pairs; A has {_BACKLOG} due on a hanging channel; B {_RATE:.0f} messages/s")
    alone: dict[str, list[list[float]]] = {way: [] for way in _WAYS}
    beside: dict[str, list[list[float]]] = {way: [] for way in _WAYS}
    with place.server() as url:
        await place.prepare(url)
        async with _serving() as (server, port), place.daemon(url, app=_APP.format(port=port)):
            pool = await asyncpg.create_pool(url, min_size=4, max_size=8)
            await _messages(pool, seconds / 2)
            for _ in range(_PAIRS):
                _gather(alone, await _messages(pool, seconds))
                await _backlog(pool, server)
                _gather(beside, await _messages(pool, seconds))
                assert server.hanging, "nothing hung: the pair says nothing"
                server.answering.set()
                await _until_none(pool, _LEFT, "a")
            await pool.close()
    for way in _WAYS:
        _print_latencies(way, alone[way], beside[way])


def _gather(into: dict[str, list[list[float]]], found: dict[str, list[float]]) -> None:
    for way, latencies in found.items():
        into[way].append(latencies)


async def _backlog(pool: asyncpg.Pool, server: Server) -> None:
    """Let A's server hang, and wait until all of A's messages are planned and some calls hang."""
    server.answering.clear()
    for first in range(0, _BACKLOG, _AT_ONCE):
        people = [f"a-{n}" for n in range(first, first + _AT_ONCE)]
        await pool.fetch("select chimeway.trigger_many('shared', 'a', $1)", people)
    await _until_none(pool, _UNPLANNED)


async def _until_none(pool: asyncpg.Pool, counted: str, *args: object) -> None:
    while await pool.fetchval(counted, *args):  # noqa: ASYNC110  (rows are no event)
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # the last results are written, and what comes after that is at rest


async def _messages(pool: asyncpg.Pool, seconds: float) -> dict[str, list[float]]:
    """Have B send by both channels for so long, and return what each message took, in milliseconds."""
    since = await pool.fetchval("select chimeway.clock()")
    ends, many = time.monotonic() + seconds, 0
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < ends:
            await asyncio.sleep(random.expovariate(_RATE))
            many += 1
            call = pool.fetchval("select chimeway.trigger($1, 'b', $2)", _WAYS[many % 2], f"b-{many}")
            group.create_task(call)
    await _until_none(pool, _LEFT, "b")
    return {way: [row["ms"] for row in await pool.fetch(_LATENCIES, way, since)] for way in _WAYS}


def _print_latencies(way: str, alone: list[list[float]], beside: list[list[float]]) -> None:
    told = {"another": "by another channel", "shared": "by the same channel, another tenant"}[way]
    one, other = ([ms for pair in phase for ms in pair] for phase in (alone, beside))
    ratios = sorted(_at(b, 99) / _at(a, 99) for a, b in zip(alone, beside, strict=True))
    print(
        f"  {told}: alone p50 {_at(one, 50):.1f} p99 {_at(one, 99):.1f} ms; beside p50 {_at(other, 50):.1f}"
        f" p99 {_at(other, 99):.1f} ms; p99 {_at(other, 99) / _at(one, 99):.2f} x alone, median of pairs"
        f" {statistics.median(ratios):.2f} ({' '.join(f'{ratio:.2f}' for ratio in ratios)};"
        f" {len(one)} and {len(other)} messages)"
    )


def _at(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, percent * len(ordered) // 100)]
