"""What can be wrong with a definition: a closed list of codes, and a place to collect faults in.

It judges nothing: the readers do. A path names a place in the definition as people write it
(`steps[1].action.duration`); it is empty for the definition as a whole.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]

CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Text that holds no definition yet.
        "malformed": "The text is not JSON, or not YAML.",
        "duplicate_key": "A key is written twice in one object.",
        "no_definition": "The text holds no definition at all.",
        # Values that no definition can hold.
        "wrong_type": "The value is of another JSON type than the one wanted.",
        "invalid_value": "The type is right and the value is not.",
        "too_deep": "The nesting exceeds the limit.",
        "too_large": "The definition, or the text of several, exceeds the limit in bytes.",
        # Keys.
        "unknown_key": "No such key exists here; a typo is never ignored.",
        "missing_key": "A key that must be given is not.",
        "conflicting_keys": "Keys or rules are given together that exclude each other.",
        # Steps and what points to them.
        "empty_steps": "There is no step.",
        "too_many_steps": "There are more steps than a definition may have.",
        "duplicate_step_id": "Two steps bear the same id.",
        "unknown_step": "A step is named that the definition does not have.",
        "unknown_outcome": "The outcome is outside the vocabulary.",
        "unknown_channel": "Warning: the channel is not among those known here.",
        "invalid_duration": "The duration cannot be read, is not positive, or exceeds ten years.",
        "progress_on_wait": "A wait has no delivery, hence no rules of progress.",
        # The journey as a whole.
        "endless_cycle": "A cycle goes round without waiting for any time to pass.",
        "unreachable_step": "Warning: no path leads to the step.",
        "nothing_is_sent": "Warning: no step is a notify.",
        "never_used": "Warning: a rule or key is shadowed by another and has no effect.",
    }
)
"""Every code and its meaning. Codes are stable: programs may compare them."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it is, what was given and what would be right.

    `line` is the line of the text (counted from 1) where it is known.
    """

    code: str
    path: str
    message: str
    severity: Severity = "error"
    line: int | None = None

    def __post_init__(self) -> None:
        """Hold the list of codes closed."""
        assert self.code in CODES, self.code

    def __str__(self) -> str:
        """Say it in one line, without the file."""
        return f"{self.severity}[{self.code}] {self.path or 'definition'}: {self.message}"

    def printed(self, source: str) -> str:
        """Say it as a compiler would: `file:line: error[code] path: message`."""
        where = source if self.line is None else f"{source}:{self.line}"
        return f"{where}: {self}"

    def at_line(self, line: int | None) -> "Problem":
        """Return the same problem, placed at this line."""
        return replace(self, line=line)


class Problems:
    """A collector: faults in the order in which they were found."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: list[Problem] = []

    def error(self, code: str, path: str, message: str) -> None:
        """Add a fault that makes the definition invalid."""
        self._found.append(Problem(code, path, message))

    def warning(self, code: str, path: str, message: str) -> None:
        """Add a remark that leaves the definition valid."""
        self._found.append(Problem(code, path, message, "warning"))

    def add(self, problem: Problem) -> None:
        """Add what was found elsewhere."""
        self._found.append(problem)

    def any_error(self) -> bool:
        """Tell whether the definition is invalid."""
        return any(problem.severity == "error" for problem in self._found)

    def has(self, code: str) -> bool:
        """Tell whether a problem of this code was found."""
        return any(problem.code == code for problem in self._found)

    def __len__(self) -> int:
        """Return how many were found."""
        return len(self._found)

    def all(self) -> tuple[Problem, ...]:
        """Return what was found."""
        return tuple(self._found)


def child(path: str, key: str | int) -> str:
    """Return the path of a member: `steps` and 1 give `steps[1]`, then `id` gives `steps[1].id`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(_shortened(key))}]"
    return f"{path}.{_shortened(key)}" if path else _shortened(key)


def shown(value: object) -> str:
    """Return how a given value is quoted in a message: short, printable, whatever it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _shortened(repr(str.__str__(value)[: _SHOWN_CHARS + 1]))
        case int() if value.bit_length() > 128:  # str() of a huge integer is slow, or refused
            return f"an integer of {value.bit_length()} bits"
        case int() | float():
            return str(value)
        case dict():
            return "an object" if value else "an empty object"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return f"a value of the Python type {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
