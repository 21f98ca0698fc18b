"""Locks on files (flock): the kernel releases them when who holds them dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from chimeway.errors import DatabaseUnavailable
from chimeway.store.embedded.account import Account

_PAUSE_S: Final = 0.01


class FileLock:
    """An open lock file. What is closed is released."""

    def __init__(self, path: Path, account: Account) -> None:
        """Open the file, or make it; it belongs to who owns the data."""
        # A link planted by the account that runs the server must not lead us, who may be root, elsewhere.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._path = path
        self._file = os.open(path, flags, 0o600)
        account.own_open(self._file)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)

    def release(self) -> None:
        """Let go of it, and keep it open."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def exclusively(self) -> bool:
        """Take it for us alone, or turn a shared hold into that; say whether that worked at once."""
        return self._take(fcntl.LOCK_EX)

    def shared(self) -> bool:
        """Take it beside others who share it; say whether that worked at once."""
        return self._take(fcntl.LOCK_SH)

    def is_free(self) -> bool:
        """Say whether nobody holds it exclusively."""
        if not self.shared():
            return False
        self.release()
        return True

    def await_shared(self, deadline_s: float) -> None:
        """Take it beside others, or raise DatabaseUnavailable."""
        self._await(fcntl.LOCK_SH, deadline_s)

    @contextmanager
    def alone(self, deadline_s: float) -> Iterator[None]:
        """Hold it for us alone while the block lasts, or raise DatabaseUnavailable."""
        self._await(fcntl.LOCK_EX, deadline_s)
        try:
            yield
        finally:
            self.release()

    def await_free(self, deadline_s: float) -> bool:
        """Wait until nobody holds it exclusively; say whether that came about in time."""
        ends = time.monotonic() + deadline_s
        while not self.is_free():
            if time.monotonic() > ends:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _await(self, how: int, deadline_s: float) -> None:
        ends = time.monotonic() + deadline_s
        while not self._take(how):
            if time.monotonic() > ends:
                raise DatabaseUnavailable(
                    f"another process has held {self._path} for {deadline_s:g} s: it starts or stops the "
                    "embedded PostgreSQL, and does not come to an end"
                )
            time.sleep(_PAUSE_S)

    def _take(self, how: int) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
            return True
        return False
