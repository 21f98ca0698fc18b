"""A place in the definition under judgement: a value, where it stands, and where faults go.

The readers are written with these few questions ("which keys?", "an identifier?"). Every question
has an answer, also where the value is wrong: the fault is noted, a placeholder is handed out, and
reading goes on, so that all faults are found at once. Placeholders never reach anybody, because
a definition with an error is not handed out.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from chimeway.limits import MAX_IDENTIFIER_CHARS, MAX_STEPS
from chimeway.spelling import did_you_mean
from chimeway.workflow.definition import END, Json
from chimeway.workflow.problems import Problems, child, shown
from chimeway.workflow.soundness import REFUSED

PLACEHOLDER = "\0unread"
"""Stands for a name that was wrong; no name that is read can equal it, for the NUL in it."""

_HINTS = 50


@dataclass(frozen=True, slots=True)
class Scope:
    """What the readers know of the definition as a whole before they read its parts."""

    step_ids: frozenset[str]
    wait_ids: frozenset[str]
    channels: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Place:
    """One value, its path, and the collector."""

    value: Json
    path: str
    problems: Problems
    scope: Scope

    def error(self, code: str, message: str) -> None:
        """Note a fault of this value, unless it was refused before."""
        if self.value is not REFUSED:
            self.problems.error(code, self.path, message)

    def wrong_type(self, wanted: str) -> None:
        """Note that the value is of another type than the one wanted."""
        self.error("wrong_type", f"given {shown(self.value)}; wanted {wanted}")

    def hint(self, word: str, known: Collection[str]) -> str:
        """Suggest the nearest known word: for the first faults only, since it is slow."""
        cheap = len(known) <= MAX_STEPS and len(self.problems) < _HINTS
        return did_you_mean(word, known) if cheap else ""

    def missing(self, key: str, wanted: str = "it must be given") -> None:
        """Note that this object lacks a key."""
        path = child(self.path, key)
        self.problems.error("missing_key", path, f"the key {key!r} is missing; {wanted}")

    def identifier(self) -> str:
        """Read a key or an id: it stands in indexes, logs and addresses."""
        text = self.text()
        if text == PLACEHOLDER:
            return text
        if not text:
            self.error("invalid_value", "given an empty string; wanted a name")
        elif len(text) > MAX_IDENTIFIER_CHARS:
            self.error(
                "invalid_value",
                f"given {len(text)} characters; wanted at most {MAX_IDENTIFIER_CHARS}",
            )
        elif text != text.strip() or not text.isprintable():
            self.error(
                "invalid_value",
                f"given {shown(text)}; wanted no control characters, and no blanks at the ends",
            )
        return text

    def text(self) -> str:
        """Read any string."""
        if isinstance(self.value, str):
            return self.value
        self.wrong_type("a string")
        return PLACEHOLDER

    def flag(self) -> bool:
        """Read true or false."""
        if isinstance(self.value, bool):
            return self.value
        self.wrong_type("true or false")
        return False

    def choice(self, options: Sequence[str], code: str = "invalid_value") -> str | None:
        """Read one word of a closed list; None when it is not one of them."""
        if self.value is not REFUSED and not isinstance(self.value, str):
            self.wrong_type(f"one of {', '.join(options)}")
        elif self.value in options:
            return str(self.value)
        else:
            hint = self.hint(str(self.value), options)
            self.error(code, f"given {shown(self.value)}; wanted one of {', '.join(options)}{hint}")
        return None

    def step_id(self, *, end_allowed: bool = False) -> str:
        """Read the name of a step of this definition."""
        name = self.text()
        if name == PLACEHOLDER or name in self.scope.step_ids or (end_allowed and name == END):
            return name
        if name == END:
            hint = "; `end` is for `next` only: use a `stop` rule or condition to end here"
        else:
            hint = self.hint(name, self.scope.step_ids)
        wanted = "a step's id or `end`" if end_allowed else "a step's id"
        self.error("unknown_step", f"given {shown(name)}; wanted {wanted}{hint}")
        return PLACEHOLDER

    def items(self) -> "list[Place]":
        """Read a list: its members, as places."""
        if not isinstance(self.value, list):
            self.wrong_type("a list")
            return []
        return [self._member(value, index) for index, value in enumerate(self.value)]

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> "Fields":
        """Read an object that has these keys and no others."""
        if not isinstance(self.value, dict):
            self.wrong_type("an object")
            return Fields(self, missing_told=True)
        known = (*required, *optional)
        for key in self.value:
            if key not in known:
                hint = self.hint(key, known) or f"; known here: {', '.join(known)}"
                self.problems.error("unknown_key", child(self.path, key), f"given the key {shown(key)}{hint}")
        fields = Fields(self)
        for key in required:
            fields.require(key)
        return fields

    def word(self, key: str) -> str | None:
        """Return the string under `key` of an object, judging nothing (to see what this is)."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if isinstance(found, str) else None

    def member(self, key: str) -> "Place":
        """Return the place under `key` of an object that has it."""
        return self._member(self.value[key], key)

    def _member(self, value: Json, key: str | int) -> "Place":
        return Place(value, child(self.path, key), self.problems, self.scope)


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of an object, by key; those that are absent answer None."""

    place: Place
    missing_told: bool = False

    def __getitem__(self, key: str) -> Place | None:
        """Return the member's place, or None when the key is absent."""
        return self.place.member(key) if key in self else None

    def __contains__(self, key: str) -> bool:
        """Tell whether the key was given."""
        return isinstance(self.place.value, dict) and key in self.place.value

    def __iter__(self) -> Iterator[str]:
        """Name the keys that were given."""
        return iter(self.place.value if isinstance(self.place.value, dict) else ())

    def require(self, key: str) -> None:
        """Note it when the key is absent."""
        if key not in self and not self.missing_told:
            self.place.missing(key)

    def one_of(self, first: str, second: str) -> str | None:
        """Return which of two exclusive keys was given, noting it when not exactly one was."""
        if first in self and second in self:
            self.place.error("conflicting_keys", f"given both {first!r} and {second!r}; wanted one of them")
            return None
        if first not in self and second not in self and not self.missing_told:
            self.place.error("missing_key", f"given neither {first!r} nor {second!r}; wanted one")
        return first if first in self else second if second in self else None

    def identifier(self, key: str) -> str:
        """Read a required identifier."""
        place = self[key]
        return PLACEHOLDER if place is None else place.identifier()

    def optional_identifier(self, key: str) -> str | None:
        """Read an identifier that may be absent or null."""
        place = self[key]
        return None if place is None or place.value is None else place.identifier()

    def flag(self, key: str) -> bool:
        """Read true or false; absent is false."""
        place = self[key]
        return place is not None and place.flag()

    def items(self, key: str) -> list[Place]:
        """Read a list; absent is empty."""
        place = self[key]
        return [] if place is None else place.items()
