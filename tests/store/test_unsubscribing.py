"""Unsubscribing as the database writes it: what is said, how it is undone, and who is not written anew."""

import asyncio
import json
from datetime import UTC, datetime
from itertools import product
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from chimeway.progression.policy import Asked, judge, merged, read_preferences
from store.plain_sql import MENTION, blocked, deliver, plain, register, trigger

Connection: TypeAlias = "asyncpg.Connection[Any]"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
WHERE = "tenant_id => 'default', recipient_id => $1, workflow => 'mention_escalation', channel => 'email'"
NO = {"workflows": {"mention_escalation": {"email": False}}}
BOTH = NO | {"categories": {"mentions": {"email": False}}}
CATEGORISED = MENTION | {"version": 2, "category": "mentions"}


async def says(
    connection: Connection, delivery: UUID | None = None, verb: str = "unsubscribe", recipient: str = "ada"
) -> bool:
    """Follow a link, or say it without one."""
    sql = f"select chimeway.{verb}({WHERE}, delivery_id => $2)"
    known: bool = await connection.fetchval(sql, recipient, delivery)
    return known


async def prefers(connection: Connection, preferences: Any = None, recipient: str = "ada") -> Any:
    """Set a recipient's preferences, past all checks; without any, return them."""
    if preferences is not None:
        await connection.execute(
            """insert into chimeway.recipients (tenant_id, recipient_id, shard, preferences, created_at,
                                                 updated_at)
               values ('default', $1, chimeway.shard_of('default', $1), $2, now(), now())
               on conflict (tenant_id, recipient_id, shard) do update
               set preferences = excluded.preferences""",
            recipient,
            json.dumps(preferences),
        )
    sql = "select preferences from chimeway.recipients where tenant_id = 'default' and recipient_id = $1"
    found = await connection.fetchval(sql, recipient)
    return None if found is None else json.loads(found)


async def signals(connection: Connection) -> list[Any]:
    """Return what was said to runs."""
    rows = await connection.fetch("select type, run_id, payload from chimeway.signals order by arrival")
    return [(row["type"], row["run_id"], json.loads(row["payload"])) for row in rows]


async def test_a_link_says_no_and_its_run_hears_of_it_once(database_url: str) -> None:
    """Who was never identified is written down; twice is as once; undone, nothing of it is left."""
    async with plain(database_url) as connection:
        await register(connection)
        run = await trigger(connection)
        delivery = await deliver(connection, run, status="succeeded")
        assert [await says(connection, delivery) for _ in range(2)] == [True, True]
        assert await prefers(connection) == NO
        payload = {"delivery_id": str(delivery), "workflow": "mention_escalation", "channel": "email"}
        assert await signals(connection) == [("chimeway.delivery.unsubscribed", run, payload)]
        assert [await says(connection, delivery, "resubscribe") for _ in range(2)] == [True, True]
        assert await prefers(connection) == {}
        assert await connection.fetchval("select unsubscribed from chimeway.recipients") == "{}"
        assert await says(connection, delivery)
        assert await prefers(connection) == NO


async def test_each_run_hears_of_its_own_link(database_url: str) -> None:
    """Who follows the links of two mails says no in both: each run hears, whatever he had said before."""
    async with plain(database_url) as connection:
        await register(connection)
        runs = [await trigger(connection) for _ in range(2)]
        assert await says(connection)
        for run in runs:
            delivery = await deliver(connection, run, status="succeeded")
            assert [await says(connection, delivery) for _ in range(2)] == [True, True]
        assert [run for _, run, _ in await signals(connection)] == runs


