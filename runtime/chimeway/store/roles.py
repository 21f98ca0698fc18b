"""The roles of the cluster: which there are, making them, and the text for who may.

What each may do is said once, in `chimeway.grant_roles()` of schema.sql. Roles belong to the cluster, so
several databases make them at the same time; grants belong to a database.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from chimeway.errors import ChimewayError, SchemaMismatch
from chimeway.store import migrating
from chimeway.store.pool import Connection, Database
from chimeway.store.words import in_our_words

ROLES: Final = {
    "chimeway_producer": "may trigger, signal, identify and cancel, and reads nothing",
    "chimeway_deployer": "may register workflows and fix versions",
    "chimeway_daemon": "may do what `chimeway serve` needs",
    "chimeway_reader": "may read everything, personal data too",
    "chimeway_operator": "may read everything, and cancel, hold, resume, pause and retry",
    "chimeway_inbox": "may read and mark in-app items",
}
"""Each role, and what it may."""

# Twice at once, or there already: both mean that it is there.
_MAKE: Final = """\
do $$ begin
    create role {role} nologin;
exception when duplicate_object or unique_violation then null;
end $$;"""
_GRANT: Final = "select chimeway.grant_roles();"
_KNOWN_FROM: Final = 2


class MayNotMakeRoles(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """This role may not make roles, or does not own the schema."""

    code = "may_not_make_roles"


@dataclass(frozen=True, slots=True)
class Made:
    """What there was to do: the roles made now, and all that are granted to."""

    made: tuple[str, ...]
    granted: tuple[str, ...]


def script() -> str:
    """Return the text that makes the roles and grants, for who has the right; safe to repeat."""
    made = "\n".join(_MAKE.format(role=role) for role in ROLES)
    who = "-- Chimeway's roles: for a role with CREATEROLE that owns the schema, or a superuser."
    return f"{who}\n{made}\n{_GRANT}\n"


async def present(database: Database) -> list[str]:
    """Return those of our roles that the cluster has."""
    async with database.acquire() as connection:
        return await _present(connection)


async def make(database: Database) -> Made:
    """Make the roles that are missing, and grant; safe to repeat, and in parallel.

    Raises:
        MayNotMakeRoles: the right is missing; its detail `sql` is what somebody else must run.
        SchemaMismatch: there is no schema, or one older than roles.
        DatabaseUnavailable: the connection was lost.
    """
    with in_our_words():
        async with database.acquire() as connection, migrating.alone(connection):
            version = await migrating.version_there(connection)
            if version is None or version < _KNOWN_FROM:
                verb = "init" if version is None else "migrate"
                hint = f"first: chimeway db {verb}"
                raise SchemaMismatch(f"the schema is missing, or has no roles yet; {hint}", hint=hint)
            try:
                return await _make(connection)
            except asyncpg.InsufficientPrivilegeError as error:
                hint = "let an owner of the schema with CREATEROLE run what `chimeway db roles --sql` prints"
                msg = f"this role may not ({error}); {hint}"
                raise MayNotMakeRoles(msg, hint=hint, sql=script()) from error


async def _make(connection: Connection) -> Made:
    there = await _present(connection)
    missing = [role for role in ROLES if role not in there]
    for role in missing:
        await connection.execute(_MAKE.format(role=role))
    granted = await migrating.while_locked(lambda: connection.fetchval(_GRANT), "granting")
    return Made(tuple(missing), tuple(granted))


async def _present(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "select r.rolname::text as name from pg_roles r where r.rolname = any($1::text[])", list(ROLES)
    )
    there = {row["name"] for row in rows}
    return [role for role in ROLES if role in there]
