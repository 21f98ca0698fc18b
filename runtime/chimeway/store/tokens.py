"""API tokens: making them, finding who asks, ending them.

A token is `cw_` and 256 bits of chance. The database keeps its SHA-256 and no more: nobody guesses what is
chance, so there is nothing to salt and nothing to slow down, and whoever reads the table can ask nothing.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from chimeway.errors import ChimewayError, InvalidInput
from chimeway.limits import MAX_LISTED_TOKENS, MAX_TOKEN_NAME_CHARS
from chimeway.store.pool import Database
from chimeway.store.words import in_our_words
from chimeway.workflow.soundness import string_fault

Scope: TypeAlias = Literal["produce", "read", "operate"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
PREFIX: Final = "cw_"
"""By which people, and programs that look for leaked secrets, know a token."""
_SECRET: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)


class TokenNotFound(ChimewayError):  # noqa: N818  (the code is the name, as in the docs)
    """No API token has this id."""

    code = "token_not_found"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as it is listed; its secret is nowhere. `tenant_id` None: it is for all tenants."""

    id: UUID
    name: str
    tenant_id: str | None
    scopes: tuple[Scope, ...]
    made_at: datetime
    made_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_on: date | None
    state: Literal["valid", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token by its secret, as one is judged by it."""

    id: UUID
    name: str
    tenant_id: str | None
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked: bool
    last_used_on: date | None

    def holds(self, now: datetime) -> bool:
        """Say whether it opens anything at this instant."""
        return not self.revoked and (self.expires_at is None or now < self.expires_at)


def may_be_secret(text: str) -> bool:
    """Say whether a text looks like a token at all; what does not is not asked for."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


async def make(
    database: Database, name: str, tenant: str | None, scopes: Iterable[str], lasts: timedelta | None
) -> tuple[ApiToken, str]:
    """Make a token, and return it with its secret, which nobody can be told again.

    Args:
        database: where; its role must be the schema's owner.
        name: for people, in lists and in what is audited.
        tenant: the only one that it opens; None: all of them.
        scopes: what it may do.
        lasts: until it expires; None: it does not.

    Raises:
        InvalidInput: the name or a scope is none.
        NotPermitted: only the schema's owner makes tokens.
    """
    wanted = _checked_scopes(scopes)
    secret = PREFIX + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode("ascii")
    with in_our_words():
        async with database.acquire() as connection:
            now = await connection.fetchval("select chimeway.clock()")
        row = await database.fetchrow(
            "make_api_token", _checked_name(name), digest_of(secret), tenant, wanted,
            None if lasts is None else now + lasts,
        )  # fmt: skip
    assert row is not None, "it returns one row"
    return _listed(row), secret


async def find(database: Database, secret: str) -> FoundToken | None:
    """Return the token of a secret, whether it still holds or not; None: there is none."""
    digest = digest_of(secret)
    with in_our_words():
        row = await database.fetchrow("find_api_token", digest)
    if row is None or not hmac.compare_digest(row["secret_digest"], digest):
        return None
    return FoundToken(
        row["id"], row["name"], row["tenant_id"], frozenset(row["scopes"]), row["expires_at"],
        row["revoked_at"] is not None, row["last_used_on"],
    )  # fmt: skip


async def mark_used(database: Database, token_id: UUID, day: date) -> None:
    """Note the day on which a token was used."""
    with in_our_words():
        await database.fetch("mark_api_token_used", token_id, day)


async def listed(database: Database) -> list[ApiToken]:
    """Return the tokens that there are, the newest first."""
    with in_our_words():
        rows = await database.fetch("list_api_tokens", MAX_LISTED_TOKENS)
    return [_listed(row) for row in rows]


async def revoke(database: Database, token_id: UUID) -> bool:
    """End a token, and say whether it had not been ended before.

    Raises:
        TokenNotFound: there is none of this id.
        NotPermitted: this role may not.
    """
    with in_our_words():
        ended: bool | None = await database.fetchval("revoke_api_token", token_id)
    if ended is None:
        raise TokenNotFound(f"no token has the id {token_id}", hint="chimeway tokens list shows them")
    return ended


def _listed(row: Any) -> ApiToken:
    found = {name: row[name] for name in ApiToken.__dataclass_fields__ if name != "state"}
    found["scopes"] = tuple(row["scopes"])
    expired = row["expires_at"] is not None and row["expires_at"] <= row["now"]
    state: Literal["valid", "expired", "revoked"] = "expired" if expired else "valid"
    return ApiToken(**found, state="revoked" if row["revoked_at"] is not None else state)


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    given = set(scopes)
    wanted: list[str] = [scope for scope in SCOPES if scope in given]
    if not wanted or given.difference(SCOPES):
        told = ", ".join(sorted(given.difference(SCOPES))) or "none is given"
        hint = f"give one or more of {', '.join(SCOPES)}"
        raise InvalidInput(f"scopes: {told}; {hint}", field="scopes", hint=hint)
    return wanted


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= MAX_TOKEN_NAME_CHARS or not name.isprintable() or string_fault(name):
        hint = f"give 1 to {MAX_TOKEN_NAME_CHARS} printable characters"
        raise InvalidInput(f"name is not one: {hint}", field="name", hint=hint)
    return name
