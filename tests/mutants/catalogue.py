"""The promises, each with what keeps it taken out: `*.patch` beside this file, and how one is applied.

A patch opens with a header of three entries, each a line that may go on in indented ones:

    promise: what is promised, in one sentence, as a user would say it.
    kept: where that which keeps it stands, and what it does.
    test: the pytest node that must fail without it.

and then comes a unified diff. It is applied by its text alone: what it takes out must stand in the file
just once, wherever that is now, so that no patch is broken by what moves above it, and none is applied at a
place that only looks alike.
"""

import ast
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
_ENTRIES: Final = ("promise", "kept", "test")


class DoesNotApply(Exception):  # noqa: N818  (a finding, told as it is)
    """What a patch takes out is not there, or not just once."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a file: the whole lines that stand there, and those that shall."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A promise, and the patch that breaks it.

    `name` is the file's, up to its first dash the subject; `digest` is of all that a run of it depends on.
    """

    name: str
    promise: str
    kept: str
    test: str
    hunks: tuple[Hunk, ...]
    digest: str

    @property
    def subject(self) -> str:
        """What the promise is about."""
        return self.name.partition("-")[0]

    @property
    def test_file(self) -> str:
        """The file of its test, from the root."""
        return self.test.partition("::")[0]

    @property
    def test_name(self) -> str:
        """The function of its test."""
        return self.test.partition("::")[2].partition("[")[0]

    def applied(self, root: Path) -> dict[str, str]:
        """Return the texts of the files that it changes, as they are with it.

        Raises:
            DoesNotApply: with the place that was looked for.
        """
        changed: dict[str, str] = {}
        for hunk in self.hunks:
            text = changed.get(hunk.path) or (root / hunk.path).read_text("utf-8")
            found = [at.start() for at in re.finditer(f"^(?={re.escape(hunk.before)})", text, re.MULTILINE)]
            if len(found) != 1:
                first = hunk.before.strip().splitlines()[0]
                raise DoesNotApply(f"{self.name}: stands {len(found)} times in {hunk.path}: {first}")
            changed[hunk.path] = text[: found[0]] + hunk.after + text[found[0] + len(hunk.before) :]
        return changed


def read(path: Path) -> Mutant:
    """Read one patch.

    Raises:
        ValueError: its header or its diff is not as above.
    """
    text = path.read_text("utf-8")
    header, dashes, diff = text.partition("\n--- a/")
    told = dict(re.findall(r"^(\w+): (.+(?:\n +.+)*)", header, re.MULTILINE))
    if tuple(told) != _ENTRIES or not dashes:
        raise ValueError(f"{path.name}: a header of {', '.join(_ENTRIES)} must come before a diff")
    entries = {name: " ".join(said.split()) for name, said in told.items()}
    hunks = tuple(_hunks(f"--- a/{diff}"))
    digest = hashlib.sha256(repr((entries["test"], hunks)).encode()).hexdigest()[:16]
    return Mutant(path.stem, hunks=hunks, digest=digest, **entries)


def _hunks(diff: str) -> list[Hunk]:
    """Return the hunks of a unified diff."""
    found = []
    for each in re.split(r"^--- a/", diff, flags=re.MULTILINE)[1:]:
        path, _, body = each.partition("\n")
        for hunk in re.split(r"^@@ .*\n", body, flags=re.MULTILINE)[1:]:
            lines = [line or " " for line in hunk.splitlines()]
            found.append(Hunk(path, _those(lines, " -"), _those(lines, " +")))
    return found


def _those(lines: list[str], signs: str) -> str:
    return "".join(f"{line[1:]}\n" for line in lines if line[0] in signs)


@cache
def mutants() -> tuple[Mutant, ...]:
    """Return all of them, by name."""
    return tuple(read(path) for path in sorted(HERE.glob("*.patch")))


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def has_test(mutant: Mutant, root: Path = ROOT) -> bool:
    """Say whether the test that it names is there."""
    path = root / mutant.test_file
    return path.is_file() and mutant.test_name in _functions(path)
