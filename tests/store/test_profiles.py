"""Writing profiles and settings of tenants: partial, merged, alone and at the same time, on an old schema."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import pytest

from chimeway import Chimeway, InvalidInput, Recipient, SchemaMismatch
from kit.bare import bare_database
from kit.command import inside
from store.plain_sql import blocked, plain, refused

IDENTIFY = "select chimeway.identify('default', 'ada', $1)"
CONFIGURE = "select chimeway.configure_tenant('default', $1)"
ROW = "select xmin::text, * from chimeway.recipients"


@dataclass(frozen=True, slots=True)
class Place:
    """A client and a plain connection on the same database."""

    client: Chimeway
    sql: "asyncpg.Connection[Any]"
    url: str


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    """An empty database."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        yield Place(client, sql, database_url)


@pytest.mark.parametrize("nothing", [None, "{}", "null"])
async def test_nothing_does_nothing_but_create(place: Place, nothing: str | None) -> None:
    """Null and {} make a profile where there is none, and change none that is there."""
    await place.sql.execute(IDENTIFY, nothing)
    made = await place.client.get_recipient("ada")
    assert (made.addresses, made.preferences, made.data, made.timezone) == ({}, {}, {}, None)
    await place.client.identify("ada", email="ada@example.org")
    before = await place.sql.fetchrow(ROW)
    await place.sql.execute(IDENTIFY, nothing)
    assert await place.sql.fetchrow(ROW) == before


async def test_who_says_again_what_is_known_writes_nothing(place: Place) -> None:
    """Programs identify at every log-in: the row stays the one it was until something differs."""
    known: dict[str, Any] = {
        "email": "ada@example.org",
        "timezone": "Europe/London",
        "preferences": {"channels": {"sms": False}},
        "data": {"n": 1, "gone": None},
    }
    await place.client.identify("ada", **known)
    before = await place.sql.fetchrow(ROW)
    await place.client.identify("ada", **known)
    await place.client.identify("ada", phone=None, data={"n": 1.0})
    assert await place.sql.fetchrow(ROW) == before
    await place.client.identify("ada", locale="en")
    assert await place.sql.fetchrow(ROW) != before


async def test_null_removes_one_thing(place: Place) -> None:
    """A channel, a key of the data, one wish; what stands beside it stays, null deeper in data is a value."""
    await place.client.identify(
        "ada",
        email="ada@example.org",
        addresses={"push": "t"},
        preferences={"channels": {"sms": False, "email": True}, "categories": {"news": {"email": False}}},
        data={"a": 1, "b": {"c": None}},
    )
    await place.client.identify(
        "ada",
        addresses={"push": None},
        preferences={"channels": {"email": None}, "categories": {"news": None}},
        data={"a": None},
    )
    found = await place.client.get_recipient("ada")
    assert found.addresses == {"email": "ada@example.org"}
    assert found.preferences == {"channels": {"sms": False}}
    assert found.data == {"b": {"c": None}}


@pytest.mark.parametrize("first", ["known before", "new"])
async def test_two_at_once_lose_nothing(place: Place, first: str) -> None:
    """The second waits for the first one's commit, and is merged into what that wrote."""
    if first == "known before":
        await place.client.identify("ada", data={"old": 1})
    async with plain(place.url) as one, plain(place.url) as two:
        async with one.transaction():
            await place.client.identify(
                "ada",
                email="ada@example.org",
                preferences={"channels": {"sms": False}},
                data={"one": 1},
                connection=one,
            )
            second = asyncio.create_task(
                place.client.identify(
                    "ada",
                    phone="+44 20",
                    timezone="Asia/Tokyo",
                    preferences={"channels": {"email": False}},
                    data={"two": 2},
                    connection=two,
                )
            )
            await blocked(place.sql, two)
        await second
    found = await place.client.get_recipient("ada")
    assert found.addresses == {"email": "ada@example.org", "phone": "+44 20", "sms": "+44 20"}
    assert found.preferences == {"channels": {"sms": False, "email": False}}
    assert {"one": 1, "two": 2}.items() <= found.data.items()
    assert found.timezone == "Asia/Tokyo"


async def test_many_at_once_lose_nothing(place: Place) -> None:
    """However many write one profile, and one tenant, at the same time."""
    keys = [f"k{n}" for n in range(20)]
    await asyncio.gather(
        *(place.client.identify("ada", data={key: True}, addresses={key: key}) for key in keys),
        *(place.client.configure_tenant(preferences={"channels": {key: False}}) for key in keys),
    )
    found = await place.client.get_recipient("ada")
    assert (set(found.data), set(found.addresses)) == (set(keys), set(keys))
    assert set((await place.client.get_tenant()).preferences["channels"]) == set(keys)


