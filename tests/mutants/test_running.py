"""The machinery itself: what counts as caught, and that it is a copy which is tested."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mutants.catalogue import DoesNotApply, Mutant, read
from mutants.copies import Copy, copied, finding_of

HEADER = "promise: it stays.\nkept: here,\n  and there.\ntest: {test}\n\n"
DIFF = """--- a/one.py
+++ b/one.py
@@ -1,3 +1,3 @@
 def one():
-    return 1
+    return 2

"""
PURE = "tests/pure/test_progression_rows.py::test_row_8_before_the_time"
WAIT = "runtime/chimeway/progression/wait.py"
NOT_DUE = """--- a/{file}
+++ b/{file}
@@ -1 +1 @@
-    if working.now < due_at:
+    if working.now {sign} due_at:
"""


def written(folder: Path, text: str, test: str = "tests/test_one.py::test_one") -> Mutant:
    """Write a patch, and read it."""
    path = folder / "time-one.patch"
    path.write_text(HEADER.format(test=test) + text, "utf-8")
    return read(path)


def test_a_patch_is_read_and_applied(tmp_path: Path) -> None:
    """Header and hunks; wherever in its file the text stands, once."""
    mutant = written(tmp_path, DIFF)
    assert (mutant.name, mutant.subject, mutant.promise) == ("time-one", "time", "it stays.")
    assert (mutant.kept, mutant.test_file, mutant.test_name) == (
        "here, and there.",
        "tests/test_one.py",
        "test_one",
    )
    (tmp_path / "one.py").write_text("# moved\n\ndef one():\n    return 1\n\n")
    assert mutant.applied(tmp_path) == {"one.py": "# moved\n\ndef one():\n    return 2\n\n"}


@pytest.mark.parametrize("text", ["", "def one():\n    return 1\n\n" * 2, "x def one():\n    return 1\n\n"])
def test_what_is_not_there_just_once_is_told(tmp_path: Path, text: str) -> None:
    """A patch for a place that has gone, or that looks like another, is not applied."""
    (tmp_path / "one.py").write_text(text)
    with pytest.raises(DoesNotApply, match=r"stands \d times in one\.py: def one"):
        written(tmp_path, DIFF).applied(tmp_path)


@pytest.mark.parametrize("text", ["", "promise: a.\ntest: b\n\n" + DIFF, DIFF])
def test_a_patch_without_its_header_is_refused(tmp_path: Path, text: str) -> None:
    """Without promise, keeping and test it says nothing."""
    (tmp_path / "a-b.patch").write_text(text)
    with pytest.raises(ValueError, match="a header of promise, kept, test"):
        read(tmp_path / "a-b.patch")


def phase(when: str, outcome: str, *errors: str) -> Mapping[str, Any]:
    """Return a test's phase as the witness tells it."""
    return {"id": "t", "when": when, "outcome": outcome, "errors": list(errors), "said": "so"}


@pytest.mark.parametrize(
    ("phases", "answer"),
    [
        ([phase("setup", "passed"), phase("call", "failed", "AssertionError")], "caught"),
        ([phase("setup", "passed"), phase("call", "passed"), phase("teardown", "passed")], "survived"),
        ([phase("setup", "failed", "PostgresError")], "broken"),
        ([phase("call", "passed"), phase("teardown", "failed", "RuntimeError")], "broken"),
        ([phase("call", "failed", "AssertionError", "NameError")], "broken"),
        ([phase("call", "failed", "UndefinedColumnError")], "broken"),
        ([], "broken"),
    ],
)
def test_only_a_test_that_misses_what_was_taken_out_counts(
    phases: list[Mapping[str, Any]], answer: str
) -> None:
    """One that could not begin, or that met a badly written patch, says nothing of a promise."""
    assert finding_of({"tests": phases, "output": "?"}).answer == answer


@pytest.mark.big
def test_a_mutant_is_judged_in_a_copy(tmp_path: Path) -> None:
    """Caught, survived and not applied, one after the other, and the copy is as before each time."""
    with copied(tmp_path / "copy") as copy:
        before = (copy.root / WAIT).read_text()

        def judged(sign: str, file: str = WAIT) -> str:
            mutant = written(tmp_path, NOT_DUE.format(file=file, sign=sign), PURE)
            answer = copy.judge(mutant).answer
            assert (copy.root / WAIT).read_text() == before
            return answer

        assert [judged(">"), judged("<="), judged(">")] == ["caught", "survived", "caught"]
        assert judged("?") == "broken"
        assert judged(">", "runtime/chimeway/progression/decide.py") == "does not apply"
        told = copy.run(PURE)
        assert Path(told["package"]).is_relative_to(copy.root / "runtime")


@pytest.mark.big
def test_another_package_than_the_copys_is_not_tested(tmp_path: Path) -> None:
    """Where the copy lacks the package the one installed here would be tested: the witness ends that."""
    with copied(tmp_path / "copy") as whole:
        (whole.root / "runtime").rename(whole.root / "elsewhere")
        told = Copy(whole.root).run(PURE)
    assert told["tests"] == []
    assert "not from" in told["output"]
