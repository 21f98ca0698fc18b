"""The program as it was at the schema before: out of this repository's own history, run by this interpreter.

Where the history is not there (a shallow clone, a source archive) the present program stands in for it: it
works on the older schema, too, but it is no proof that the older one works on the newer.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from kit.daemon import COMMAND

ROOT = Path(__file__).parents[2]
MIGRATIONS = "runtime/chimeway/store/migrations"


def last_of(version: int) -> str:
    """Return the last commit of a schema version: the one before that which brought the next migration."""
    found = subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "--", f"{MIGRATIONS}/{version + 1:04}_*.sql"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    ).stdout.split()  # fmt: skip
    return f"{found[-1]}~1" if found else "no-such-commit"


def old_program(version: int, folder: Path) -> Sequence[str] | None:
    """Return the command that runs the daemon of a schema version, unpacked into a folder.

    None: the history is not there.
    """
    archive = subprocess.run(
        ["git", "archive", last_of(version), "runtime", "schema.sql"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    path = os.pathsep.join(filter(None, [str(folder / "runtime"), os.environ.get("PYTHONPATH")]))
    return ("env", f"PYTHONPATH={path}", *COMMAND)


def program_of(command: Sequence[str]) -> str:
    """Return where the package lies that a command runs."""
    code = "import chimeway, sys; sys.stdout.write(chimeway.__file__)"
    shown = subprocess.run(
        [*command[: command.index(sys.executable) + 1], "-c", code],
        capture_output=True,
        check=True,
        text=True,
    )
    return shown.stdout


def schema_of(version: int) -> str | None:
    """Return `schema.sql` of that program, if the history is there."""
    shown = subprocess.run(
        ["git", "show", f"{last_of(version)}:schema.sql"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip
    return None if shown.returncode else shown.stdout
