"""Who is read back as whom: profiles, tenants, pages of both, and who was never identified."""

import asyncio
from datetime import date
from typing import Any

import asyncpg
import pytest

from chimeway import Chimeway, InvalidInput, RecipientNotFound, TenantView
from kit.command import inside
from store.plain_sql import plain


async def test_a_profile_is_read_as_it_was_written(database_url: str) -> None:
    """Also on a lent connection, within the transaction that wrote it; tenants are apart."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        async with sql.transaction():
            await client.identify(
                "ada", tenant="org", email="ada@example.org", data={"n": [1]}, connection=sql
            )
            found = await client.get_recipient("ada", tenant="org", connection=sql)
            assert (found.tenant_id, found.recipient_id) == ("org", "ada")
            assert (found.addresses, found.data) == ({"email": "ada@example.org"}, {"n": [1]})
            assert (found.timezone, found.locale, found.preferences) == (None, None, {})
            with pytest.raises(RecipientNotFound) as refused:
                await client.get_recipient("ada", tenant="org")
        assert refused.value.details["recipient"] == "ada"
        assert await client.get_recipient("ada", tenant="org") == found
        with pytest.raises(RecipientNotFound):
            await client.get_recipient("ada")


async def _configured(sql: "asyncpg.Connection[Any]", *tenants: str) -> None:
    for name in tenants:
        await sql.execute(
            """insert into chimeway.tenants (tenant_id, timezone, holidays, created_at, updated_at)
               values ($1, 'Asia/Tokyo', '{2026-12-25}', now(), now())""",
            name,
        )


async def test_pages_lead_through_all_once(database_url: str) -> None:
    """By their ids, whatever these hold; a cursor of another list is refused."""
    names = sorted(["a", "b c", "=", "é", "x" * 255, "💌"])
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        await _configured(sql, *names)
        for name in names:
            await client.identify(name)
        for ask, key in ((client.list_recipients, "recipient_id"), (client.list_tenants, "tenant_id")):
            seen, cursor = list[str](), None
            for _ in range(len(names)):
                page: Any = await ask(cursor=cursor, limit=1)
                seen += [getattr(one, key) for one in page]
                cursor = page.cursor
            assert cursor is None
            assert sorted(seen) == names
        runs = await client.list_runs(limit=1)
        assert runs.cursor is None
        for wrong in ("x", "MjAyNg", "", "AD0"):
            with pytest.raises(InvalidInput):
                await client.list_recipients(cursor=wrong)


async def test_a_tenant_never_configured_has_nothing(database_url: str) -> None:
    """It is no error; one that was has what was written, days as dates."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        assert await client.get_tenant(tenant="org") == TenantView("org")
        await _configured(sql, "org")
        found = await client.get_tenant(tenant="org")
        assert (found.timezone, found.holidays) == ("Asia/Tokyo", (date(2026, 12, 25),))


async def test_the_command_line_shows_them(database_url: str) -> None:
    """For people and for programs; a list of people has no addresses; nobody is exit code 3."""
    at = ("--database-url", database_url)
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        await client.identify("ada", email="ada@example.org", timezone="Europe/London", data={"n": "Ü"})
        await _configured(sql, "org")
    told = await inside("recipients", "show", "ada", *at)
    assert told.out.splitlines()[:-1] == [
        "ada of default",
        "  email: ada@example.org",
        "  timezone: Europe/London",
        '  data: {"n": "Ü"}',
    ]
    as_json = (await inside("recipients", "show", "ada", "--json", *at)).json
    assert (as_json["addresses"], as_json["locale"]) == ({"email": "ada@example.org"}, None)
    listed = await inside("recipients", "list", *at)
    assert listed.out.splitlines()[1].split()[:3] == ["ada", "email", "Europe/London"]
    assert (await inside("recipients", "list", "--json", *at)).json["recipients"] == [as_json]
    nobody = await inside("recipients", "show", "eve", *at)
    assert (nobody.code, nobody.out) == (3, "")
    assert nobody.err.startswith("error[recipient_not_found]: ")
    shown, never = await asyncio.gather(
        inside("tenants", "show", "org", *at), inside("tenants", "show", "x", *at)
    )
    assert "  holidays: 2026-12-25" in shown.out.splitlines()
    assert never.out.splitlines()[-1] == "  never configured"
    assert (await inside("tenants", "list", "--json", *at)).json["tenants"][0]["holidays"] == ["2026-12-25"]
