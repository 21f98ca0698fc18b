"""The two hardest races on paper: spin tries every order of their steps, statement by statement.

A model as it is has no order that breaks what it promises. With one guard taken out it has one, and spin
finds it; beside each of these stands the mutant that takes the same guard out of the real thing, where a
test on a real PostgreSQL misses it. (GUARD_IN_LOCK is also built there, on bare tables and in our own
ledger: tests/fault/test_guard_in_lock.py.)
"""

import re
import subprocess
from pathlib import Path

import pytest

from mutants.catalogue import HERE as MUTANTS

HERE = Path(__file__).parent
SIGNAL, TAKE_OVER = "signal_against_timer", "take_over_against_commit"
BROKEN = [
    (SIGNAL, "GUARD_IN_LOCK", "(a)", "signals-guard-after-lock"),
    (SIGNAL, "BLIND_SENDER", "(b)", "signals-before-the-first-attempt"),
    (SIGNAL, "NO_REVISION", "(d)", "decisions-revision"),
    (TAKE_OVER, "NO_FENCE", "(b)", "nodes-fence"),
    (TAKE_OVER, "NO_REVISION", "(a)", "decisions-revision"),
    (TAKE_OVER, "CALL_FIRST", "(c)", "sending-attempt-first"),
    (TAKE_OVER, "ONE_CALL", "(c)", None),
]
"""A model, the guard taken out, which of its promises that breaks, and the mutant of the same."""


def tried(folder: Path, model: str, *left_out: str) -> str:
    """Have spin try all orders; return the line of the model whose assertion failed in one, or nothing."""
    source = folder / f"{model}.pml"  # spin writes and looks for its trail beside it
    source.write_bytes((HERE / source.name).read_bytes())
    defined = [f"-D{name}" for name in left_out]
    _done(folder, "spin", *defined, "-a", source.name)
    _done(folder, "gcc", "-w", "-O0", "-DSAFETY", "-o", "pan", "pan.c")
    said = _done(folder, "./pan", "-m100000")
    assert re.search(r"errors: [01]$", said, re.MULTILINE), said
    assert "max search depth too small" not in said
    if "errors: 0" in said:
        assert "Search not completed" not in said
        return ""
    trail = _done(folder, "spin", *defined, "-t", source.name)
    line = re.search(r"\.pml:(\d+), Error: assertion violated", trail)
    assert line, trail
    return source.read_text("utf-8").splitlines()[int(line[1]) - 1]


def _done(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode == 0 or command[0] == "spin", told
    return told


@pytest.mark.parametrize(
    "model",
    [(SIGNAL,), (TAKE_OVER,), (TAKE_OVER, "NO_FENCE", "TRUTH_ONLY")],
    ids="-".join,
)
def test_no_order_breaks_what_is_promised(model: tuple[str, ...], tmp_path: Path) -> None:
    """Every order of all steps is tried. Without a fence what is written is right all the same."""
    assert tried(tmp_path, *model) == ""


@pytest.mark.parametrize(("model", "left_out", "promise", "mutant"), BROKEN)
def test_each_guard_is_needed(
    model: str, left_out: str, promise: str, mutant: str | None, tmp_path: Path
) -> None:
    """Without it spin finds an order that breaks the promise; and the same is missed in the real thing."""
    line = tried(tmp_path, model, left_out)
    assert promise in line or left_out == "ONE_CALL", f"something else is broken: {line}"
    assert mutant is None or (MUTANTS / f"{mutant}.patch").is_file()


def test_the_models_are_small() -> None:
    """Both together have 150 lines at the most: what is to be believed must be read."""
    assert sum(len(path.read_text("utf-8").splitlines()) for path in HERE.glob("*.pml")) <= 150
