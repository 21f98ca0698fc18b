"""A migration while a daemon works and producers trigger, and a server that is lost in the middle of it."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from chimeway.errors import ChimewayError
from chimeway.store import migrating, schema
from chimeway.store.faults import behind, fault_of
from fault.postgres.story import make_home, node, telling
from kit.bare import schema_of
from kit.clusters import Cluster, own_cluster
from kit.waiting import wait_for

MIGRATES = """select exists (select from pg_stat_activity
                              where query ilike '%create%' and application_name ilike '%migrat%'
                                and state <> 'idle')"""


async def _migrate(cluster: Cluster) -> None:
    """Migrate as often as it takes."""
    while True:
        try:
            await migrating.migrate(cluster.url)
        except Exception as error:
            if fault_of(behind(error)) is None and not isinstance(error, ChimewayError):
                raise
            await asyncio.sleep(0.2)
        else:
            return


@pytest.mark.big
async def test_a_migration_while_all_work(tmp_path: Path) -> None:
    """From the version before to this one, under load and once cut off: nobody loses anything."""
    made = make_home(tmp_path)
    async with own_cluster(schema=False) as cluster:
        await cluster.run(schema_of(schema.VERSION - 1))
        async with telling(cluster.url) as story, node(cluster.url, made, story) as one:
            assert one.said("schema.other")
            await story.tell("before", 20)
            async with asyncio.TaskGroup() as group:
                group.create_task(story.tell("meanwhile", 300))
                group.create_task(_migrate(cluster))
                with suppress(
                    TimeoutError
                ):  # it may be too quick to be met: then the server is lost after it
                    async with asyncio.timeout(5):
                        await wait_for(lambda: cluster.value(MIGRATES), "it migrates", every_s=0.001)
                await cluster.restart("immediate")
            versions = "select max(version) from chimeway.schema_version"
            assert await cluster.value(versions) == schema.VERSION
            await story.tell("after", 20)
            print(f"\n{await story.ends_as_written()}")
            assert not one.said("run.held")
            assert not one.said("ledger.batch_split")