async def test_what_a_merge_makes_too_large_is_refused(place: Place) -> None:
    """Part by part nobody writes more than at once; removing is always let."""
    for key in ("a", "b"):
        await place.client.identify("ada", data={key: "x" * 30_000})
    with pytest.raises(InvalidInput, match="data would be"):
        await place.client.identify("ada", data={"c": "x" * 30_000})
    assert set((await place.client.get_recipient("ada")).data) == {"a", "b"}
    await place.sql.execute(
        "update chimeway.recipients set data = data || jsonb_build_object('old', repeat('x', 90000))"
    )
    await place.client.identify("ada", data={"a": None})
    with pytest.raises(InvalidInput, match="data would be"):
        await place.client.identify("ada", data={"c": 1})
    await place.client.identify("ada", email="ada@example.org", data={"old": None})
    assert set((await place.client.get_recipient("ada")).data) == {"b"}
    for part in range(2):
        wishes = {"channels": {f"{part}{n:0200}": True for n in range(70)}}
        if part:
            with pytest.raises(InvalidInput, match="preferences"):
                await place.client.identify("ada", preferences=wishes)
        else:
            await place.client.identify("ada", preferences=wishes)


async def test_a_stored_document_of_before_is_no_obstacle(place: Place) -> None:
    """What version 3 let in stays, however long, and what is said now stands beside it."""
    await place.client.identify("ada")
    await place.sql.execute(
        """update chimeway.recipients set locale = 'x y',
                  preferences = jsonb_build_object('theme', repeat('dark', 9000), 'channels', 7),
                  timezone = 'Mars/Olympus', addresses = '{"email": "no address"}'"""
    )
    await place.client.identify("ada", preferences={"channels": {"sms": False}}, data={"n": 1})
    found = await place.client.get_recipient("ada")
    assert found.preferences == {"theme": "dark" * 9_000, "channels": {"sms": False}}
    assert (found.locale, found.timezone, found.addresses["email"]) == ("x y", "Mars/Olympus", "no address")


async def test_many_are_written_in_one_call(place: Place) -> None:
    """All or none; the fault names its place; none at all is no question."""
    people = [Recipient(f"u{n}", email=f"u{n}@example.org", data={"n": n}) for n in range(1_000)]
    assert await place.client.identify_many(people, tenant="org") == 1_000
    assert (await place.client.get_recipient("u7", tenant="org")).data == {"n": 7}
    assert await place.client.identify_many([Recipient("u7", email=None)], tenant="org") == 1
    assert (await place.client.get_recipient("u7", tenant="org")).addresses == {}
    assert await place.client.identify_many([]) == 0
    with pytest.raises(InvalidInput, match=r"recipients\[1\]: email is no e-mail address"):
        await place.client.identify_many([Recipient("a"), Recipient("b", email="b")])
    with pytest.raises(InvalidInput, match="too many"):
        await place.client.identify_many(Recipient(f"u{n}") for n in range(1_001))
    error = await refused(
        place.sql,
        "select chimeway.identify_many('t', $1)",
        json.dumps({"a": {"email": "a@b"}, "b": {"timezone": "Mars/Olympus"}}),
    )
    assert "profiles.b.timezone" in str(error)
    assert not await place.sql.fetchval("select count(*) from chimeway.recipients where tenant_id = 't'")


async def test_a_tenant_is_configured_part_by_part(place: Place) -> None:
    """Left out stays, null removes; days in the order of the week and of the year, each once."""
    await place.client.configure_tenant(
        tenant="org",
        timezone="Asia/Tokyo",
        locale="ja",
        working_days=["sat", "mon", "mon"],
        holidays=["2027-01-01", date(2026, 12, 25)],
        preferences={"channels": {"sms": False}},
    )
    await place.client.configure_tenant(tenant="org", locale=None, preferences={"channels": {"email": True}})
    found = await place.client.get_tenant(tenant="org")
    assert (found.timezone, found.locale, found.working_days) == ("Asia/Tokyo", None, ("mon", "sat"))
    assert found.holidays == (date(2026, 12, 25), date(2027, 1, 1))
    assert found.preferences == {"channels": {"sms": False, "email": True}}
    await place.sql.execute(CONFIGURE.replace("default", "org"), '{"working_days": null, "holidays": null}')
    found = await place.client.get_tenant(tenant="org")
    assert (found.timezone, found.working_days, found.holidays) == ("Asia/Tokyo", None, ())
    await place.sql.execute(CONFIGURE, None)
    assert (await place.client.get_tenant()).created_at is not None


