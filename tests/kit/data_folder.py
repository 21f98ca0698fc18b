"""A data folder of a test's own, with a cluster made once and copied, and what of its server is alive."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

from chimeway.store.embedded import running
from chimeway.testing.server import roomy


@contextmanager
def data_folder(*, made: bool = True) -> Iterator[Path]:
    """Give a folder that any account can come to; `made`: with a cluster in it that no server uses."""
    root = Path(tempfile.mkdtemp(prefix="cwtest-", dir=roomy()))
    root.chmod(0o755)
    folder = root / "data"
    try:
        if made:
            # -a: whose the files are matters.
            subprocess.run(["cp", "-a", "--reflink=auto", _cluster(), folder], check=True)
        yield folder
    finally:
        for process in server_processes(folder):
            process.kill()
        shutil.rmtree(root, ignore_errors=True)


@cache
def _cluster() -> Path:
    """Return a folder in which a server has run and ended, one for each process that runs tests."""
    root = Path(tempfile.mkdtemp(prefix=f"cwtest-{os.getpid()}-", dir=roomy()))
    root.chmod(0o755)
    _made.append(root)
    with running(root / "data"):
        pass
    return root / "data"


_made: list[Path] = []


def forget_clusters() -> None:
    """Remove what was made to be copied."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)
    _cluster.cache_clear()


def postmaster(folder: Path) -> psutil.Process:
    """Return the server's first process."""
    return psutil.Process(int((folder / "cluster" / "postmaster.pid").read_text().split()[0]))


def keeper(folder: Path) -> psutil.Process:
    """Return the process that keeps it."""
    found = postmaster(folder).parent()
    assert found is not None
    assert any(word.endswith("keeper.py") for word in found.cmdline())
    return found


def server_processes(folder: Path) -> list[psutil.Process]:
    """Return the keeper and all of the server that is alive: who has the lock file open, or names it."""
    found: list[psutil.Process] = []
    if _lock_is_free(folder / "server"):
        return found
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            ours = str(folder / "cluster") in words or str(folder / "server") in " ".join(words)
            held = ours or str(folder / "server") in {one.path for one in process.open_files()}
            if held and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # it ended meanwhile
            continue
    return found


def _lock_is_free(lock: Path) -> bool:
    """Say whether nothing of a server is alive, by the lock that all of it shares."""
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
