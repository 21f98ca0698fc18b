"""A name that leads to a standby for a while, as one does that is moved too early or too late."""

from pathlib import Path

import pytest

from fault.postgres.story import make_home, node, telling
from kit.clusters import own_cluster
from kit.network import line_to, place_of


@pytest.mark.big
async def test_a_name_that_leads_to_a_standby(tmp_path: Path) -> None:
    """The node says that it may only read there, and leaves: it is at home again once the name is right."""
    made = make_home(tmp_path)
    async with (
        own_cluster() as primary,
        primary.standby(synchronous=False) as standby,
        telling(primary.url) as story,
        line_to(place_of(primary.socket_url)) as line,
        node(line.url(primary.url), made, story) as one,
    ):
        await story.tell("before", 20)
        await story.some_are_due()
        line.lead_to(place_of(standby.socket_url))
        line.cut()
        assert (await one.daemon.event("database.refused", code="25006"))["hint"]
        await one.until_ready(503)
        line.lead_to(place_of(primary.socket_url))  # what is open stays where it is
        await one.until_ready(200, "working")
        await story.tell("after", 4)
        print(f"\n{await story.ends_as_written()}")
        assert not one.said("run.held")