async def test_a_category_is_refused_with_its_workflow(database_url: str) -> None:
    """Of the current definition; and of the one that sent the message, should it have been another."""
    async with plain(database_url) as connection:
        await register(connection, MENTION | {"category": "social"})
        delivery = await deliver(connection, await trigger(connection))
        await register(connection, CATEGORISED)
        assert await says(connection)
        assert await prefers(connection) == BOTH
        assert await says(connection, delivery)
        social = BOTH["categories"] | {"social": {"email": False}}
        assert await prefers(connection) == BOTH | {"categories": social}
        assert await says(connection, None, "resubscribe")
        assert await prefers(connection) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"workflows": {"mention_escalation": {"email": True, "sms": False}}},
         {"workflows": {"mention_escalation": {"email": False, "sms": False}},
          "categories": {"mentions": {"email": False}}}),
        ({"workflows": {"mention_escalation": True, "other": False}},
         {"workflows": {"mention_escalation": {"*": True, "email": False}, "other": False},
          "categories": {"mentions": {"email": False}}}),
        ({"workflows": {"mention_escalation": False}, "quiet_hours": [1]},
         {"workflows": {"mention_escalation": {"*": False, "email": False}}, "quiet_hours": [1],
          "categories": {"mentions": {"email": False}}}),
        ({"categories": {"mentions": {"email": False}}}, BOTH),
        (BOTH, BOTH),
    ],
)  # fmt: skip
async def test_what_was_said_before_holds_again_when_it_is_undone(
    database_url: str, before: Any, after: Any
) -> None:
    """Whatever stood there; and who said no himself, says no still."""
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        await prefers(connection, before)
        await says(connection)
        assert await prefers(connection) == after
        await says(connection)
        await says(connection, None, "resubscribe")
        assert await prefers(connection) == before


@pytest.mark.parametrize("undone", ["first", "second"])
@pytest.mark.parametrize("before", [{}, {"categories": {"mentions": {"email": True}}}])
async def test_two_workflows_of_a_category_are_undone_each_alone(
    database_url: str, before: Any, undone: str
) -> None:
    """Who wants one of them again gets it, though the other one's link refused their category, too."""
    async with plain(database_url) as connection:
        for key in ("first", "second"):
            await register(connection, CATEGORISED | {"key": key})
        await prefers(connection, before)

        async def says_of(verb: str, key: str) -> None:
            await connection.execute(f"select chimeway.{verb}('default', 'ada', $1, 'email')", key)

        for key in ("first", "second", "second"):
            await says_of("unsubscribe", key)
        stands = await connection.fetchrow("select xmin::text, * from chimeway.recipients")
        await says_of("unsubscribe", "second")
        assert await connection.fetchrow("select xmin::text, * from chimeway.recipients") == stands
        await says_of("resubscribe", undone)
        found = await prefers(connection)
        assert {key: _sends({}, found, "email", key) for key in ("first", "second")} == {
            key: key == undone for key in ("first", "second")
        }
        for key in ("first", "second"):
            await says_of("resubscribe", key)
        assert await prefers(connection) == before


async def test_what_is_said_in_between_stays(database_url: str) -> None:
    """A preference that a person sets after the link is his last word: undoing the link does not touch it."""
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        await says(connection)
        chosen = {"workflows": {"mention_escalation": {"email": True, "push": False}},
                  "categories": {"mentions": {"email": False}}}  # fmt: skip
        await prefers(connection, chosen)
        await says(connection, None, "resubscribe")
        assert await prefers(connection) == {"workflows": chosen["workflows"]}
        await says(connection)
        await prefers(connection, chosen)
        await says(connection)
        assert (await prefers(connection))["workflows"]["mention_escalation"] == {
            "email": False,
            "push": False,
        }
        await says(connection, None, "resubscribe")
        assert await prefers(connection) == {"workflows": chosen["workflows"]}


async def test_older_data_that_cannot_be_read_makes_way(database_url: str) -> None:
    """A part that is no object is no preference, and does not keep anybody from unsubscribing."""
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        await prefers(
            connection, {"workflows": [7], "categories": {"mentions": "never"}, "channels": {"sms": True}}
        )
        assert await says(connection)
        assert await prefers(connection) == BOTH | {"channels": {"sms": True}}


_FULL: list[Any] = [
    {"channels": {f"c{n}": True for n in range(499)} | {"email": True}},
    {
        "channels": {str(n).ljust(252, "x"): True for n in range(62)},
        "workflows": {"mention_escalation": True},
    },
]


