"""The registry of definitions: register, look up, list, fix a version, pause."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chimeway.errors import NotPermitted, UnknownWorkflow
from chimeway.store import statements
from chimeway.store.call import Call, one
from chimeway.store.callers import run
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL
from chimeway.store.words import in_our_words
from chimeway.workflow.definition import Definition
from chimeway.workflow.encode import digest, encode


class MayNotRegister(NotPermitted):
    """This role may not register workflows: that is a deploy step."""

    code = "may_not_register"


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered definition; `current` says whether a trigger by key starts this version."""

    key: str
    version: int
    digest: str
    activated: bool
    current: bool
    paused_at: datetime | None
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored definition as it stands, understood or not; and the JSON Schema of its data, if known."""

    key: str
    version: int
    digest: str
    """Empty where it was not asked for."""
    raw: Any
    data_schema: Mapping[str, Any] | None = None
    required: tuple[str, ...] = ()
    """Names of the data that it refers to; empty where they were not asked for."""


async def register(
    database: Database, definition: Definition, data_schema: Mapping[str, Any] | None = None
) -> bool:
    """Register a definition, committed on a connection of its own; with the JSON Schema of its data.

    Returns:
        Whether it was new; the same content again does nothing.

    Raises:
        WorkflowDefinitionVersionConflict: the version is registered with another content.
        MayNotRegister: the role lacks the right.
    """
    with or_may_not():
        return await run(database, registration(definition, data_schema))


async def register_all(
    database: Database, wanted: Sequence[Definition], connection: Connection
) -> list[bool]:
    """Register definitions in the caller's transaction; say of each whether it was new.

    Raises:
        WorkflowDefinitionVersionConflict: a version is registered with another content.
        MayNotRegister: the role lacks the right.
    """
    in_order = sorted(range(len(wanted)), key=lambda place: (wanted[place].key, wanted[place].version))
    new = [False] * len(wanted)
    with or_may_not():
        for place in in_order:  # one order for all: two deploys at once wait, and do not deadlock
            new[place] = await run(database, registration(wanted[place]), connection)
    return new


def registration(definition: Definition, data_schema: Mapping[str, Any] | None = None) -> Call[bool]:
    """Ask for the registration of a definition; the answer says whether it was new."""
    statement = statements.register(encode(definition), digest(definition), data_schema)
    return one(statement, lambda rows: bool(rows[0]["registered"]))


@contextmanager
def or_may_not() -> Iterator[None]:
    """Say of registrations that the role lacks the right to them, where it does."""
    try:
        yield
    except NotPermitted as refused:
        raise MayNotRegister(hint=refused.details["hint"]) from refused


async def fetch_definition(database: Database, key: str, version: int | None = None) -> Stored:
    """Return the stored JSON of a definition and its digest; without version, of the current one.

    Raises:
        UnknownWorkflow: it is not registered.
    """
    with in_our_words():
        row = await database.fetchrow("find_definition", key, version)
    if row is None:
        raise _unknown(key, version)
    return Stored(row["key"], row["version"], row["digest"], row["definition"], row["data_schema"])


async def list_definitions(database: Database) -> list[Registered]:
    """Return what is registered, by key, the newest version first."""
    with in_our_words():
        rows = await database.fetch("list_definitions")
    return [
        Registered(
            key=row["key"],
            version=row["version"],
            digest=row["digest"],
            activated=row["activated"],
            current=row["is_current"],
            paused_at=row["paused_at"],
            registered_at=row["registered_at"],
        )
        for row in rows
    ]


async def current_definitions(database: Database, after: str, limit: int) -> list[Stored]:
    """Return a page of the current versions (those that triggers by key start), by key."""
    with in_our_words():
        rows = await database.fetch("current_definitions", after, limit)
    return [_stored(row) for row in rows]


async def definitions_with_live_runs(database: Database) -> list[Stored]:
    """Return the versions that live runs are pinned to; looks at all live runs."""
    with in_our_words():
        rows = await database.fetch("definitions_with_live_runs")
    return [_stored(row) for row in rows]


def _stored(row: Any) -> Stored:
    required = tuple(row["required_data"])
    return Stored(row["key"], row["version"], "", row["definition"], row["data_schema"], required)


async def activate(connection: Connection, key: str, version: int | None) -> None:
    """Fix, in the caller's transaction, the version that triggers by key start; None: the highest one again.

    Raises:
        UnknownWorkflow: it is not registered.
    """
    versions = [row["version"] for row in await connection.fetch(SQL["lock_versions"], key)]
    if not versions or (version is not None and version not in versions):
        raise _unknown(key, version)
    await connection.execute(SQL["deactivate_versions"], key)
    if version is not None:
        await connection.execute(SQL["activate_version"], key, version)


def _unknown(key: str, version: int | None) -> UnknownWorkflow:
    which = "" if version is None else f" version {version}"
    return UnknownWorkflow(
        f'workflow "{key}"{which} is not registered',
        hint="chimeway workflow list shows the registered ones",
        workflow=key,
        version=version,
    )
