"""What the readers of text hand on: a value, and the line on which each of its places stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chimeway.workflow.problems import Problem, Problems

_LONGEST_PATH = 400
_ITEM = re.compile(r"\[([0-9]+)\]\.?(.*)", re.DOTALL)


class TextFault(Exception):  # noqa: N818  (it carries a problem, which is what people see)
    """The text cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        """Take the problem that ended the reading."""
        self.problem = problem
        super().__init__(str(problem))


@dataclass(slots=True)
class Document:
    """One document: its value, where its places stand, and the faults of its text.

    `lines` goes from a path, as in `Problem.path`, to a line; values that had to be refused are
    `REFUSED`.
    """

    value: object = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)

    def place(self, path: str, line: int) -> None:
        """Remember where a place begins; deep ones have the line of what is around them.

        Paths grow with depth: a line for each place would let a small text fill the memory.
        """
        if len(path) <= _LONGEST_PATH:
            self.lines.setdefault(path, line)

    def note(self, code: str, path: str, message: str, line: int) -> None:
        """Add a fault of the text."""
        self.problems.add(Problem(code, path, message, line=line))

    def line_of(self, path: str) -> int | None:
        """Return the line of this place, or of the nearest place around it."""
        for end in range(len(path), 0, -1):
            at_boundary = end == len(path) or path[end] in ".["
            if at_boundary and path[:end] in self.lines:
                return self.lines[path[:end]]
        return self.lines.get("")

    def definitions(self) -> Iterator["Document"]:
        """Yield one document for each definition: the members of a list, or the value itself."""
        if not isinstance(self.value, list):
            yield self
            return
        members = [Document(value) for value in self.value]
        for path, line in self.lines.items():
            if (found := _ITEM.fullmatch(path)) and int(found[1]) < len(members):
                members[int(found[1])].lines[found[2]] = line
        for problem in self.problems.all():
            found = _ITEM.fullmatch(problem.path)
            inner = Problem(problem.code, found[2] if found else "", problem.message, line=problem.line)
            for member in members[int(found[1]) :][:1] if found else members:
                member.problems.add(inner)
        yield from members
