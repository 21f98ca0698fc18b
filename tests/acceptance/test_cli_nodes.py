"""`chimeway nodes`: who works, who stands by, who is about to be followed, and which shards are nobody's."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

import pytest

from kit.bare import bare_database, run
from kit.command import chimeway, inside
from kit.logins import as_role, logins
from kit.rows import Rows, rows_of

BEGIN = "select chimeway.begin_lease($1::uuid, $1::uuid, $2, false)"
ENROL = "insert into chimeway.nodes (id, name, version, channels) values ($1, $2, '4', '{email}')"
OWN = "update chimeway.shard_owners set owner = $1, clean = $2 where shard between $3 and $4"


async def _node(rows: Rows, number: int, name: str | None, lasts: timedelta | None) -> UUID:
    """Put a node on the list, unless it has no name, and give it a lease of this length, if any."""
    node = UUID(int=number)
    if name is not None:
        await rows.all(ENROL, node, name)
    if lasts is not None:
        await rows.value(BEGIN, node, lasts)
    return node


async def test_nobody_is_there(database_url: str) -> None:
    """All shards are nobody's, which is not well."""
    answer = await inside("nodes", url=database_url)
    assert answer.code == 1
    header, sentence = answer.out.splitlines()
    assert header.split() == ["NODE", "STATE", "SHARDS", "SUSPECT", "LEASE", "STARTED", "SEEN", "VERSION"]
    assert sentence.startswith("No node that lives has shards 0-255: ")
    found = await inside("nodes", "--json", url=database_url)
    assert (found.code, found.json) == (1, {"nodes": [], "ownerless_shards": "0-255"})


@pytest.fixture
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


@pytest.mark.parametrize("role", ["plain", "producer", "reader"])
async def test_who_may_not_be_a_node_is_told(database_url: str, names: Mapping[str, str], role: str) -> None:
    """Without any right, with some, and with the right to read alone: an error in our words, and no trace."""
    await run(database_url, "select chimeway.grant_roles()")
    answer = await chimeway("serve", url=as_role(database_url, names[role]))
    assert (answer.code, "error[not_permitted]: this role may not do this" in answer.err) == (3, True)
    await run(database_url, f"drop owned by {', '.join(names.values())}")


@pytest.mark.parametrize("words", ["nodes", "top --once"])
async def test_an_old_schema_is_to_be_brought_up(server_url: str, words: str) -> None:
    """What came with a later version is missing: to install is not what helps."""
    async with bare_database(server_url, version=1) as url:
        answer = await inside(*words.split(), url=url)
    assert (answer.code, "chimeway db migrate" in answer.err) == (3, True), answer.err


async def test_every_state(database_url: str) -> None:
    """Each node by its lease and its shards; two of one name are two; what is nobody's is told."""
    hour = timedelta(hours=1)
    async with rows_of(database_url) as rows:
        works = await _node(rows, 1, "web-1", hour)
        silent = await _node(rows, 2, "web-1", -hour)
        drains = await _node(rows, 3, "drains", hour)
        await _node(rows, 4, "stands by", hour)
        await _node(rows, 5, "begins", None)
        gone = await _node(rows, 6, "gone", None)
        await _node(rows, 7, None, hour)
        await rows.all(OWN, works, True, 0, 99)
        await rows.all(OWN, works, False, 90, 99)
        await rows.all(OWN, silent, True, 100, 199)
        await rows.all("update chimeway.leases set draining = true where owner = $1", drains)
        await rows.all(
            "update chimeway.nodes set seen_at = seen_at - interval '1 minute' where id = $1", gone
        )
        found = await inside("nodes", "--json", url=database_url)
        assert found.code == 1
        assert found.json["ownerless_shards"] == "100-255"
        told = [
            (node["name"], node["state"], node["shards"], node["suspect"], node["channels"])
            for node in found.json["nodes"]
        ]
        assert told == [
            ("web-1", "working", 100, 10, ["email"]),
            ("web-1", "silent", 100, 0, ["email"]),
            ("drains", "draining", 0, 0, ["email"]),
            ("stands by", "standing_by", 0, 0, ["email"]),
            ("begins", "no_lease", 0, 0, ["email"]),
            ("gone", "gone", 0, 0, ["email"]),
            (None, "standing_by", 0, 0, []),
        ]
        lines = (await inside("nodes", url=database_url)).out.splitlines()
        assert lines[1].split()[:4] == ["web-1", "working", "100", "10"]
        assert lines[-1].startswith("No node that lives has shards 100-255: ")
        await rows.all(OWN, works, True, 0, 255)
        well = await inside("nodes", "--json", url=database_url)
        assert (well.code, well.json["ownerless_shards"]) == (0, None)