@pytest.mark.parametrize("full", _FULL)
async def test_a_no_always_finds_room(database_url: str, full: Any) -> None:
    """However much somebody prefers already; what his application says keeps its own bounds, as before."""
    identify = (
        "select chimeway.identify('default', 'ada', jsonb_build_object('preferences', $1::text::jsonb))"
    )
    less = json.dumps({"channels": {name: not said for name, said in full["channels"].items()}})
    more = json.dumps({"channels": {"one more": True, "x" * 255: False, "y" * 255: False, "z" * 255: False}})
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        delivery = await deliver(connection, await trigger(connection), status="succeeded")
        await connection.execute(identify, json.dumps(full))
        assert await says(connection, delivery)
        assert (await prefers(connection))["workflows"]["mention_escalation"]["email"] is False
        await connection.execute(identify, less)
        with pytest.raises(
            asyncpg.PostgresError, match=r"profile\.preferences (is 17\d+ bytes|has 50\d statements)"
        ):
            await connection.execute(identify, more)
        await connection.execute(identify, json.dumps(full))
        assert await says(connection, delivery, "resubscribe")
        assert await prefers(connection) == full


async def test_what_is_said_without_a_link_ends_somewhere(database_url: str) -> None:
    """Channels may be anything there; what links say is bounded by what was sent."""
    one = "select chimeway.unsubscribe('default', 'ada', 'mention_escalation', lpad(n::text, 255, 'c'), $1) "
    async with plain(database_url) as connection:
        await register(connection)
        delivery = await deliver(connection, await trigger(connection))
        await connection.execute(one + "from generate_series(1, 140) n", None)
        with pytest.raises(asyncpg.PostgresError, match="unsubscribed from would be more than"):
            await connection.execute(one + "from generate_series(141, 200) n", None)
        assert len((await prefers(connection))["workflows"]["mention_escalation"]) == 140
        await connection.execute(one + "from generate_series(141, 200) n", delivery)
        assert len((await prefers(connection))["workflows"]["mention_escalation"]) == 200


async def test_what_was_put_off_is_judged_at_once(database_url: str) -> None:
    """As when preferences are changed in any other way: what nobody wants does not wait for its hour."""
    async with plain(database_url) as connection:
        await register(connection)
        delivery = await deliver(connection, await trigger(connection), status="deferred")
        await connection.execute("update chimeway.deliveries set next_attempt_at = '2100-01-01'")
        assert await says(connection, delivery)
        sql = "select next_attempt_at <= chimeway.clock() from chimeway.deliveries"
        assert await connection.fetchval(sql)


async def test_nobody_who_is_forgotten_comes_back_by_an_old_link(database_url: str) -> None:
    """Where the delivery bears another's name; where it is gone, and he is not known; nor by undoing."""
    async with plain(database_url) as connection:
        await register(connection)
        delivery = await deliver(connection, await trigger(connection))
        await connection.execute("update chimeway.deliveries set recipient_id = 'a-pseudonym'")
        for verb in ("unsubscribe", "resubscribe"):
            assert not await says(connection, delivery, verb)
            assert not await says(connection, uuid4(), verb)
        assert await connection.fetchval("select count(*) from chimeway.recipients") == 0
        assert await signals(connection) == []
        assert not await says(connection, delivery, recipient="another")
        await prefers(connection, {"channels": {"sms": False}}, "known")
        assert await says(connection, uuid4(), recipient="known")
        assert await prefers(connection, recipient="known") == NO | {"channels": {"sms": False}}
        assert await signals(connection) == []


async def test_who_is_forgotten_leaves_nothing_of_it(database_url: str) -> None:
    """What was unsubscribed is told in the export, gone when he is forgotten, and no link brings it back."""
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        delivery = await deliver(connection, await trigger(connection))
        assert await says(connection, delivery)
        exported = "select document::text from chimeway.export_recipient('default', 'ada', 'recipient')"
        assert str(delivery) in await connection.fetchval(exported)
        await connection.fetch("select * from chimeway.forget_recipient('default', 'ada')")
        for verb in ("unsubscribe", "resubscribe"):
            assert not await says(connection, delivery, verb)
        assert await connection.fetchval("select count(*) from chimeway.recipients") == 0
        assert await connection.fetchval("select count(*) from chimeway.signals where payload <> '{}'") == 0


async def test_forgetting_at_the_same_moment_wins(database_url: str) -> None:
    """A link followed while he is being forgotten waits for that, and then finds nobody."""
    async with plain(database_url) as connection, plain(database_url) as other:
        await register(connection)
        delivery = await deliver(connection, await trigger(connection))
        forgetting = other.transaction()
        await forgetting.start()
        await other.execute("select from chimeway.forget_recipient(recipient_id => 'ada')")
        link = asyncio.ensure_future(says(connection, delivery))
        await blocked(other, connection)
        await forgetting.commit()
        assert not await link
        assert await connection.fetchval("select count(*) from chimeway.recipients") == 0


