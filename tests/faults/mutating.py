"""A copy of the package with one guard taken out, for the nodes of a run that must find something wrong."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@contextmanager
def package_for(folder: Path, patch: Path | None) -> Iterator[Path]:
    """Give the folder that the package is imported from: ours, or a copy with a patch applied.

    The patch is one of `diff -u` or `git diff`, with paths from the project's root; it may change the
    package and `schema.sql`. The copy is gone with the block.
    """
    if patch is None:
        yield ROOT / "runtime"
        return
    copy = folder / "mutant"
    shutil.copytree(ROOT / "runtime", copy / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "schema.sql", copy)
    done = subprocess.run(
        ["patch", "-p1", "--forward", "--batch", "-i", patch.resolve()],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, f"{patch} does not fit:\n{done.stdout}{done.stderr}"
        yield copy / "runtime"
    finally:
        shutil.rmtree(copy, ignore_errors=True)
