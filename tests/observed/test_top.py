"""`chimeway top`: on a terminal of eighty columns, without one, for programs; figures against the rows."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from chimeway.cli.top import _looks
from chimeway.cli.top_view import lines, rates
from chimeway.errors import DatabaseUnavailable
from chimeway.store.backlog import Backlog
from chimeway.store.glimpses import ChannelWaiting, Glimpse
from chimeway.store.pool import open_database
from chimeway.store.vitals import Vitals
from chimeway.store.whereabouts import ListedNode
from kit.command import inside, on_terminal, plain
from kit.daemon import running_daemon
from kit.home import home, in_app, wait, workflow
from kit.proxy import proxy_to
from kit.psql import psql
from kit.rows import rows_of
from kit.waiting import wait_for

NOW = datetime(2026, 11, 28, 2, 40, tzinfo=UTC)
TRIGGERS = """select count(*) from chimeway.trigger_many('mention_escalation', 'default',
    array(select 'u' || n from generate_series(1, 200) n))"""
MANY = 123_456_789
JOURNEY = workflow(in_app(), wait(duration="P1D"))


def busy() -> Glimpse:
    """Everything at its biggest."""
    vitals = Vitals(
        backlog=Backlog(4_096, 4_096, 4_000, 359_999.0), overdue_s=359_999.0, waiting=MANY, held=5_000,
        runs_for_node=4_096, deliveries_for_node=4_096, dispatched=4_096, paused=100, notifications=1.0,
        nodes={}, ownerless=256,
    )  # fmt: skip
    node = ListedNode(
        None, "n" * 60, "v" * 40, "standing_by", 256, 256, NOW, NOW, NOW, datetime(2026, 1, 1, tzinfo=UTC), []
    )
    channel = ChannelWaiting("c" * 200, 4_096, 4_096, "configuration")
    written = dict.fromkeys(
        ("events", "signals", "workflow_transitions", "deliveries", "delivery_attempts"), MANY
    )
    return Glimpse(NOW, 10.0, written, vitals, [node], [channel])


def test_eighty_columns_are_enough() -> None:
    """Whatever the numbers and names are."""
    nothing = replace(busy(), taken_at=0.0, written={})
    assert max(len(line.text) for line in lines(nothing, busy())) <= 80


def test_rates_are_differences() -> None:
    """By the time between; a server whose statistics were reset has done nothing."""
    first = replace(busy(), taken_at=8.0, written={"events": MANY - 100, "signals": MANY + 5})
    assert rates(first, busy())["triggers"] == 50
    assert rates(first, busy())["signals"] == 0


async def test_a_node_at_work_is_shown(database_url: str, tmp_path: Path) -> None:
    """Live at eighty columns, once without a terminal, as JSON; what waits is as the rows have it."""
    async with (
        rows_of(database_url) as rows,
        running_daemon(database_url, home(tmp_path, JOURNEY), name="web-1"),
    ):
        await psql(database_url, TRIGGERS)
        waits = "select count(*) from chimeway.workflow_runs where state = 'waiting'"

        async def all_wait() -> bool:
            return bool(await rows.value(waits) == 200)

        await wait_for(all_wait, "all wait")
        found = await inside("top", "--json", "--interval", "0.2", url=database_url)
        assert found.json["vitals"]["waiting"] == 200
        (node,) = found.json["nodes"]
        assert (node["name"], node["state"], node["shards"]) == ("web-1", "working", 256)
        assert found.json["per_second"].keys() == {"decisions", "triggers", "signals", "messages", "calls"}
        once = await inside("top", "--once", "--interval", "0.2", url=database_url)
        shown = plain(await on_terminal("top", "--times", "2", "--interval", "0.2", url=database_url))
        for text in (once.out, shown):
            assert "chimeway top  20" in text
            assert "web-1                        working         256" in text
            assert "stand   waiting " in text
        assert max(len(line) for line in once.out.splitlines()) <= 80


async def test_a_database_that_goes_away_ends_it_not(database_url: str) -> None:
    """Cut off it goes on by a new connection; while nothing is there it says so, again and again."""
    async with AsyncExitStack() as way:
        proxy = await way.enter_async_context(proxy_to(database_url))
        async with open_database(proxy.url, size=1) as database:
            looks = _looks(database, 0.01, 0)
            assert isinstance(await anext(looks), tuple)
            proxy.close()
            found = [await anext(looks) for _ in range(3)]
            assert isinstance(found[-1], tuple)
            await way.aclose()
            found = [await anext(looks) for _ in range(3)]
            assert isinstance(found[-2], DatabaseUnavailable)
            assert isinstance(found[-1], DatabaseUnavailable)
            await looks.aclose()


async def test_without_a_node_it_says_so(database_url: str) -> None:
    """Nobody works, and nothing waits."""
    told = await inside("top", "--once", "--interval", "0.2", url=database_url)
    assert "256 of 256 shards are nobody's" in told.out
    assert "no node is on the list: chimeway serve" in told.out
    assert "no message waits to be sent" in told.out
