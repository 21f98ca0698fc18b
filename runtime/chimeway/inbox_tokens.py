"""The signed word by which a front end looks on the inbox of one recipient, for a short while. Pure.

A JSON Web Token, signed by HS256 and by nothing else: whatever its head says, it is checked as that, with
keys of ours. Its claims are `aud`, `sub` (the recipient), `tenant_id`, `iat`, `exp`, and `data` where items
come with the data of their trigger. It lasts an hour at most: one that says more is none, whoever signed it.

Several keys may hold at once: the first signs, all are believed. To change keys put the new one first, and
take the old one away an hour later; one that leaked, at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chimeway.errors import InvalidInput
from chimeway.extras import imported
from chimeway.limits import MAX_IDENTIFIER_CHARS, MAX_INBOX_TOKEN_CHARS, MAX_INBOX_TOKEN_S

AUDIENCE: Final = "chimeway:inbox"
LASTS: Final = timedelta(minutes=15)
_LONGEST: Final = timedelta(seconds=MAX_INBOX_TOKEN_S)
_AHEAD: Final = timedelta(seconds=30)
"""How far ahead of ours the clock of who signs may be."""
_ALGORITHM: Final = "HS256"
_SHORTEST_KEY: Final = 32
_FORM: Final = re.compile(
    rf"(?=.{{1,{MAX_INBOX_TOKEN_CHARS}}}\Z)[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z"
)
_CLAIMS: Final = ("aud", "sub", "tenant_id", "iat", "exp")


@dataclass(frozen=True, slots=True)
class InboxBearer:
    """Whose inbox a token opens, until when, and whether its items come with their triggers' data."""

    tenant: str
    recipient: str
    expires_at: datetime
    with_data: bool = False


def minted(
    tenant: str,
    recipient: str,
    keys: Sequence[bytes],
    *,
    now: datetime,
    lasts: timedelta = LASTS,
    with_data: bool = False,
) -> tuple[str, datetime]:
    """Return a token, signed by the first of the keys, and when it expires.

    Raises:
        InvalidInput: there is no key, or it would last longer than an hour.
        MissingExtra: the packages of `web` are not installed.
    """
    if not keys:
        hint = "set CHIMEWAY_INBOX_KEYS"
        raise InvalidInput(f"nothing signs inbox tokens: {hint}", field="keys", hint=hint)
    if any(len(key) < _SHORTEST_KEY for key in keys):
        hint = f"give a list of keys, each of {_SHORTEST_KEY} characters or more: openssl rand -base64 32"
        raise InvalidInput(f"a key can be guessed: {hint}", field="keys", hint=hint)
    if not timedelta(seconds=1) <= lasts <= _LONGEST:
        hint = f"give 1 to {MAX_INBOX_TOKEN_S} seconds"
        raise InvalidInput(f"a token cannot last {lasts}: {hint}", field="lasts", hint=hint)
    with imported("web"):
        import jwt  # noqa: PLC0415  (only who signs needs it)
    begins = int(now.timestamp())
    ends = begins + int(lasts.total_seconds())
    claims: dict[str, Any] = {
        "aud": AUDIENCE, "sub": recipient, "tenant_id": tenant, "iat": begins, "exp": ends,
    }  # fmt: skip
    if with_data:
        claims["data"] = True
    token = jwt.encode(claims, keys[0], algorithm=_ALGORITHM)
    if len(token) > MAX_INBOX_TOKEN_CHARS:
        raise InvalidInput("tenant and recipient are too long for a token", field="recipient")
    return token, datetime.fromtimestamp(ends, UTC)


def looks_like_one(text: str) -> bool:
    """Say whether a text may be a token at all."""
    return _FORM.match(text) is not None


def read(token: str, keys: Sequence[bytes], now: datetime) -> InboxBearer | None:
    """Return what a token opens now; None: nothing. Why is not said: whoever has none asks for a new one."""
    if not looks_like_one(token):
        return None
    import jwt  # noqa: PLC0415  (only who checks needs it)

    for key in keys:
        try:
            claims = jwt.decode(
                token, key, algorithms=[_ALGORITHM], audience=AUDIENCE,
                options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
        return _bearer(claims, now)
    return None


def _bearer(claims: Any, now: datetime) -> InboxBearer | None:
    """Return whose token it is that we signed, if it is one that we sign, and its time is now."""
    tenant, recipient, begins, ends = (claims[name] for name in ("tenant_id", "sub", "iat", "exp"))
    if claims["aud"] != AUDIENCE or not all(
        isinstance(one, str) and 0 < len(one) <= MAX_IDENTIFIER_CHARS for one in (tenant, recipient)
    ):
        return None
    if not all(type(one) is int and 0 < one < 2**40 for one in (begins, ends)):
        return None
    since, until = datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(ends, UTC)
    if not since - _AHEAD <= now < until or not timedelta(0) < until - since <= _LONGEST:
        return None
    return InboxBearer(tenant, recipient, until, claims.get("data") is True)
