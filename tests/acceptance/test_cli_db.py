"""`chimeway db` as an operator meets it: what is there, what is pending, roles, texts, exit codes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chimeway.store import roles, schema
from chimeway.store.embedded import temporary_server
from chimeway.store.migrations import OLDEST, VERSION
from chimeway.store.pool import open_database
from kit.bare import bare_database, run
from kit.catalog import catalogue
from kit.command import Answer, chimeway, inside
from kit.logins import as_role
from kit.psql import psql

DEBIAN = Path("/usr/lib/postgresql/15/bin")
NEWER = list(range(2, VERSION + 1))
"""What there is to bring to a database of version 1."""


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server of its own: roles are shared by all databases of one."""
    with temporary_server(settings=("fsync=off",)) as server:
        yield server.url


@pytest.fixture
async def cluster(own_server: str) -> AsyncIterator[str]:
    """A server whose cluster has none of our roles."""
    yield own_server
    await run(own_server, "".join(f"drop role if exists {role};" for role in roles.ROLES))


async def _db(url: str, *words: str) -> Answer:
    return await inside("db", *words, url=url)


async def test_an_upgrade_by_hand(cluster: str) -> None:
    """status, migrate, roles, status: what is said to people and to programs on the way from version 1."""
    async with bare_database(cluster, version=1) as url:
        before = await _db(url, "status")
        assert before.code == 1, "nodes of this version would refuse it"
        assert before.out == (
            f"schema version 1; this program brings {VERSION}, and works from {OLDEST} on\n"
            f"pending: {', '.join(map(str, NEWER))}; chimeway db migrate brings them\n"
            "roles: none; chimeway db roles makes them\n"
        )
        assert (await _db(url, "init")).code == 3, "no program of this version can work on it"
        assert (await _db(url, "roles")).err == (
            "error[schema_mismatch]: the schema is missing, or has no roles yet; first: chimeway db migrate\n"
        )
        migrated = await chimeway("db", "migrate", "--json", url=url)
        assert migrated.json == {"version": VERSION, "migrated": True, "versions": NEWER}
        assert "building the index workflow_runs_of_tenant" in migrated.err
        made = await _db(url, "roles", "--json")
        assert made.json == {"made": list(roles.ROLES), "granted": sorted(roles.ROLES)}
        assert (await _db(url, "status", "--json")).json == {
            "version": VERSION, "known_version": VERSION, "oldest_usable_version": OLDEST, "usable": True,
            "pending": [], "roles": list(roles.ROLES), "test_clock": False,
        }  # fmt: skip
        later = f"update chimeway.schema_version set version = {VERSION + 2}, serves_from = {VERSION + 1}"
        await run(url, f"{later} where version = {VERSION}")
        newer = await _db(url, "status")
        assert (newer.code, "does not serve it any more: install a newer chimeway" in newer.out) == (1, True)


async def test_who_may_not_make_roles_gets_the_text(cluster: str) -> None:
    """Without CREATEROLE the SQL is on standard output, what is wrong on the other; the exit code is 3."""
    await run(cluster, "create role ordinary login")
    async with bare_database(cluster) as url:
        name = url.partition("?")[0].rpartition("/")[2]
        await run(url, f'grant create on database "{name}" to ordinary')
        ordinary = as_role(url, "ordinary")
        assert (await _db(ordinary, "init")).out == f"schema version {VERSION}: installed\n"
        refused = await _db(ordinary, "roles")
        assert (refused.code, refused.out) == (3, (await _db(url, "roles", "--sql")).out)
        assert refused.err.startswith("error[may_not_make_roles]: this role may not (permission denied")
        assert refused.err.count("chimeway db roles --sql") == 1
        await psql(url, refused.out)
        assert "chimeway_producer" in (await _db(ordinary, "status")).out
        assert (await _db(ordinary, "roles")).code == 0, "they are there: granting is the owner's right"


async def test_roles_that_nobody_has_made(cluster: str) -> None:
    """Two databases of a cluster without our roles, three programs each, all at once: all end well."""
    async with bare_database(cluster) as one, bare_database(cluster) as two:
        async with open_database(one, size=3) as a, open_database(two, size=3) as b:
            await asyncio.gather(schema.install(a), schema.install(b))
            done = await asyncio.gather(*(roles.make(each) for each in (a, b, a, b, a, b)))
        assert all(set(each.granted) == set(roles.ROLES) for each in done)
        assert {role for each in done for role in each.made} == set(roles.ROLES)


async def test_the_texts_are_complete(server_url: str, tmp_path: Path) -> None:
    """What `db sql` prints is what psql needs, in one transaction; a version that there is not is refused."""
    whole, step, before = [
        (await inside("db", "sql", *words)).out
        for words in ((), ("--from", "1"), ("--from", "1", "--indexes"))
    ]
    assert before.count("index concurrently if not exists") == before.count(";") > 2
    async with bare_database(server_url) as new, bare_database(server_url, version=1) as old:
        await psql(new, whole)
        for statement in before.split(";\n")[:-1]:
            await psql(old, statement)
        await psql(old, step)
        assert await catalogue(new) == await catalogue(old)
    wrong = await inside("db", "sql", "--from", str(VERSION + 1))
    assert (wrong.code, wrong.err) == (
        3, f"error[invalid_input]: --from is {VERSION + 1}: give a version from 1 to {VERSION}\n",
    )  # fmt: skip


@pytest.mark.big
async def test_debians_postgresql_15(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed and migrated there by a role that has CREATE alone, both ways the same; journeys begin."""
    if not (DEBIAN / "postgres").exists():
        pytest.skip("PostgreSQL 15 is not at /usr/lib/postgresql/15/bin")
    monkeypatch.setenv("CHIMEWAY_POSTGRES_BIN", str(DEBIAN))
    with temporary_server(settings=("fsync=off",)) as server:
        await run(server.url, "create role ordinary login")
        async with bare_database(server.url) as new, bare_database(server.url) as old:
            for url in (new, old):
                name = url.partition("?")[0].rpartition("/")[2]
                await run(url, f'grant create on database "{name}" to ordinary')
            mine, older = as_role(new, "ordinary"), as_role(old, "ordinary")
            assert (await psql(mine, "show server_version_num"))[0].startswith("15")
            assert (await _db(mine, "init")).code == 0
            await run(older, (Path(__file__).parents[1] / "store" / "versions" / "schema_1.sql").read_text())
            assert (await _db(new, "roles")).code == 0
            assert (await _db(older, "migrate")).code == 0
            assert (await _db(mine, "roles")).code == 0
            assert await catalogue(new) == await catalogue(old)
            steps = '[{"id": "a", "action": {"type": "wait", "duration": "PT1H"}}]'
            definition = f'{{"key": "k", "version": 1, "steps": {steps}}}'
            await psql(mine, f"select chimeway.register_workflow('{definition}', 'd')")
            (run_id,) = await psql(mine, "select chimeway.trigger('k', recipient_id => 'ada')")
            await psql(mine, "select chimeway.signal('read', actor_id => 'ada')")
            (ended,) = await psql(mine, f"select outcome from chimeway.cancel('{run_id}')")
            assert ended == "stopped"
