"""Temporary data folders of who was killed, and so could not remove them: the next one does."""

import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from chimeway.store.embedded.account import Account
from chimeway.store.embedded.locks import FileLock

_LOCKS: Final = ("gate", "users", "server")


def remove_leftovers(below: Path, prefix: str, account: Account) -> None:
    """Remove the data folders with such names that nobody uses: all of their locks are free.

    One in which nothing was made yet is left alone: somebody may be about to begin in it. Whoever makes a
    cluster has the gate already.
    """
    for path in below.glob(f"{prefix}*"):
        try:
            if (
                path.lstat().st_uid == account.uid
                and any(path.glob("cluster*"))
                and _is_unused(path, account)
            ):
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # another account's, or another demo removes it at this moment
            continue


def _is_unused(path: Path, account: Account) -> bool:
    with ExitStack() as stack:
        locks = [stack.enter_context(closing(FileLock(path / name, account))) for name in _LOCKS]
        return all(lock.exclusively() for lock in locks)
