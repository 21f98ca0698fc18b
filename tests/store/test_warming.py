"""New connections of a node have planned what a signal goes through; where that cannot be, no harm comes."""

from chimeway.store.pool import Database, open_database
from chimeway.store.warming import warm
from kit.bare import bare_database
from store.plain_sql import plain


async def test_what_a_signal_goes_through_is_planned_before_it_comes(database: Database) -> None:
    """All of it is accepted with nothing to do, by the schema of today, and leaves no trace."""
    async with open_database(database.url, size=1, for_node=True, warmed=True) as warmed:
        async with warmed.acquire() as connection:
            planned = await connection.fetch(
                "select statement from pg_prepared_statements where generic_plans > 0"
            )
        for verb in ("limit $2) q on true", "unnest($1::uuid[])", "commit_decisions(", "least(r.visit, 1)"):
            assert [verb in row["statement"] for row in planned].count(True) == 1, verb


async def test_a_database_without_the_schema_is_told_of_by_who_means_it(server_url: str) -> None:
    """Warming a connection there does no harm."""
    async with bare_database(server_url) as url, plain(url) as connection:
        await connection.execute("drop schema if exists chimeway cascade")
        await warm(connection)
        assert await connection.fetchval("select 1") == 1
