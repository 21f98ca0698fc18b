"""A wall clock that is wrong, and steps: by libfaketime, for a daemon or a PostgreSQL.

The process begins with the environment of `WrongClock`; from then on `set` moves what it sees, at once.
The monotonic clock stays right, and so do the times of files. (A `time.sleep` fails under
it on some Pythons, for that sleeps until an instant of the monotonic clock; a node never calls it.)
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from kit.daemon import COMMAND

_WHERE = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


class WrongClock:
    """So many seconds ahead of the true wall clock; below zero: behind."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that any account can read; the clock is right at first."""
        self._file = folder / "shift"
        found = library()
        if found is None:
            pytest.skip("libfaketime is not installed (Debian: faketime)")
        self._library = found
        self.set(0)

    def set(self, ahead_s: float) -> None:
        """Step: from now on the clock is ahead by so much."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+.3f}s\n")
        new.chmod(0o644)
        new.replace(self._file)

    def environment(self) -> Mapping[str, str]:
        """Return what a process must begin with to see this clock."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def daemon(self, command: Sequence[str] = COMMAND) -> Sequence[str]:
        """Return a command that runs a daemon with this clock."""
        return ("env", *(f"{name}={value}" for name, value in self.environment().items()), *command)


@contextmanager
def wrong_clock() -> Iterator[WrongClock]:
    """Give a clock that can be moved while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="chimeway-clock-"))
    folder.chmod(0o755)
    try:
        yield WrongClock(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def seen_by_children(clock: WrongClock) -> Iterator[None]:
    """Have processes that are started meanwhile see this clock: only start them here."""
    before = dict(os.environ)
    os.environ.update(clock.environment())
    try:
        yield
    finally:
        for name in clock.environment():
            os.environ.pop(name)
        os.environ.update(before)


def library() -> str | None:
    """Return where libfaketime is installed, if it is."""
    for folder in _WHERE:
        for found in sorted(Path(folder).glob("**/faketime/libfaketimeMT.so.1")):
            return str(found)
    return None
