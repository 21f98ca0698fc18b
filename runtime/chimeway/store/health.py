"""How a node stands with its database: which calls do not get through now, since when, and why.

Every call that is made `persistently` is followed. One that fails and is made again, or is not answered for
long, is a trouble until it is through, or given up. From the first trouble to the end of the last one it is
one episode, and the log tells it as one, however many calls are in it:

- A lost connection, or no answer in time: `database.lost`, once, at the first; the node is not ready at once.
- An answer that says no (a full disk, a deadlock): `database.refused` for each code, at most every ten
  seconds; the node is not ready when it goes on for a second.
- No answer for five seconds (a server that stands still, a standby that commits wait for): `database.slow`,
  once; the node is not ready then.
- All calls are through again: `database.back`, unless the whole took less than a second and nothing was
  lost; the node is ready.

A node has its own `Health`, found by the tasks that it starts (a context variable: the batches of a ledger
do not know whose they are). Calls outside of any node share one that nobody asks.
"""

import asyncio
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from chimeway.log import Events
from chimeway.store.faults import Fault, hint_of, lost_by, sqlstate_of

_log = Events()
_SAID_AGAIN_S: Final = 10.0
_PASSES_S: Final = 1.0
"""A refusal that is gone sooner kept nobody from working: a deadlock that was resolved, a lock waited for."""
_SLOW_S: Final = 5.0

Kind: TypeAlias = Literal["lost", "refused", "slow"]
_WORST_FIRST: Final[tuple[Kind, ...]] = ("lost", "refused", "slow")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that does not get through."""

    kind: Kind
    operation: str
    since: float
    """By the loop's clock."""
    error: str
    code: str | None = None
    """The SQLSTATE, where the server said one."""


class Health:
    """The troubles of one node, or of whoever else has one."""

    def __init__(self) -> None:
        """Begin without any."""
        self._troubles: dict[object, Trouble] = {}
        self._since = 0.0
        self._told: set[Kind] = set()
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self.met_so_far: Counter[Kind] = Counter()
        """How many calls did not get through at first, by what they met."""

    def worst(self) -> Trouble | None:
        """Return what keeps the node from its work now: a lost connection first, then the oldest refusal."""
        now = asyncio.get_running_loop().time()
        found = [
            one for one in self._troubles.values() if one.kind != "refused" or now - one.since >= _PASSES_S
        ]
        return min(found, key=lambda one: (_WORST_FIRST.index(one.kind), one.since), default=None)

    def call(self, operation: str) -> "Call":
        """Follow a call, by the name that the log has for it."""
        return Call(self, operation)

    def met(self, call: object, trouble: Trouble) -> None:
        """A call does not get through, for this reason now."""
        if not self._troubles:
            self._since = trouble.since
            self._told.clear()
        self.met_so_far[trouble.kind] += 1
        self._troubles[call] = trouble
        if trouble.kind == "refused":
            self._say_refused(trouble)
        elif trouble.kind not in self._told:
            self._told.add(trouble.kind)
            if trouble.kind == "lost":
                _log.warning(
                    "database.lost", operation=trouble.operation, error=trouble.error, code=trouble.code
                )
            else:
                _log.warning("database.slow", operation=trouble.operation, seconds=_SLOW_S)

    def over(self, call: object, *, through: bool) -> None:
        """A call is made no more: it is `through`, or was given up."""
        if self._troubles.pop(call, None) is None or self._troubles:
            return
        seconds = asyncio.get_running_loop().time() - self._since
        if through and (self._told or seconds >= _PASSES_S):
            _log.info("database.back", seconds=round(seconds, 3))

    def _say_refused(self, trouble: Trouble) -> None:
        code, now = trouble.code or "", asyncio.get_running_loop().time()
        if code in self._said and now - self._said[code] < _SAID_AGAIN_S:
            self._unsaid[code] += 1
            return
        self._said[code] = now
        _log.warning(
            "database.refused", operation=trouble.operation, error=trouble.error, code=trouble.code,
            hint=hint_of(code), times=self._unsaid.pop(code, 0) + 1,
        )  # fmt: skip


class Call:
    """One call, from its first try to its end."""

    def __init__(self, health: Health, operation: str) -> None:
        """Take whose it is; nothing is tried yet."""
        self._health = health
        self._operation = operation
        self._since: float | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def begins(self) -> None:
        """It is tried now."""
        loop = asyncio.get_running_loop()
        if self._since is None:
            self._since = loop.time()
        self._alarm = loop.call_later(_SLOW_S, self._is_slow)

    def failed(self, error: BaseException, fault: Fault) -> None:
        """It failed, and will be tried again."""
        self._rest()
        kind: Kind = "lost" if fault == "connection" else "refused"
        self._met(kind, lost_by(error), sqlstate_of(error))

    def ends(self, *, through: bool) -> None:
        """It is tried no more."""
        self._rest()
        self._health.over(self, through=through)

    def _is_slow(self) -> None:
        self._met("slow", f"no answer within {_SLOW_S:g} s")

    def _met(self, kind: Kind, error: str, code: str | None = None) -> None:
        self._health.met(self, Trouble(kind, self._operation, self._since or 0.0, error, code))

    def _rest(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


_NOBODYS: Final = Health()
_health: ContextVar[Health] = ContextVar("chimeway_health", default=_NOBODYS)


def health() -> Health:
    """Return the health that calls made here count to."""
    return _health.get()


def own_health() -> Health:
    """Count what this task calls from now on, and the tasks that it starts, to a health of their own."""
    mine = Health()
    _health.set(mine)
    return mine
