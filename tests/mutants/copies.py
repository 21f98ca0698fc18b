"""Copies of the tree, for one mutant after the other: a plain folder, tested by this environment's Python.

The package is installed here as a link to this tree; in a copy it is found before that, by PYTHONPATH, which
programs that tests start are given, too. `witness` sees to it that it is so.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from mutants.catalogue import ROOT, DoesNotApply, Mutant
from mutants.witness import PATIENCE, VARIABLE

Answer: TypeAlias = Literal["caught", "survived", "does not apply", "broken"]
_TIMEOUT_S: Final = 90
_PATIENCE_S: Final = "10"
_NO_FINDING: Final = {
    "AttributeError", "ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "SyntaxError",
    "PostgresSyntaxError", "UndefinedColumnError", "UndefinedFunctionError", "UndefinedTableError",
    "AmbiguousColumnError", "DatatypeMismatchError",
}  # fmt: skip
"""A test that fails by one of these was told that a patch is badly written, and of no promise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a run: `caught` when the test failed by what it asserts; `said`: how."""

    answer: Answer
    said: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the tree."""

    root: Path

    def judge(self, mutant: Mutant) -> Finding:
        """Apply a mutant, run its test, and take it back."""
        try:
            changed = mutant.applied(self.root)
        except DoesNotApply as fault:
            return Finding("does not apply", str(fault))
        with self._changed(changed):
            return finding_of(self.run(mutant.test, variables={PATIENCE: _PATIENCE_S}))

    def run(
        self, *tests: str, options: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Run tests; return what the witness told, and `output`."""
        told = self.root / "witness.json"
        told.unlink(missing_ok=True)
        paths = os.pathsep.join(str(self.root / name) for name in ("runtime", "tests"))
        environment = os.environ | dict(variables or {}) | {"PYTHONPATH": paths, VARIABLE: str(told)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "mutants.witness", "-p", "no:cacheprovider",
             "--timeout", str(_TIMEOUT_S), *options, *tests],
            cwd=self.root, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(told.read_text("utf-8")) if told.exists() else {"tests": []}
        return found | {"output": done.stdout}

    @contextmanager
    def _changed(self, texts: Mapping[str, str]) -> Iterator[None]:
        before = {path: (self.root / path).read_text("utf-8") for path in texts}
        try:
            self._write(texts)
            yield
        finally:
            self._write(before)

    def _write(self, texts: Mapping[str, str]) -> None:
        """Write files. What was compiled of them goes: it is known by its second and its length alone."""
        for path, text in texts.items():
            (self.root / path).write_text(text, "utf-8")
            if path.endswith(".py"):
                Path(importlib.util.cache_from_source(str(self.root / path))).unlink(missing_ok=True)


def finding_of(told: Mapping[str, Any]) -> Finding:
    failed = [test for test in told["tests"] if test["outcome"] == "failed"]
    calls = [test for test in failed if test["when"] == "call"]
    errors = {name for test in failed for name in test["errors"]}
    if not told["tests"] or len(calls) < len(failed) or errors & _NO_FINDING:
        return Finding("broken", told["output"][-3_000:])
    if calls:
        return Finding("caught", calls[0]["said"])
    return Finding("survived", "its test passes")


def files(root: Path = ROOT) -> list[str]:
    """Return the files that make the tree: tracked, or new and not ignored."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout
    return [path for path in told.split("\0") if path and (root / path).is_file()]


@contextmanager
def copied(folder: Path, root: Path = ROOT) -> Iterator[Copy]:
    """Copy the tree into a folder while the block lasts."""
    for path in files(root):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, target)
    try:
        yield Copy(folder)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
