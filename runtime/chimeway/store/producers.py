"""Logins that may act for some tenants alone: whom `chimeway db producer` binds, and to what.

The functions that producers call look at who logged in (`refuse_producer` in schema.sql). Here is only who
writes down what they look at: the schema's owner. A login that loses its last tenant stays bound, to none;
to be free again it must be said so, for then it may act for all.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chimeway.errors import ChimewayError, InvalidInput
from chimeway.limits import MAX_LISTED_PRODUCERS, MAX_PRODUCER_TENANTS
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words


class RoleNotFound(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """The cluster has no such role, or it is not bound to any tenant."""

    code = "role_not_found"


@dataclass(frozen=True, slots=True)
class Producer:
    """A login that is bound, and by whom it was last changed."""

    role: str
    tenants: tuple[str, ...]
    """None of them: it acts for nobody."""
    changed_at: datetime
    changed_by: str
    known: bool = True
    """Whether the cluster has a role of this name (another may have been made, or this one renamed)."""
    may_call: bool = True
    """Whether it may call what producers call at all: whether it is in `chimeway_producer`."""


async def bind(database: Database, role: str, tenants: Collection[str]) -> Producer:
    """Let a login act for these tenants, beside those that it is bound to, and for no other.

    Raises:
        RoleNotFound: the cluster has no such role.
        InvalidInput: it is an owner's or a node's, whom nothing binds; or there are too many tenants.
        NotPermitted: only the schema's owner may.
    """
    with in_our_words():
        login = await database.fetchrow("find_login", role)
        if login is None:
            hint = f"make it first: create role {role} login in role chimeway_producer"
            raise RoleNotFound(f'no role is called "{role}"; {hint}', hint=hint)
        if login["is_owner"] or login["is_node"]:
            what = "the schema's owner, or a superuser" if login["is_owner"] else "a node's"
            hint = "give the producer a login of its own, in chimeway_producer alone"
            raise InvalidInput(f'"{role}" is {what}: it writes the tables themselves; {hint}', field="name")
        if not login["logs_in"]:
            hint = "bind the roles that log in: what counts is who logged in, and not what that one is in"
            raise InvalidInput(f'"{role}" is a group, and never logs in; {hint}', field="name")
        if len(set(tenants)) > MAX_PRODUCER_TENANTS:
            hint = f"at most {MAX_PRODUCER_TENANTS} at a time: whoever serves many more is trusted with all"
            raise InvalidInput(f"tenant: {len(set(tenants))} are named; {hint}", field="tenant")
        row = await database.fetchrow("bind_producer", role, sorted(set(tenants)))
    assert row is not None, "it returns one row"
    return _producer(row)


async def narrow(database: Database, role: str, tenants: Collection[str] | None) -> Producer:
    """Take tenants from a login; None: all of them. It stays bound.

    Raises:
        RoleNotFound: it is not bound.
        NotPermitted: only the schema's owner may.
    """
    wanted = None if tenants is None else list(tenants)
    return await _of_bound(database, "narrow_producer", role, wanted)


async def free(database: Database, role: str) -> Producer:
    """Let a login act for every tenant again, and return what it was bound to.

    Raises:
        RoleNotFound: it is not bound.
        NotPermitted: only the schema's owner may.
    """
    return await _of_bound(database, "free_producer", role)


async def listed(database: Database) -> list[Producer]:
    """Return the logins that are bound, by name."""
    with in_our_words():
        rows = await database.fetch("list_producers", MAX_LISTED_PRODUCERS)
    return [_producer(row, known=row["known"], may_call=row["may_call"]) for row in rows]


async def _of_bound(database: Database, statement: str, role: str, *args: Any) -> Producer:
    with in_our_words():
        row = await database.fetchrow(statement, role, *args)
    if row is None:
        hint = "chimeway db producer --list shows who is"
        raise RoleNotFound(f'"{role}" is bound to no tenants, and may act for all; {hint}', hint=hint)
    return _producer(row)


def _producer(row: Any, **more: bool) -> Producer:
    return Producer(row["role_name"], tuple(row["tenant_ids"]), row["changed_at"], row["changed_by"], **more)
