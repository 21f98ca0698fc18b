"""Roles to log in with: one for each of ours, and one that may only CREATE."""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import asyncpg

from chimeway.store import roles
from kit.bare import run

PARTS = tuple(role.removeprefix("chimeway_") for role in roles.ROLES)


def as_role(url: str, role: str) -> str:
    """Return `url` for another role to log in."""
    scheme, _, rest = url.partition("://")
    _, at, place = rest.partition("@")
    assert at, "the tests' URL names a user"
    return f"{scheme}://{quote(role)}@{place}"


@contextmanager
def logins(server_url: str) -> Iterator[Mapping[str, str]]:
    """Make our roles, and a login for each (and `plain`, with no right at all) while the block lasts."""
    mark = uuid.uuid4().hex[:8]
    names = {part: f"cw_{part}_{mark}" for part in (*PARTS, "plain")}
    made = "".join(
        f"create role {name} login{'' if part == 'plain' else f' in role chimeway_{part}'};"
        for part, name in names.items()
    )
    asyncio.run(run(server_url, roles.script().rpartition("select")[0] + made))
    try:
        yield names
    finally:
        asyncio.run(run(server_url, "".join(f"drop role {name};" for name in names.values())))


async def connected(url: str, role: str) -> "asyncpg.Connection[object]":
    """Connect as a role."""
    return await asyncpg.connect(as_role(url, role))
