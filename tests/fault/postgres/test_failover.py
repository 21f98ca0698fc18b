"""A synchronous standby takes over from a primary that is lost, in the middle of commits.

What makes it hard: a commit that waits for the standby is done on the primary's own disk. Whoever is cut off
then knows nothing, asks again on a new connection, and finds it there. Were that an answer, it would be one
that the standby does not have: so an answer to what was done before waits for the standby, too.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from fault.postgres.story import make_home, node, telling
from kit.clusters import Cluster, either, own_cluster
from kit.waiting import wait_for
from store.plain_sql import plain, register

CUT = """
select application_name, pg_terminate_backend(pid) from pg_stat_activity
 where wait_event = 'SyncRep' and backend_type = 'client backend'"""
OFTEN = 3
QUIET_S = 2.0
"""Long enough for a call that is not waiting for its attempt."""
WAITS = """
select exists (select from pg_stat_activity where wait_event = 'SyncRep' and pid = $1)"""
CALLS = {
    "trigger": (
        "select chimeway.trigger('mention_escalation', recipient_id => 'ada', idempotency_key => 'once')",
        "select id from chimeway.workflow_runs",
    ),
    "signal": (
        "select chimeway.signal('read', actor_id => 'ada', dedupe_key => 'once')",
        "select id from chimeway.signals",
    ),
}
"""What a producer says under a key, and what is there then."""


async def _cut_in_mid_commit(primary: Cluster) -> None:
    """End sessions that are in their commit, until the daemon and a producer have come again and again."""
    cut: Counter[str] = Counter()

    async def often() -> bool:
        cut.update(row["application_name"] for row in await primary.sql(CUT))
        return cut["chimeway node"] >= OFTEN and cut["producer"] >= OFTEN

    await wait_for(often, "both have been cut off several times")


@pytest.mark.parametrize(
    "times", [1, pytest.param(10, marks=[pytest.mark.big, pytest.mark.timeout(600)])], ids=["small", "big"]
)
async def test_a_synchronous_standby_takes_over(times: int, tmp_path: Path) -> None:
    """Cut off in mid-commit, all ask again and guess nothing; no answer is lost with a primary."""
    made = make_home(tmp_path)
    async with own_cluster() as first, first.standby() as second:
        url, primary, standby = either(first, second), first, second
        async with telling(url) as story, node(url, made, story) as one:
            for number in range(times):
                await story.tell(f"before_{number}", 20)
                await story.some_are_due()
                await standby.stop("immediate")  # no commit ends from now on
                async with asyncio.TaskGroup() as group:
                    group.create_task(story.tell(f"meanwhile_{number}", 10))
                    await _cut_in_mid_commit(primary)
                    await primary.crash()
                    await standby.start()
                    await standby.promote()
                    await one.until_ready(200, "working")
                await primary.follow(standby)
                await standby.set(synchronous_standby_names="standby")
                primary, standby = standby, primary
            print(f"\nfailed over {times} times: {await story.ends_as_written()}")
            assert len(one.said("database.lost")) >= times


@pytest.mark.big
async def test_a_primary_that_goes_on_beside_its_successor_answers_nobody(tmp_path: Path) -> None:
    """Two primaries at once: whoever is still at the old one waits there, and calls no provider for it."""
    async with own_cluster() as first, first.standby() as second:
        url = either(first, second)
        async with telling(url) as story, node(url, make_home(tmp_path), story) as one:
            await story.tell("before", 40)
            await story.some_are_due()
            await second.promote()  # and nobody has ended the first
            async with asyncio.TaskGroup() as group:
                telling_on = group.create_task(story.tell("meanwhile", 4))
                assert await one.until_ready(503) == "database slow"
                begun, sent = await _begun(second), len(story.sink.mails)
                await asyncio.sleep(QUIET_S)
                assert (len(story.sink.mails), telling_on.done()) == (sent, False)
                assert sent <= begun, "a provider was called for what the successor does not know"
                await first.crash()
                await one.until_ready(200, "working")
            await story.tell("after", 4)
            print(f"\n{await story.ends_as_written()}")


async def _begun(cluster: Cluster) -> int:
    found: int = await cluster.value("select count(*) from chimeway.delivery_attempts")
    return found


@pytest.mark.parametrize(("call", "there"), CALLS.values(), ids=CALLS)
async def test_what_is_on_one_disk_alone_is_no_answer(call: str, there: str) -> None:
    """Who was cut off in his commit, and asks again, is answered when the standby has it, and not before."""
    async with own_cluster() as primary, primary.standby() as standby:
        async with plain(primary.url) as connection:
            await register(connection)
        await standby.stop("immediate")
        asked = asyncio.ensure_future(primary.value(call))
        await wait_for(lambda: primary.sql(CUT), "the commit waits for the standby, and is cut off")
        with suppress(OSError, asyncpg.PostgresError):
            pytest.fail(f"answered from one disk: {await asked}")
        again = await asyncpg.connect(primary.url)
        asked = asyncio.ensure_future(again.fetchval(call))
        waiting = again.get_server_pid()
        await wait_for(lambda: asked.done() or primary.value(WAITS, waiting), "it is answered, or waits")
        assert not asked.done(), "answered from one disk"
        await standby.start()
        assert str(await asked) == str(await primary.value(there))
        await again.close()
