"""What an operator reads at night: explain, waiting, overdue, runs --stuck, deliveries, word for word."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chimeway.client.why_listed import remedy
from chimeway.store.pool import Database, open_database
from chimeway.store.whereabouts import Holder
from kit.command import Answer, inside
from kit.golden import agrees
from store.journey import Journey, journey
from store.why_cases import CASES, DOC, MENTION

GOLDEN = Path(__file__).with_name("cli.golden.txt")
EXPLAINED = (
    "stopped by a signal at the wait",
    "e-mail sent after the wait",
    "cancelled with a note, under way",
    "held: three strikes",
    "a day that has no half past two",
    "stuck: an unreadable moment",
)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def named(text: str) -> str:
    """Return a text with its ids named in the order of their coming: they are not the same twice."""
    found = list(dict.fromkeys(UUID.findall(text)))
    return UUID.sub(lambda match: f"<id {found.index(match[0]) + 1}>", text)


def whole(*args: str, answer: Answer) -> str:
    """Return a command, all it wrote, and how it ended."""
    written = "\n".join(part for part in (answer.out.rstrip(), answer.err.rstrip()) if part)
    return named(f"$ chimeway {' '.join(args)}\n{written}\n(exit {answer.code})")


@pytest.fixture
async def moved(clock_database_url: str) -> Any:
    """An open pool, and the URL, of a database whose clock tests move."""
    async with open_database(clock_database_url) as database:
        yield database


@pytest.mark.parametrize("name", EXPLAINED)
async def test_explain(moved: Database, name: str) -> None:
    """Who, where it stands, why, and the timeline."""
    case = CASES[name]
    async with journey(moved, case.workflow, case.data, **case.begins, **case.profile) as ada:
        await case.play(ada)
        answer = await inside("explain", str(ada.run_id), url=moved.url)
    agrees(GOLDEN, f"explain: {name}", whole("explain", "RUN_ID", answer=answer))


async def test_waiting(moved: Database) -> None:
    """Who waits since when, for what, until when, what comes then, and what keeps it."""
    async with journey(moved, MENTION, DOC, timezone="Europe/Berlin", email="a@b.org") as ada:
        await ada.sql("select chimeway.hold_run($1, 'held_by_request')", ada.run_id)
        await ada.sql("select chimeway.pause_workflow('mention_escalation', true)")
        agrees(GOLDEN, "waiting", whole("waiting", answer=await inside("waiting", url=moved.url)))
        none = await inside("waiting", "--tenant", "org", url=moved.url)
        agrees(GOLDEN, "nobody waits", whole("waiting", "--tenant", "org", answer=none))


async def test_overdue_and_stuck(moved: Database) -> None:
    """Since when, why, and what to do; each for itself and once for all."""
    async with journey(moved, MENTION, DOC, timezone="Europe/Berlin") as ada:
        well = await inside("overdue", url=moved.url)
        agrees(GOLDEN, "nothing is overdue", whole("overdue", answer=well))
        await ada.sql("update chimeway.test_clock set at = at + interval '3 hours'")
        agrees(GOLDEN, "overdue", whole("overdue", answer=await inside("overdue", url=moved.url)))
        await ada.sql("insert into chimeway.nodes (id, name, version) values ($1, 'web-1', '1')", ada.node)
        begin = "select chimeway.begin_lease($1::uuid, $1::uuid, interval '1 day', false)"
        await ada.sql(begin, ada.node)
        await ada.sql("update chimeway.shard_owners set owner = $1", ada.node)
        behind = await inside("overdue", url=moved.url)
        agrees(GOLDEN, "overdue, and a node is there", whole("overdue", answer=behind))
        other = uuid4()
        await ada.sql("insert into chimeway.nodes (id, name, version) values ($1, 'web-2', '1')", other)
        await ada.sql(begin, other)
        await ada.sql("update chimeway.shard_owners set owner = $1 where shard < 128", other)
        behind = await inside("overdue", url=moved.url)
        agrees(GOLDEN, "overdue, and two nodes are there", whole("overdue", answer=behind))
        await ada.sql("update chimeway.shard_owners set owner = null where shard < 128")
        behind = await inside("overdue", url=moved.url)
        agrees(GOLDEN, "overdue, and half of the shards are nobody's", whole("overdue", answer=behind))
        none = await inside("runs", "--stuck", url=moved.url)
        agrees(GOLDEN, "nothing is stuck", whole("runs", "--stuck", answer=none))
        free = "held_reason = null, held_at = null, waiting_for_node = null"
        for kind, change in {
            "held": "held_reason = 'three_strikes', held_at = chimeway.clock()",
            "waiting for a node": "waiting_for_node = 'definition_format'",
            "stuck": "status_context = status_context - 'due_at'",
        }.items():
            await ada.sql(f"update chimeway.workflow_runs set {free}")
            await ada.sql(f"update chimeway.workflow_runs set {change}")
            answer = await inside("runs", "--stuck", url=moved.url)
            agrees(GOLDEN, f"stuck: {kind}", whole("runs", "--stuck", answer=answer))


def test_a_list_that_is_full_does_not_count_what_it_left_out() -> None:
    """A list ends after a thousand: there may be more, and the sum says so."""
    free = [Holder("0-255", None, None, None, held=False)]
    assert remedy(999, free).startswith("999 runs are overdue. No node works: ")
    assert remedy(1_000, free).startswith("1000 or more runs are overdue. ")


async def email_of(ada: Journey) -> str:
    """Return the id of the e-mail."""
    return str((await ada.explain()).deliveries[-1].id)


async def test_deliveries(moved: Database) -> None:
    """A failed one is listed and tried again; all others are refused, each with its reason."""
    async with journey(moved, MENTION, DOC, email="ada@example.org") as ada:

        async def retry(case: str, *more: str) -> None:
            args = ("deliveries", "retry", await email_of(ada), *more)
            answer = await inside(*args, url=moved.url)
            agrees(GOLDEN, f"retry: {case}", whole("deliveries", "retry", "ID", *more, answer=answer))

        await retry("sent")
        await ada.advance(hours=2)
        await retry("pending")
        await ada.attempt(3, "failed", error_class="timeout", note="no answer in 30 s")
        listed = await inside("deliveries", "list", url=moved.url)
        agrees(GOLDEN, "failed deliveries", whole("deliveries", "list", answer=listed))
        await ada.sql("select chimeway.hold_run($1, 'held_by_request')", ada.run_id)
        await retry("held")
        await ada.sql("select chimeway.resume_run($1)", ada.run_id)
        await retry("of another tenant", "--tenant", "org")
        await retry("failed")
        await ada.begin(3)
        await retry("on its way")
        await ada.client.cancel(ada.run_id)
        await retry("on its way, and its run stopped")
        await ada.record(3, "failed", error_class="timeout")
        await retry("cancelled")
        found = await inside("deliveries", "retry", await email_of(ada), "--json", url=moved.url)
        assert (found.code, found.out.count("what has ended stays so")) == (3, 1)


@pytest.mark.big
async def test_a_run_by_other_handles(moved: Database) -> None:
    """By recipient the newest; by idempotency key the one it began; what does not lead to one is told."""
    async with journey(moved, MENTION, DOC) as ada:
        client = ada.client
        keyed = await client.trigger("mention_escalation", DOC, recipients="bob", idempotency_key="k1")
        await client.trigger("mention_escalation", DOC, recipients=["bob", "eve"], idempotency_key="k2")
        theirs = await client.trigger("mention_escalation", DOC, recipients="ada", tenant="org")

        async def explained(*args: str) -> str:
            answer = await inside("explain", *args, url=moved.url)
            assert answer.code == 0, answer.err
            return answer.out.split()[1]

        assert await explained("--recipient", "ada") == str(ada.run_id)
        assert await explained("--idempotency-key", "k1") == str(keyed.run_ids[0])
        assert await explained("--idempotency-key", "k2", "--recipient", "eve") != str(keyed.run_ids[0])
        for args in (
            (str(theirs.run_ids[0]),),
            ("00000000-0000-4000-8000-000000000000",),
            ("seven",),
            ("--recipient", "nobody"),
            ("--recipient", "ada", "--workflow", "other"),
            ("--idempotency-key", "k3"),
            ("--idempotency-key", "k2"),
            ("--idempotency-key", "k2", "--recipient", "ada"),
            (),
        ):
            answer = await inside("explain", *args, url=moved.url)
            title = f"explain {' '.join(args)}" if UUID.fullmatch("".join(args)) is None else "explain ID"
            title += " of another tenant" if args == (str(theirs.run_ids[0]),) else ""
            agrees(GOLDEN, title, whole("explain", *args, answer=answer))
