"""What happened in a scenario, told so that two plays of one seed compare; and where chance comes from."""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from chimeway.store import ids
from chimeway.testing.simulation.scheduler import Draw

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Played:
    """How a scenario went."""

    seed: int
    digest: str
    """Of the whole history: its steps in order, and what each left in the rows."""
    problems: Sequence[str]
    history: Sequence[str]


@dataclass(slots=True)
class History:
    """What happened, in words in which nothing is of chance or of a real clock."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    hash: Any = field(default_factory=hashlib.sha256)

    def note(self, text: str) -> None:
        """Note a step."""
        line = self.named(text)
        self.lines.append(line)
        self.hash.update(line.encode())

    def note_rows(self, text: str) -> None:
        """Note what the rows are now."""
        self.hash.update(self.named(text).encode())

    def named(self, text: str) -> str:
        """Return a text in which each id is named by the order in which it was first met."""
        return _UUID.sub(lambda found: self.names.setdefault(found[0], f"id{len(self.names)}"), text)

    def played(self, seed: int, problems: Sequence[str]) -> Played:
        """Return how it went."""
        return Played(seed, self.hash.hexdigest(), tuple(problems), tuple(self.lines))


@contextmanager
def chance_of(seed: int) -> Iterator[None]:
    """Have all chance of the product come from the seed: jitter, and what ids are made of."""
    state, chance = random.getstate(), ids.chance
    random.seed(seed)
    ids.chance = Draw(seed).bytes
    try:
        yield
    finally:
        random.setstate(state)
        ids.chance = chance
