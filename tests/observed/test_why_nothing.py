"""`chimeway explain` where there is no run: each reason, made for real, is told from rows."""

import pytest

from chimeway import Chimeway
from chimeway.store.definitions import register
from chimeway.store.pool import open_database
from chimeway.workflow.parse import parse
from kit.command import Answer, inside
from kit.home import in_app, workflow
from kit.psql import psql, psql_session

KEY, OTHER = "mention-789-123", "org_456"
JOURNEY = workflow(in_app())
TRIGGER = (
    f"""select chimeway.trigger('mention_escalation', recipient_id => 'ada', idempotency_key => '{KEY}')"""
)


@pytest.fixture
async def url(database_url: str) -> str:
    """A database that knows one workflow."""
    async with open_database(database_url) as database:
        await register(database, parse(JOURNEY))
    return database_url


async def why(url: str, *asked: str) -> str:
    """Ask why there is no run, and return the sentences; the error stands beside them."""
    answer: Answer = await inside("explain", *asked, url=url)
    assert answer.code == 3
    assert answer.err.startswith("error[workflow_run_not_found]: ")
    return answer.out


async def test_nobody_triggered(url: str) -> None:
    """No event, no profile, no run: that is said, and what leaves no trace."""
    told = await why(url, "--recipient", "ada", "--workflow", "mention_escalation")
    assert "mention_escalation is registered since 20" in told
    assert "now in version 1." in told
    assert "ada has no profile. That keeps no run from being started: " in told
    assert "ada has no run of any workflow; runs leave 90 days after their end" in told
    assert "What leaves no trace: a trigger that was refused" in told
    unknown = await why(url, "--idempotency-key", KEY)
    assert f'No event has the idempotency key "{KEY}"' in unknown
    assert "in the last 30 days, for so long keys are known" in unknown


async def test_the_workflow_is_not_there(url: str) -> None:
    """An unknown key is refused at the trigger; what may be meant is proposed. A pause is no reason."""
    told = await why(url, "--recipient", "ada", "--workflow", "mention_escalatoin")
    assert 'No workflow "mention_escalatoin" is registered; did you mean "mention_escalation"?' in told
    assert "is refused (unknown_workflow)" in told
    await psql(url, "select chimeway.pause_workflow('mention_escalation', true)")
    paused = await why(url, "--recipient", "ada", "--workflow", "mention_escalation")
    assert "triggers are taken all the same, so that is not why there is no run" in paused


async def test_another_tenant_knows_it(url: str) -> None:
    """A key, or a person, that is another's: the tenant is named, ready to be tried."""
    async with Chimeway.connect(url) as client:
        await client.identify("ada", tenant=OTHER, email="ada@example.org")
        await client.trigger("mention_escalation", recipients="ada", tenant=OTHER, idempotency_key=KEY)
    told = await why(url, "--idempotency-key", KEY)
    assert f'This key is known in tenant "{OTHER}": try --tenant {OTHER}' in told
    assert f'ada has a profile in tenant "{OTHER}"' in await why(url, "--recipient", "ada")


async def test_it_was_for_somebody_else_or_another_workflow(url: str) -> None:
    """The key's event names what it began and for how many; the recipient's newest run is named."""
    async with Chimeway.connect(url) as client:
        await client.identify("grace", email="g@example.org")
        receipt = await client.trigger(
            "mention_escalation", recipients=["ada", "grace"], idempotency_key=KEY
        )  # (a trigger again with the key would be answered with this)
    told = await why(url, "--idempotency-key", KEY, "--recipient", "eve")
    assert "The key began mention_escalation version 1 on 20" in told
    assert "for 2 recipients. A trigger with the same key later was answered with that" in told
    assert "eve was not among them" in told
    other = await why(url, "--recipient", "grace", "--workflow", "digest")
    assert "grace has a profile, with an address for email." in other
    assert "Their newest run is " in other
    assert f"chimeway explain {receipt.run_ids[1]}" in other


async def test_retention_has_removed_it(url: str) -> None:
    """A key whose runs have left says so."""
    await psql(url, TRIGGER)
    await psql(url, "select chimeway.cancel(run_id => id) from chimeway.workflow_runs")
    await psql(
        url, "select chimeway.prune_runs(interval '1 microsecond', interval '30 days', interval '30 days')"
    )
    told = await why(url, "--idempotency-key", KEY)
    assert "1 run of it ended so long ago that retention has removed it." in told


async def test_a_transaction_is_still_open(url: str) -> None:
    """What is not committed cannot be seen; that somebody has been at it for a while can."""
    async with psql_session(url) as session:
        await session.say("begin;")
        await session.say(f"{TRIGGER};")
        await session.say("select pg_sleep(1.1);")
        told = await why(url, "--idempotency-key", KEY)
        assert "A transaction has been open for " in told
        await session.say("rollback;")
    answer = await inside("explain", "--idempotency-key", KEY, "--json", url=url)
    assert answer.code == 3
    assert '"run": null' in answer.out
    assert "A transaction has been open" not in answer.out
