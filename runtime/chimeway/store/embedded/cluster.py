"""PostgreSQL's own data: made whole or not at all, and asked which major version it is of."""

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from chimeway.errors import DatabaseUnavailable
from chimeway.store.embedded.account import Account
from chimeway.store.embedded.binaries import Binaries
from chimeway.store.embedded.folder import Folder

_UNFINISHED: Final = "cluster.new-"
_SAID: Final = 2_000
_SHARED_MEMORY: Final = Path("/proc/sysvipc/shm")


def initdb(binaries: Path, data: Path, account: Account, *options: str) -> None:
    """Make a cluster in an empty folder.

    Raises:
        DatabaseUnavailable: that failed; the message holds what `initdb` said.
    """
    done = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
         "--auth-local=trust", "--auth-host=scram-sha-256", "--data-checksums", "--no-instructions",
         *options],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd="/", **account.popen(),
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-_SAID:]
        raise DatabaseUnavailable(f"initdb failed in {data.parent}:\n{said}")


def major_of(folder: Folder) -> int | None:
    """Return the major version of the data that is there, None where there is none yet.

    Raises:
        DatabaseUnavailable: what is there is no data of PostgreSQL.
    """
    if not folder.cluster.exists():
        return None
    try:
        return int((folder.cluster / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError) as error:
        raise DatabaseUnavailable(
            f"{folder.cluster} is no whole PostgreSQL cluster ({error}): put back its backup, or move it away"
        ) from None


def make_cluster(folder: Folder, binaries: Binaries) -> None:
    """Make a cluster beside its place and then put it there: a crash in the middle leaves none.

    Raises:
        DatabaseUnavailable: `initdb` failed.
    """
    for left in folder.path.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own each time: an initdb whose parent was killed may still be writing into another.
    part = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.path))
    try:
        folder.account.own(part)
        initdb(binaries.folder, part, folder.account)
        part.rename(folder.cluster)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _sync(folder.path)


def forget_the_dead(folder: Folder) -> None:
    """Remove a `postmaster.pid` whose number now belongs to something else (a container begun anew).

    PostgreSQL believes in the number and would refuse for ever. Called when the lock that all its
    processes share is free; the memory that a server of somebody else's would hold says the rest.
    """
    lines: list[str] = []
    with suppress(OSError):
        lines = (folder.cluster / "postmaster.pid").read_text(errors="replace").splitlines()
    if len(lines) > 6 and (found := re.match(r"\s*\d+\s+(\d+)", lines[6])) and not _attached(int(found[1])):
        (folder.cluster / "postmaster.pid").unlink(missing_ok=True)


def _attached(segment: int) -> bool:
    """Say whether any process holds a segment of shared memory; in doubt, one does."""
    try:
        rows = [line.split() for line in _SHARED_MEMORY.read_text().splitlines()]
        names = rows[0]
        number, holders = names.index("shmid"), names.index("nattch")
        return any(int(row[number]) == segment and int(row[holders]) > 0 for row in rows[1:])
    except (OSError, ValueError, IndexError):
        return True


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
