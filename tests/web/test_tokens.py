"""API tokens: made once, found by their secret, and worth nothing once they are revoked or have expired."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from chimeway.clock import ManualClock
from chimeway.errors import InvalidInput, NotPermitted
from chimeway.store import tokens
from chimeway.store.pool import Database, open_database
from chimeway.web.auth import Principal, Tokens
from kit.bare import run
from kit.command import inside
from kit.logins import as_role, logins
from kit.rows import rows_of

HOUR = timedelta(hours=1)


def _clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


async def test_a_secret_is_kept_nowhere(database: Database) -> None:
    """The row has its digest; who has the secret is who the row says."""
    made, secret = await tokens.make(database, "shop", "org_456", ["read", "produce"], HOUR)
    assert (made.scopes, made.tenant_id, made.state) == (("produce", "read"), "org_456", "valid")
    async with database.acquire() as connection:
        text = await connection.fetchval("select t::text from chimeway.api_tokens t")
    assert secret not in text
    assert secret.removeprefix("cw_") not in text
    found = await Tokens(database, _clock()).of(secret)
    assert found == Principal(made.id, "shop", "org_456", frozenset({"produce", "read"}))
    assert not found.may("operate")
    assert found.opens("org_456")
    assert not found.opens("default")


async def test_garbage_is_nobodys(database: Database) -> None:
    """What is no secret is not even looked for; what looks like one is nobody's."""
    _, secret = await tokens.make(database, "shop", None, ["operate"], None)
    asking = Tokens(database, _clock())
    twisted = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for text in ("", "cw_", "x" * 46, secret[3:], f"{secret}x", f" {secret}", twisted, f"{secret}\n"):
        assert await asking.of(text) is None, text
    everywhere = await asking.of(secret)
    assert everywhere is not None
    assert everywhere.tenant is None
    assert everywhere.may("read")
    assert everywhere.opens("whoever")
    assert not everywhere.may("produce")


async def test_the_end_of_a_token(database: Database) -> None:
    """One that expires is none at that very instant; one that is revoked, after five seconds."""
    clock = _clock()
    short, secret = await tokens.make(database, "short", "t", ["read"], HOUR)
    other, other_secret = await tokens.make(database, "other", "t", ["read"], None)
    asking = Tokens(database, clock)
    assert await asking.of(secret)
    assert await asking.of(other_secret)
    assert await tokens.revoke(database, other.id)
    assert not await tokens.revoke(database, other.id)
    clock.advance(timedelta(seconds=6))
    assert await asking.of(other_secret) is None
    assert await Tokens(database, clock).of(secret)
    assert short.expires_at is not None
    clock.advance(short.expires_at - clock.now())
    assert await asking.of(secret) is None
    assert {one.name: one.state for one in await tokens.listed(database)}["other"] == "revoked"


async def test_the_day_of_its_use_is_noted(database: Database) -> None:
    """Once a day, and not for one that is revoked."""
    clock = _clock()
    _, secret = await tokens.make(database, "shop", "t", ["read"], None)
    assert (await tokens.listed(database))[0].last_used_on is None
    asking = Tokens(database, clock)
    await asking.of(secret)
    await asking.note_use()
    assert (await tokens.listed(database))[0].last_used_on == clock.now().date()


async def test_whether_its_use_can_be_noted_is_none_of_its_concern(database: Database) -> None:
    """Who asks has his answer, be the database read-only or the row another's; it is noted another time."""
    clock = _clock()
    made, secret = await tokens.make(database, "shop", "t", ["read"], None)
    asking = Tokens(database, clock)
    async with database.acquire() as connection:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    async with open_database(database.url, size=2) as standby:
        asking = Tokens(standby, clock)
        assert await asking.of(secret)
        with capture_logs() as lines:
            await asking.note_use()
        assert [(line["event"], line["token_id"]) for line in lines] == [("http.use_not_noted", str(made.id))]
    assert (await tokens.listed(database))[0].last_used_on is None
    asking = Tokens(database, clock)
    async with database.acquire() as other, other.transaction():
        await other.execute("select 1 from chimeway.api_tokens for update")
        async with asyncio.timeout(2):
            assert await asking.of(secret)
    await asking.note_use()
    assert (await tokens.listed(database))[0].last_used_on == clock.now().date()


async def test_what_no_token_can_be(database: Database) -> None:
    """A scope that is none, no scope, a name that moves the cursor."""
    for name, scopes in (("x", ["admin"]), ("x", []), ("", ["read"]), ("a\x1b[2J", ["read"])):
        with pytest.raises(InvalidInput):
            await tokens.make(database, name, "t", scopes, None)
    assert await tokens.listed(database) == []


@pytest.fixture(scope="module")
def names(server_url: str) -> Iterator[Mapping[str, str]]:
    """A login for each role."""
    with logins(server_url) as made:
        yield made


async def test_only_the_owner_makes_them(database_url: str, names: Mapping[str, str]) -> None:
    """A node may look a token up, and note its use; an operator may revoke one; neither makes any."""
    await run(database_url, "select chimeway.grant_roles()")
    async with open_database(database_url, size=1) as owner:
        made, secret = await tokens.make(owner, "shop", "t", ["read"], None)
    async with open_database(as_role(database_url, names["daemon"]), size=1) as node:
        assert await Tokens(node, _clock()).of(secret)
        with pytest.raises(NotPermitted):
            await tokens.make(node, "mine", None, ["operate"], None)
    async with open_database(as_role(database_url, names["operator"]), size=1) as operator:
        with pytest.raises(NotPermitted):
            await tokens.make(operator, "mine", None, ["produce"], None)
        assert await tokens.revoke(operator, made.id)


async def test_the_commands(database_url: str) -> None:
    """Made, listed, revoked; the secret is on standard output, once, and alone there."""
    made = await inside(
        "tokens", "create", "shop", "--scope", "produce", "--expires", "P1D", url=database_url
    )
    secret = made.out.strip()
    assert made.code == 0, made.err
    assert secret.startswith("cw_")
    assert secret not in made.err
    everyone = await inside(
        "tokens", "create", "ops", "--all-tenants", "--scope", "operate", "--json", url=database_url
    )
    assert everyone.json["tenant_id"] is None
    listed = await inside("tokens", "list", "--json", url=database_url)
    assert [one["name"] for one in listed.json["tokens"]] == ["ops", "shop"]
    assert secret not in listed.out
    gone = await inside("tokens", "revoke", everyone.json["id"], url=database_url)
    assert "is revoked" in gone.out
    assert "revoked" in (await inside("tokens", "list", url=database_url)).out
    async with rows_of(database_url) as rows:
        assert await rows.value(
            "select revoked_by = session_user from chimeway.api_tokens where name = 'ops'"
        )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "x", "--scope", "all"), "scopes: all"),
        (("create", "x", "--scope", "read", "--tenant", "t", "--all-tenants"), "one of --tenant"),
        (("create", "x", "--scope", "read", "--expires", "P1M"), "like P90D"),
        (("revoke", "nothing"), "token"),
        (("revoke", "019b0a4e-52cd-7f3a-9d05-3f0e6a1f8c21"), "token_not_found"),
    ],
)
async def test_the_commands_refuse(words: tuple[str, ...], told: str, database_url: str) -> None:
    """With what would be right, and nothing is made."""
    answer = await inside("tokens", *words, url=database_url)
    assert answer.code in {2, 3}
    assert told in answer.err
