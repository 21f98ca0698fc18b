"""Logins that act for some tenants alone: refused elsewhere, whatever they set; others act for all."""

from collections.abc import Iterator, Mapping

import asyncpg
import pytest

from chimeway import Chimeway, NotPermitted
from chimeway.errors import InvalidInput
from chimeway.store import producers
from chimeway.store.pool import Database, open_database
from chimeway.store.producers import RoleNotFound
from kit.bare import run
from kit.command import inside
from kit.logins import as_role, logins
from store.plain_sql import plain, refused, register

CALLS = (
    "select chimeway.trigger('mention_escalation', 'org_b', 'ada')",
    "select * from chimeway.trigger_many('mention_escalation', 'org_b', array['ada'])",
    "select chimeway.signal('read', 'org_b', 'ada')",
    "select chimeway.signal('read', 'org_b', 'ada', dedupe_key => 'k')",
    "select chimeway.identify('org_b', 'ada')",
    """select chimeway.identify_many('org_b', '{"ada": {}}')""",
    "select * from chimeway.cancel(cancellation_key => 'k', tenant_id => 'org_b')",
    "select * from chimeway.cancel('00000000-0000-7000-8000-000000000000', 'org_b')",
)
"""One of each form that a producer has, for a tenant that is not his."""


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


@pytest.fixture
async def url(database_url: str, names: Mapping[str, str]) -> str:
    """A database with grants and a workflow, in which a producer is bound to org_a and org_c."""
    await run(database_url, "select chimeway.grant_roles()")
    async with plain(database_url) as owner:
        await register(owner)
    async with open_database(database_url, size=1) as database:
        await producers.bind(database, names["producer"], ["org_a", "org_c"])
    return database_url


async def test_a_bound_login_acts_for_its_tenants_alone(url: str, names: Mapping[str, str]) -> None:
    """Each call is refused for another tenant, whatever the session sets, and writes nothing."""
    async with plain(as_role(url, names["producer"])) as producer:
        for switch in ("reset role", "set role chimeway_producer"):
            await producer.execute(switch)
            for call in CALLS:
                error = await refused(producer, call)
                assert error.sqlstate == "CW012"
                said = 'not_permitted: this login acts for "org_a", "org_c", not for "org_b"'
                assert error.as_dict()["message"] == said
        for call in CALLS[:-1]:
            await producer.execute(call.replace("org_b", "org_a"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await producer.execute("delete from chimeway.producers")
    async with plain(url) as owner:
        assert await owner.fetchval("select count(*) from chimeway.events where tenant_id = 'org_b'") == 0
        assert await owner.fetchval("select count(*) from chimeway.events where tenant_id = 'org_a'") == 2


async def test_a_function_of_somebody_else_is_no_way_round(url: str, names: Mapping[str, str]) -> None:
    """What counts is who logged in, also where a function runs as its owner."""
    async with plain(url) as owner:
        await owner.execute(
            f"""create function public.round_about() returns uuid language sql security definer as
                $$ select chimeway.signal('read', 'org_b', 'ada') $$;
                grant usage on schema public to {names["producer"]}"""
        )
    async with plain(as_role(url, names["producer"])) as producer:
        assert (await refused(producer, "select public.round_about()")).sqlstate == "CW012"


async def test_whoever_is_not_bound_acts_for_all(url: str, names: Mapping[str, str]) -> None:
    """Others are untouched while somebody is bound, and so is he when he is free again."""
    async with plain(url) as owner:
        for call in CALLS[:-1]:
            await owner.execute(call)
    async with open_database(url, size=1) as database:
        assert await producers.narrow(database, names["producer"], ["org_c", "org_z"])
        async with plain(as_role(url, names["producer"])) as producer:
            assert (await refused(producer, CALLS[2].replace("org_b", "org_c"))).sqlstate == "CW012"
            bound_to_none = await producers.narrow(database, names["producer"], None)
            assert bound_to_none.tenants == ()
            error = await refused(producer, CALLS[2].replace("org_b", "org_a"))
            assert "acts for no tenant" in str(error)
            await producers.free(database, names["producer"])
            assert await producer.fetchval(CALLS[2])


async def test_clients_say_it_in_our_words(url: str, names: Mapping[str, str]) -> None:
    """`NotPermitted`, with what would be right."""
    async with Chimeway.connect(as_role(url, names["producer"])) as client:
        assert await client.signal("read", actor="ada", tenant="org_a")
        with pytest.raises(NotPermitted, match="acts for") as found:
            await client.signal("read", actor="ada", tenant="org_b")
    assert "db producer" in str(found.value.details["hint"])


async def test_whom_nothing_binds_is_refused(url: str, names: Mapping[str, str], database: Database) -> None:
    """Owners, nodes and groups; a role that is not there; and only the owner binds."""
    del url
    for role, what in (
        (names["daemon"], "a node's"),
        ("postgres", "owner"),
        ("chimeway_producer", "a group"),
    ):
        with pytest.raises(InvalidInput, match=what):
            await producers.bind(database, role, ["org_a"])
    with pytest.raises(RoleNotFound, match="create role nobody_here login in role chimeway_producer"):
        await producers.bind(database, "nobody_here", ["org_a"])
    with pytest.raises(RoleNotFound, match="may act for all"):
        await producers.free(database, names["plain"])
    async with open_database(as_role(database.url, names["operator"]), size=1) as operator:
        with pytest.raises(NotPermitted):
            await producers.bind(operator, names["plain"], ["org_a"])


async def test_the_command(url: str, names: Mapping[str, str]) -> None:
    """`chimeway db producer` binds, shows, takes away and frees; what makes no sense is refused."""
    login = names["plain"]

    async def told(*words: str) -> str:
        answer = await inside("db", "producer", *words, url=url)
        assert answer.code == 0, answer.err
        return answer.out

    assert await told(login, "--tenant", "org_b", "--tenant", "org_a") == (
        f"{login} acts for org_a, org_b, and for no other\n"
    )
    listed = (await inside("db", "producer", "--list", "--json", url=url)).json["producers"]
    assert [(one["role"], one["tenants"], one["may_call"]) for one in listed] == [
        (login, ["org_a", "org_b"], False),
        (names["producer"], ["org_a", "org_c"], True),
    ]
    assert "not in chimeway_producer" in await told("--list")
    assert await told(login, "--tenant", "org_b", "--revoke") == f"{login} acts for org_a, and for no other\n"
    assert await told(login, "--revoke") == f"{login} acts for no tenant, and for no other\n"
    assert await told(login, "--free") == f"{login} acts for every tenant again\n"
    for words in ((), (login,), ("--list", login), (login, "--free", "--revoke")):
        assert (await inside("db", "producer", *words, url=url)).code == 2, words
