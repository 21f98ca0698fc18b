"""What a verb asks of the database, and how the answer is read. Pure: two thin shells run it.

Text goes in and text comes out: each argument is cast in SQL, each row arrives as one text of JSON. So
nothing that a caller taught a lent connection (codecs, row factories, cursor classes, type adapters) can
matter, and every driver gives the same rows. JSON of PostgreSQL is exact to the microsecond.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

_T = TypeVar("_T")
_U = TypeVar("_U")
Row: TypeAlias = Mapping[str, Any]
"""A row as JSON says it: ids and instants are text still."""
Answers: TypeAlias = Sequence[Sequence[Row]]
"""The rows of each statement of a call."""

_AS_TEXT: Final = "select row_to_json(q)::text from (\n{}\n) q"


class Statement(NamedTuple):
    """SQL with `$1`, `$2`, ... and its arguments, in the order of its places; one text for each row."""

    sql: str
    args: tuple[str | None, ...]

    def rows(self, texts: Iterable[str | bytes]) -> list[Row]:
        """Return the rows that these texts are."""
        return [json.loads(text) for text in texts]


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """Statements that see one snapshot where they run alone, and what their rows mean.

    Without statements nothing is asked, and the answer is known. `when` says of some statements, by their
    place, whether they are asked at all, from the answers before; else their answer has no rows.
    `read_committed`: what is called refuses a stricter isolation, whatever is the database's default.
    """

    statements: tuple[Statement, ...]
    read: Callable[[Answers], _T]
    when: Mapping[int, Callable[[Answers], bool]] = field(default_factory=dict)
    read_committed: bool = False

    def then(self, further: Callable[[_T], _U]) -> "Call[_U]":
        """Return the same question with its answer read further."""
        read = self.read
        return Call(self.statements, lambda answers: further(read(answers)), self.when, self.read_committed)

    def asks(self, answers: Answers) -> bool:
        """Say whether the next statement, after so many answers, is to be asked."""
        condition = self.when.get(len(answers))
        return condition is None or condition(answers)


def one(statement: Statement, read: Callable[[Sequence[Row]], _T]) -> Call[_T]:
    """Return a call of one statement."""
    return Call((statement,), lambda answers: read(answers[0]))


def known(answer: _T) -> Call[_T]:
    """Return a call that need not ask."""
    return Call((), lambda _: answer)


def statement(sql: str, *args: object) -> Statement:
    """Return a query whose rows arrive as texts of JSON, with its arguments as text."""
    return Statement(_AS_TEXT.format(sql), tuple(_text(arg) for arg in args))


def json_text(value: Any) -> str:
    """Return JSON as PostgreSQL takes it: UTF-8 as it is, no NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _text(arg: object) -> str | None:
    match arg:
        case None:
            return None
        case str():
            return str.__str__(arg)  # of an enum's member its value: drivers tell subclasses differently
        case bool():
            return "true" if arg else "false"
        case int() | UUID():
            return str(arg)
        case datetime():
            return arg.isoformat()
        case timedelta():
            return f"{arg // timedelta(microseconds=1)} microseconds"
        case list() | tuple():
            return json_text([_text(each) for each in arg])
        case _:
            raise AssertionError(f"no argument of a statement: {type(arg).__name__}")


def uuid(value: str) -> UUID:
    """Return an id of a row."""
    return UUID(value)


def uuids(values: Iterable[str]) -> tuple[UUID, ...]:
    """Return the ids of an array in a row."""
    return tuple(UUID(value) for value in values)
