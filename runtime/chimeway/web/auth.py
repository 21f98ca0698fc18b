"""Who asks: from the secret of an API token to what it opens.

A token that was revoked opens nothing after five seconds, on any node; one that expired, nothing at once.
That it was used is noted once its bearer has his answer: whether that can be written is none of his concern.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from chimeway.clock import Clock
from chimeway.log import Events
from chimeway.store import tokens
from chimeway.store.pool import Database
from chimeway.store.tokens import FoundToken, Scope

__all__ = ["Principal", "Scope", "Tokens"]
_log = Events()
_NOTING_S: Final = 5.0
_REMEMBERED_S: Final = 5.0
_REMEMBERED: Final = 1_024
_AT_ONCE: Final = 2
"""Questions to the database at once, whoever sends secrets by the thousand."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, by a token: for one tenant, or for all where `tenant` is None."""

    token_id: UUID
    name: str
    tenant: str | None
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Say whether it may do what needs this scope; who operates may read."""
        return scope in self.scopes or (scope == "read" and "operate" in self.scopes)

    def opens(self, tenant: str) -> bool:
        """Say whether it may see and touch what is of a tenant."""
        return self.tenant is None or self.tenant == tenant


class _Answer(NamedTuple):
    at: float
    found: FoundToken | None


class Tokens:
    """Finds who asks, and remembers answers for a few seconds; by digests, so that no secret is kept."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take where tokens are, and the time by which they expire."""
        self._database = database
        self._clock = clock
        self._known: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._used: dict[UUID, date] = {}

    async def of(self, secret: str) -> Principal | None:
        """Return whose secret this is; None: nobody's, or it has expired or was revoked.

        Raises:
            DatabaseUnavailable: that cannot be asked now.
            SchemaMismatch: there is no schema that fits.
        """
        if not tokens.may_be_secret(secret):
            return None
        digest = tokens.digest_of(secret)
        answer = self._remembered(digest)
        if answer is None:
            async with self._asking:
                answer = self._remembered(digest) or await self._ask(secret, digest)
        found = answer.found
        if found is None or not found.holds(self._clock.now()):
            return None
        return Principal(found.id, found.name, found.tenant_id, found.scopes)

    async def note_use(self) -> None:
        """Write down the day on which tokens were used, once they were answered; if not now, another time."""
        while self._used:
            token_id, day = self._used.popitem()
            try:
                async with asyncio.timeout(_NOTING_S):
                    await tokens.mark_used(self._database, token_id, day)
            except Exception as error:  # noqa: BLE001  (the boundary: he was answered, and is none the worse)
                _log.warning(
                    "http.use_not_noted", token_id=str(token_id), reason=str(error) or type(error).__name__
                )
                return

    def _remembered(self, digest: bytes) -> _Answer | None:
        answer = self._known.get(digest)
        if answer is None or self._clock.monotonic() - answer.at >= _REMEMBERED_S:
            return None
        self._known.move_to_end(digest)
        return answer

    async def _ask(self, secret: str, digest: bytes) -> _Answer:
        at = self._clock.monotonic()
        found = await tokens.find(self._database, secret)
        now = self._clock.now()
        if found is not None and found.holds(now) and found.last_used_on != now.date():
            self._used[found.id] = now.date()
        self._known[digest] = answer = _Answer(at, found)
        self._known.move_to_end(digest)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return answer