async def test_who_configures_again_what_is_known_writes_nothing(place: Place) -> None:
    """Programs configure when they start: what is being sent at that moment is not judged anew for it."""
    row = "select xmin::text, * from chimeway.tenants"
    known: list[dict[str, Any]] = [
        {"timezone": "Asia/Tokyo"},
        {"locale": "ja"},
        {"working_days": ["mon", "sat"]},
        {"holidays": ["2027-01-01"]},
        {"preferences": {"channels": {"sms": False}}},
    ]
    for each in known:
        await place.client.configure_tenant(**each)
    before = await place.sql.fetchrow(row)
    for each in [*known, {}, {name: value for one in known for name, value in one.items()}]:
        await place.client.configure_tenant(**each)
    assert await place.sql.fetchrow(row) == before
    for each in (*({name: None} for one in known[:4] for name in one), {"preferences": {"channels": None}}):
        was = await place.sql.fetchval(row)
        await place.client.configure_tenant(**each)
        assert await place.sql.fetchval(row) != was


async def test_the_command_line_writes_them(place: Place) -> None:
    """Options that are left out change nothing, empty ones remove; lists are split at commas."""
    at = ("--database-url", place.url)
    wishes = '{"channels": {"sms": false, "push": true}}'
    for arguments in (
        (
            "recipients",
            "identify",
            "ada",
            "--email",
            "ada@example.org",
            "--phone",
            "+44 20",
            "--locale",
            "de",
        ),
        ("recipients", "identify", "ada", "--email", "", "--address", "push=t", "--preferences", wishes),
        ("identify", "ada", "--preferences", '{"channels": {"push": null}}', "--data", '{"n": 1}'),
        (
            "tenants",
            "configure",
            "org",
            "--timezone",
            "Asia/Tokyo",
            "--locale",
            "ja",
            "--preferences",
            wishes,
        ),
        ("tenants", "configure", "org", "--working-days", "tue, mon", "--holidays", "2026-12-25,2026-01-01"),
        ("tenants", "configure", "org", "--locale", "", "--json"),
    ):
        done = await inside(*arguments, *at)
        assert (done.code, done.err) == (0, ""), arguments
    assert done.json == {"tenant": "org"}
    ada, org = await place.client.get_recipient("ada"), await place.client.get_tenant(tenant="org")
    assert ada.addresses == {"phone": "+44 20", "sms": "+44 20", "push": "t"}
    assert (ada.locale, ada.preferences, ada.data) == ("de", {"channels": {"sms": False}}, {"n": 1})
    assert (org.timezone, org.locale, org.working_days) == ("Asia/Tokyo", None, ("mon", "tue"))
    assert org.holidays == (date(2026, 1, 1), date(2026, 12, 25))
    await inside("tenants", "configure", "org", "--working-days", "", "--holidays", "", "--timezone", "", *at)
    org = await place.client.get_tenant(tenant="org")
    assert (org.timezone, org.working_days, org.holidays) == (None, None, ())
    assert org.preferences == {"channels": {"sms": False, "push": True}}


async def test_a_callers_own_zone_is_left_alone(place: Place) -> None:
    """PostgreSQL is asked for a zone by setting it, for the length of a function."""
    await place.sql.execute("set timezone = 'America/New_York'")
    async with place.sql.transaction():
        await place.sql.execute("set local timezone = 'Asia/Kolkata'")
        await place.sql.execute(IDENTIFY, '{"timezone": "Asia/Tokyo"}')
        await place.client.configure_tenant(timezone="Asia/Tokyo", connection=place.sql)
        assert await place.sql.fetchval("show timezone") == "Asia/Kolkata"
    assert await place.sql.fetchval("show timezone") == "America/New_York"
    await refused(place.sql, IDENTIFY, '{"timezone": "Mars/Olympus"}')
    assert await place.sql.fetchval("show timezone") == "America/New_York"


async def test_before_the_migration_new_verbs_say_so_and_old_ones_work(server_url: str) -> None:
    """On the schema of the version before: what needs this one is schema_mismatch, with what to do."""
    async with (
        bare_database(server_url, version=3) as url,
        Chimeway.connect(url) as client,
    ):
        await client.identify("ada", email="ada@example.org", preferences={"channels": {"sms": False}})
        assert (await client.get_recipient("ada")).addresses == {"email": "ada@example.org"}
        assert len(await client.list_recipients()) == 1
        for verb in (
            client.configure_tenant(timezone="Asia/Tokyo"),
            client.get_tenant(),
            client.list_tenants(),
            client.identify_many([Recipient("ada")]),
            client.unsubscribe("ada", workflow="mention", channel="email"),
            client.resubscribe("ada", workflow="mention", channel="email"),
        ):
            with pytest.raises(SchemaMismatch) as error:
                await verb
            assert "chimeway db migrate" in str(error.value)
