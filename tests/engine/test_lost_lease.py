"""A lease that others have ended is told of, whoever notices it first: a beat, or a batch that is refused."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from chimeway.engine.ownership import Ownership
from kit.rows import rows_of


@pytest.mark.parametrize("lost", [True, False])
async def test_who_ends_before_a_beat_could_tell_says_what_it_was(database_url: str, *, lost: bool) -> None:
    """As after a refused batch: `lease.lost` where others have its shards, else `lease.released`."""
    async with rows_of(database_url) as rows:
        with capture_logs() as logs:
            async with Ownership(database_url, "holder", timedelta(hours=1), uuid4()).hold() as tenure:
                while not tenure.shards:
                    await asyncio.wait_for(tenure.changed.wait(), 10)
                if lost:
                    await rows.value("delete from chimeway.leases returning 1")
        told = [line["event"] for line in logs if line["event"] in {"lease.lost", "lease.released"}]
        assert told == ["lease.lost" if lost else "lease.released"]
        assert logs[-1]["shards"] == "0-255"
