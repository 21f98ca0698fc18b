"""`chimeway runs --stuck` at night: a long list says first what it is about."""

from chimeway.store.definitions import register
from chimeway.store.pool import open_database
from chimeway.workflow.parse import parse
from kit.command import inside
from kit.home import in_app, workflow
from kit.rows import rows_of

MANY = """select count(*) from chimeway.trigger_many('mention_escalation', 'default',
    array(select 'u' || n from generate_series(1, 14) n))"""
HELD = """update chimeway.workflow_runs set held_reason = $2, held_at = chimeway.clock()
           where recipient_id = any(array(select 'u' || n from generate_series(1, $1::int) n))"""


async def test_a_long_list_is_summed_up(database_url: str) -> None:
    """How many for which reason, the most first; a short one is just read."""
    async with open_database(database_url) as database, rows_of(database_url) as rows:
        await register(database, parse(workflow(in_app())))
        await rows.all(MANY)
        await rows.all(HELD, 3, "held_by_request")
        short = await inside("runs", "--stuck", url=database_url)
        assert "3 held" not in short.out
        await rows.all(HELD, 14, "poison_decision")
        await rows.all(HELD, 3, "held_by_request")
        told = (await inside("runs", "--stuck", url=database_url)).out.splitlines()
    assert told[:2] == [
        "11 held (poison_decision): mention_escalation 1", "3 held (held_by_request): mention_escalation 1"
    ]  # fmt: skip
    assert told[2].split()[1:3] == ["mention_escalation", "1"]
