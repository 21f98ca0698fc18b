"""A spot in a preferences document: a value, where it stands, and where faults go.

`workflow.place` does this for definitions, in their words. Here every sentence has a twin in
`chimeway.check_preferences`, which looks at the same spots in the same order: keys that nobody knows
first, then the known ones as the documents list them, names from A to Z. So the first fault is the same.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from chimeway.limits import MAX_IDENTIFIER_CHARS
from chimeway.spelling import did_you_mean

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN_CHARS: Final = 60
_NAMES: Final = f"give names of 1 to {MAX_IDENTIFIER_CHARS} characters"
_HINTS: Final = 20
"""Faults that get a near word: looking for one is slow."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where, what was found there, and what would be right."""

    path: str
    told: str
    hint: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.path} {self.told}: {self.hint}"


@dataclass(frozen=True, slots=True)
class Spot:
    """One value of the document, its path, and the list that faults are added to."""

    value: Any
    path: str
    faults: list[Fault]

    def fault(self, told: str, hint: str) -> None:
        """Note a fault: what is so, and what would be right."""
        self.faults.append(Fault(self.path, told, hint))

    def refuse(self, hint: str) -> None:
        """Note that the value is not what it must be."""
        self.fault(f"is {given(self.value)}", hint)

    def members(self, known: Sequence[str]) -> Iterator["Spot | None"]:
        """Note the keys of an object that are unknown, and return its known ones (None where absent)."""
        for key in in_order(self.value):
            if key not in known:
                told = f"has the unknown key {given(key)}"
                self.fault(told, f"known are {', '.join(known)}{self._near(key, known)}")
        return iter([self.member(key) if key in self.value else None for key in known])

    def named(self) -> Iterator[tuple[str, "Spot"]]:
        """Yield the members of an object whose keys are names of the user's own."""
        for key in in_order(self.value):
            if not isinstance(key, str):
                self.fault(f"has the key {given(key)}", "give texts as keys")
            elif not 0 < len(key) <= MAX_IDENTIFIER_CHARS:
                self.fault(f"has {_size(key, 'key')}", _NAMES)
            else:
                yield key, self.member(key)

    def items(self) -> Iterator["Spot"]:
        """Yield the members of a list."""
        for index, value in enumerate(self.value):
            yield Spot(value, f"{self.path}[{index}]", self.faults)

    def member(self, key: str) -> "Spot":
        """Return the spot under a key."""
        return Spot(self.value[key], f"{self.path}{_step(key)}", self.faults)

    def lacks(self, key: str, hint: str) -> None:
        """Note that a key must be given."""
        self.fault(f'lacks "{key}"', hint)

    def name(self) -> str | None:
        """Read a name; None, noted, for what is none."""
        if not isinstance(self.value, str):
            self.refuse(f"give a name of 1 to {MAX_IDENTIFIER_CHARS} characters")
        elif not 0 < len(self.value) <= MAX_IDENTIFIER_CHARS:
            self.fault(
                f"is {_size(self.value, 'text')}", f"give a name of 1 to {MAX_IDENTIFIER_CHARS} characters"
            )
        else:
            return self.value
        return None

    def word(self, words: Sequence[str], hint: str) -> str | None:
        """Read one of a few words; None, noted, for anything else."""
        if isinstance(self.value, str) and self.value in words:
            return self.value
        self.refuse(hint + self._near(self.value, words))
        return None

    def _near(self, word: object, known: Sequence[str]) -> str:
        asked = isinstance(word, str) and len(self.faults) < _HINTS
        return did_you_mean(str(word), known, said=json.dumps) if asked else ""


def given(value: object) -> str:
    """Return how a value is shown in a sentence: as JSON, short; objects and lists by their size."""
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return json.dumps(_short(value), ensure_ascii=False)
        case int() if value.bit_length() > 1000:  # str() of a huge integer is slow, or refused
            return "a huge number"
        case int() | float():
            return _short(format(Decimal(repr(abs(value) if value == 0 else value)), "f"))
        case dict():
            return "an object" if value else "an empty object"
        case list():
            return f"a list of {len(value)}"
        case _:
            return f"of the Python type {type(value).__name__}"


def in_order(value: dict[Any, Any]) -> list[Any]:
    """Return the keys of an object in the order in which both doors look at them."""
    return sorted(value, key=lambda key: (not isinstance(key, str), str(key)))


def _step(key: str) -> str:
    if _PLAIN.fullmatch(key):
        return f".{_short(key)}"
    return f"[{json.dumps(_short(key), ensure_ascii=False)}]"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _size(text: str, what: str) -> str:
    return f"a {what} of {len(text)} characters" if text else f"an empty {what}"
