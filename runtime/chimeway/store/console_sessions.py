"""Who has signed in to the operators' pages: sessions that any node knows, and that end with their token.

A session is a row, not a signed text: so a load balancer may send each request elsewhere, signing out ends it
everywhere, and a revoked or expired token ends it at the next request. Of the cookie's secret only a digest
is kept: who reads the table cannot sign in.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from chimeway.limits import CONSOLE_SESSION_S
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose a session is: a token's id, name, tenant (None: all) and scopes, as they are now."""

    token_id: UUID
    name: str
    tenant: str | None
    scopes: frozenset[str]

    @property
    def operates(self) -> bool:
        """Whether it may do something, and not only look."""
        return "operate" in self.scopes


async def begin(database: Database, secret: str, token_id: UUID) -> None:
    """Write down that who bears this secret is signed in, for a shift at the most."""
    with in_our_words():
        await database.fetch("console_begin_session", _digest(secret), token_id, float(CONSOLE_SESSION_S))


async def find(database: Database, secret: str) -> SignedIn | None:
    """Return whose session this is; None when it has ended, or its token has."""
    with in_our_words():
        row = await database.fetchrow("console_session", _digest(secret))
    if row is None:
        return None
    return SignedIn(row["id"], row["name"], row["tenant_id"], frozenset(row["scopes"]))


async def end(database: Database, secret: str) -> None:
    """End a session, on all nodes."""
    with in_our_words():
        await database.fetch("console_end_session", _digest(secret))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