async def test_many_at_once_are_one(database_url: str) -> None:
    """Links followed at the same time, a mailbox's and a person's, write it once."""
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        delivery = await deliver(connection, await trigger(connection))

        async def follow() -> bool:
            async with plain(database_url) as own:
                return await says(own, delivery)

        assert await asyncio.gather(*(follow() for _ in range(6))) == [True] * 6
        assert await prefers(connection) == BOTH
        assert len(await signals(connection)) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("recipient_id => null", "recipient_id is null"),
        ("workflow => ''", "workflow is empty"),
        ("channel => repeat('x', 256)", "channel is 256 characters long"),
        ("tenant_id => ''", "tenant_id is empty"),
        ("channel => '*'", r'channel is "\*"'),
        ("workflow => 'nobody'", "unknown_workflow"),
    ],
)
async def test_what_is_wrong_is_said(database_url: str, changed: str, told: str) -> None:
    """Each fault names its argument, and nothing is written; without a link a workflow must be registered."""
    named = dict(part.split(" => ") for part in [*WHERE.replace("$1", "'ada'").split(", "), changed])
    call = ", ".join(f"{name} => {value}" for name, value in named.items())
    async with plain(database_url) as connection:
        await register(connection)
        with pytest.raises(asyncpg.PostgresError, match=told):
            await connection.execute(f"select chimeway.unsubscribe({call})")
        assert await connection.fetchval("select count(*) from chimeway.recipients") == 0


_TOPICS: list[Any] = [
    None, True, False,
    *({channel: word for channel, word in zip(("*", "email", "sms"), words, strict=True) if word is not None}
      for words in product((None, True, False), repeat=3) if words != (None, None, None)),
]  # fmt: skip
_OF_TENANTS: list[Any] = [
    {},
    {"categories": {"mentions": {"sms": False, "email": True}}},
    {"workflows": {"mention_escalation": {"email": True}}, "channels": {"sms": False}},
]
_ALL = """select p.preferences from chimeway.recipients p
            where p.recipient_id ~ '^n[0-9]+$' order by substr(p.recipient_id, 2)::int"""


async def test_every_document_says_no_to_this_alone_and_all_comes_back(database_url: str) -> None:
    """Whatever was said of workflow and category: no e-mail, sms as before, and undone it is what it was."""
    before = [_document(*pair) for pair in product(_TOPICS, repeat=2)]
    async with plain(database_url) as connection:
        await register(connection, CATEGORISED)
        await connection.execute(
            """insert into chimeway.recipients (tenant_id, recipient_id, shard, preferences, created_at,
                                                 updated_at)
               select 'default', 'n' || e.n, chimeway.shard_of('default', 'n' || e.n),
                      chimeway.merge_preferences('{}', e.value), now(), now()
                 from jsonb_array_elements($1::text::jsonb) with ordinality e(value, n)""",
            json.dumps(before),
        )
        stored = [json.loads(row[0]) for row in await connection.fetch(_ALL)]
        told = {}
        for verb in ("unsubscribe", "unsubscribe", "resubscribe"):
            await connection.execute(
                f"""select chimeway.{verb}('default', 'n' || n, 'mention_escalation', 'email')
                      from generate_series(1, {len(before)}) n"""
            )
            told[verb] = [json.loads(row[0]) for row in await connection.fetch(_ALL)]
    assert len(stored) == len(before) > 700
    assert told["resubscribe"] == stored
    for was, written in zip(stored, told["unsubscribe"], strict=True):
        for tenant in _OF_TENANTS:
            assert not _sends(tenant, written, "email"), (tenant, was)
            assert _sends(tenant, written, "sms") == _sends(tenant, was, "sms"), (tenant, was)


def _document(workflow: Any, category: Any) -> dict[str, Any]:
    said = {"workflows": {"mention_escalation": workflow}, "categories": {"mentions": category}}
    return {kind: of for kind, of in said.items() if None not in of.values()}


def _sends(tenant: Any, recipient: Any, channel: str, workflow: str = "mention_escalation") -> bool:
    both = merged(read_preferences(tenant), read_preferences(recipient))
    return judge(both, Asked(channel, workflow, "mentions"), NOON).kind == "send"
