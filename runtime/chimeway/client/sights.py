"""Inboxes that somebody looks on: what is known of each, who waits for what. No I/O."""

import asyncio
from typing import Literal, TypeAlias

from chimeway.store.inbox import State

Mode: TypeAlias = Literal["hinted", "polling"]


class Sight:
    """One inbox that somebody looks on: its last known state, and what is asked about it.

    `asked` counts questions and `answered` says up to which of them the state holds: who comes waits for an
    answer to a question of their own, however old the state is that others know. `changed` counts changes.
    """

    __slots__ = ("answered", "asked", "changed", "digest", "inbox", "lookers", "state", "told")

    def __init__(self, inbox: tuple[str, str]) -> None:
        """Begin with nothing known of an inbox (tenant, recipient)."""
        self.inbox = inbox
        self.digest: str | None = None
        self.state: State | None = None
        self.asked = self.answered = self.changed = 0
        self.told = False
        self.lookers: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Have all who look on look again."""
        for looker in self.lookers:
            looker.set()

    def learn(self, state: State, asked: int, *, told: bool) -> None:
        """Take the answer to a question; what the database called about is a change, even if equal."""
        changed, waited = told or state != self.state, self.answered < asked
        self.answered = max(self.answered, asked)
        self.state = state
        self.changed += changed
        if changed or waited:
            self.wake()


class Stage:
    """What a watch and those who look on share: what is asked, who is new to the watch, who has left it."""

    def __init__(self) -> None:
        """Begin with nobody looking on."""
        self.sights: dict[tuple[str, str], Sight] = {}
        self.asked: set[Sight] = set()
        self.new: set[Sight] = set()
        self.left: set[Sight] = set()
        self.work = asyncio.Event()
        self.mode: Mode = "polling"
        self.closed = False
        self.fault: BaseException | None = None

    def join(self, inbox: tuple[str, str], looker: asyncio.Event) -> Sight:
        """Have somebody look on an inbox."""
        sight = self.sights.get(inbox)
        if sight is None:
            sight = self.sights[inbox] = Sight(inbox)
            self.new.add(sight)
        sight.lookers.add(looker)
        self.ask(sight)
        return sight

    def leave(self, sight: Sight, looker: asyncio.Event) -> None:
        """Have somebody look on no longer; after the last one the inbox is soon watched no more."""
        sight.lookers.discard(looker)
        if not sight.lookers:
            self.left.add(sight)
            self.work.set()

    def forget(self) -> list[str]:
        """Forget inboxes on which nobody looks any more (some may be back); return their digests."""
        gone = [sight for sight in self.left if not sight.lookers]
        self.left.clear()
        for sight in gone:
            self.sights.pop(sight.inbox, None)
            self.asked.discard(sight)
            self.new.discard(sight)
        return [sight.digest for sight in gone if sight.digest is not None]

    def ask(self, sight: Sight, *, told: bool = False) -> None:
        """Have an inbox read."""
        sight.asked += 1
        sight.told |= told
        self.asked.add(sight)
        self.work.set()

    def end(self, fault: BaseException | None) -> None:
        """Let nobody look on any more."""
        self.closed, self.fault = True, fault
        for sight in self.sights.values():
            sight.wake()
