"""B7: whether a decision costs the same with one, two and four daemons."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

import asyncpg
from tests.bench import whole_journeys as whole
from tests.bench.frame import Asked, Bench, Figure, Ratio, Stage

_WHAT = """The journeys of B2, in phases, played by one, two and four daemons that share the shards. Told is
the CPU of all daemons together, and that of PostgreSQL's process tree, for each thousand decisions in the
rows. On a machine of few cores more daemons play no faster: the question is whether they cost more. Asked:
the daemons' CPU within 15 per cent of one daemon's."""
_NODES = {"one": 1, "two": 2, "four": 4}
_FIGURES = (
    Figure("daemons' CPU", "s per 1,000 decisions", "lower"),
    Figure("PostgreSQL CPU", "s per 1,000 decisions", "lower"),
    Figure("decisions", "1/s", "higher"),
)
_DECISIONS = "select count(distinct decision_id) from chimeway.workflow_transitions"


def benches(asked: Asked) -> Sequence[Bench]:
    """Return B7."""
    del asked
    ratios = [Ratio("daemons' CPU", side, "one", 1.15) for side in ("two", "four")]
    ratios += [Ratio("PostgreSQL CPU", side, "one") for side in ("two", "four")]
    sides = {side: partial(_played, nodes=nodes) for side, nodes in _NODES.items()}
    return [Bench("B7", "One, two, four daemons", _WHAT, sides, _FIGURES, ratios)]


async def _played(stage: Stage, nodes: int) -> Mapping[str, float]:
    many = stage.asked.sized(10_000, 1_000)
    async with AsyncExitStack() as stack:
        play = await stack.enter_async_context(whole.playing(stage))
        daemons = [play.daemon]
        for number in range(1, nodes):
            more = stage.daemon(play.url, whole.SIGNALLED, NODE_NAME=f"bench-{number}")
            daemons.append(await stack.enter_async_context(more))
        await _shared(play.rows, nodes)
        meters, server, began_at = [each.meter() for each in daemons], stage.server.meter(), await play.now()
        for people in whole.batches(many, whole.AT_ONCE):
            await play.trigger(people)
        await play.until(whole.ALL_WAIT)
        for people in whole.batches(many, whole.AT_ONCE):
            await play.signal(people)
        await play.until(whole.ENDED)
        took_s = (await play.now() - began_at).total_seconds()
        used = sum(meter.cpu_s for meter in meters if meter is not None)
        found = {} if server is None else {"PostgreSQL CPU": server.cpu_s}
        decisions = await play.rows.fetchval(_DECISIONS)
        await whole.verified(play.url)
    thousands = decisions / 1000
    return {
        "daemons' CPU": used / thousands,
        **{name: value / thousands for name, value in found.items()},
        "decisions": decisions / took_s,
    }


async def _shared(rows: asyncpg.Connection, nodes: int) -> None:
    """Wait until each node has its part of the shards."""
    asked = "select count(distinct owner) from chimeway.shards where owner is not null"
    async with asyncio.timeout(30):
        while await rows.fetchval(asked) < nodes:  # noqa: ASYNC110  (a row is no event)
            await asyncio.sleep(0.05)
