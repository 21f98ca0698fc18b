"""Whether what a node has to do moves. Pure. (docs/design.md: "What a watchdog is fed by".)

Each part of a node that has something to do gives a sign: a value that is another one as soon as the part has
got anywhere. A part whose sign stays the same for as long as is allowed stands. While the database is in
trouble nobody is to blame, and all begin anew; so too when nobody looked for long, for then the whole process
stood, and its parts with it.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """What a part shows of how far it has got."""

    part: str
    moved: Hashable
    """Another value each time that it has got somewhere; None: it has nothing to do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A part that has something to do, and has got nowhere for so long."""

    part: str
    seconds: float


class Headway:
    """Fed with the signs of all parts, now and then."""

    def __init__(self, *, patience_s: float, gap_s: float) -> None:
        """Take how long a part may get nowhere, and after how long a pause between looks nothing is known."""
        self._patience_s = patience_s
        self._gap_s = gap_s
        self._looked_at = float("-inf")
        self._seen: dict[str, tuple[Hashable, float]] = {}

    def note(self, signs: Iterable[Sign], now: float, *, excused: bool) -> Standing | None:
        """Take the signs of this moment; return the part that has stood for longest, if any has for too long.

        Args:
            signs: one for each part.
            now: seconds, never back.
            excused: something outside of the node keeps it from its work.
        """
        if excused or now - self._looked_at > self._gap_s:
            self._seen.clear()
        self._looked_at = now
        self._seen = {
            sign.part: before
            if (before := self._seen.get(sign.part)) is not None and before[0] == sign.moved
            else (sign.moved, now)
            for sign in signs
            if sign.moved is not None and not excused
        }
        since, part = min(((since, part) for part, (_, since) in self._seen.items()), default=(now, ""))
        return Standing(part, now - since) if now - since >= self._patience_s else None
