"""Requests that may be sent again: each is done once, and its answer is kept in the same transaction.

There is no row that says "in progress", which a crash would leave behind for ever: a key is held by a lock
of the transaction, which is gone with it. So whoever sends the request again finds one of three: another
is at it (the lock is taken), it was done (the row is there, and committed with what it did), or nothing of it
was. That holds through the end of a process, on whichever node, and through a commit whose answer was lost.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from chimeway.store import acting
from chimeway.store.pool import Connection, Database
from chimeway.store.queries import SQL


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered; `about` are the recipients whom request or answer name."""

    status: int
    text: str
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """Under which key of whom a request was sent, and what it was: the digest of all that matters in it."""

    token_id: UUID
    tenant: str
    key: str
    fingerprint: bytes

    def digest(self) -> bytes:
        """Return what is kept of tenant and key, which may name somebody."""
        return hashlib.sha256(f"{len(self.tenant)} {self.tenant}{self.key}".encode()).digest()

    def lock(self) -> int:
        """Return the number of the lock that whoever is at it holds."""
        return int.from_bytes(hashlib.sha256(self.token_id.bytes + self.digest()).digest()[:8], signed=True)


Refusal: TypeAlias = Literal["in_progress", "other_request", "forgotten"]
"""Another is at it; the key was used for another request; it was done, and what was said is forgotten."""
Act: TypeAlias = Callable[[Connection], Awaitable[Reply]]
"""Does what a request asks, on a connection whose transaction is whoever calls its."""


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, and whether it is one of before."""

    reply: Reply
    replayed: bool = False


async def once(database: Database, act: Act, key: Key | None) -> Done | Refusal:
    """Do something in a transaction of its own: with a key, once.

    Args:
        database: where.
        act: is called again where the database took the whole transaction back.
        key: without one it is done each time.

    Raises:
        DatabaseUnavailable: it may have been done, or not: ask again, with the same key.
        ChimewayError: what `act` raised; nothing was done.
    """
    return await acting.alone(database, lambda connection: _once(connection, act, key))


async def _once(connection: Connection, act: Act, key: Key | None) -> Done | Refusal:
    if key is None:
        return Done(await act(connection))
    if not await connection.fetchval(SQL["lock_answer"], key.lock()):
        return "in_progress"
    row = await connection.fetchrow(SQL["find_answer"], key.token_id, key.digest())
    if row is not None:
        if row["fingerprint"] is None:
            return "forgotten"
        if row["fingerprint"] != key.fingerprint:
            return "other_request"
        return Done(Reply(row["status"], row["answer"]), replayed=True)
    reply = await act(connection)
    await connection.execute(
        SQL["keep_answer"], key.token_id, key.digest(), key.tenant, key.fingerprint, reply.status, reply.text,
        list(reply.about),
    )  # fmt: skip
    return Done(reply)
