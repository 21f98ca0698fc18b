"""Whom a server runs as. PostgreSQL refuses to run as root: there it gets an account without rights."""

import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chimeway.errors import DatabaseUnavailable

_UNPRIVILEGED: Final = ("postgres", "nobody")
_STATUS: Final = Path("/proc/self/status")
_NEEDED: Final = {"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}
"""What root needs to give data to an account, and to start, look after and end what runs as it: by bit."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account; `dropped`: we are root, and what runs as it has none of root's rights."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def popen(self) -> dict[str, Any]:
        """Return the arguments of Popen that make a child run as this account, and in no other group."""
        if not self.dropped:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or folder to this account."""
        if self.dropped:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def own_open(self, file: int) -> None:
        """Give an open file of root's to this account; one that has another name elsewhere stays root's."""
        about = os.fstat(file)
        if self.dropped and about.st_uid == 0 and about.st_nlink == 1:
            os.fchown(file, self.uid, self.gid)


def account_for(folder: Path | None = None) -> Account:
    """Return whom the server of a data folder runs as: us; where we are root, its owner, or an account.

    Raises:
        DatabaseUnavailable: there is no account that could run it, or we may not start it as one.
    """
    uid = os.geteuid()
    if uid != 0:
        return _entry(uid, dropped=False)
    found = _for_root(folder)
    _check_rights(found)
    return found


def _for_root(folder: Path | None) -> Account:
    owner = 0 if folder is None or not folder.exists() else folder.stat().st_uid
    if owner != 0:
        return _entry(owner, dropped=True)
    for name in _UNPRIVILEGED:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_name, found.pw_uid, found.pw_gid, dropped=True)
    hint = "name a database (CHIMEWAY_DATABASE_URL), or make an account: useradd --system postgres"
    raise DatabaseUnavailable(
        f"PostgreSQL refuses to run as root, and neither postgres nor nobody is an account here; {hint}",
        hint=hint,
    )


def _check_rights(account: Account) -> None:
    """See that this root may do what root may: in a container it often may not."""
    status = _STATUS.read_text() if _STATUS.exists() else ""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    lacks = [name for name, bit in _NEEDED.items() if held and not int(held[1], 16) >> bit & 1]
    why = f"without {', '.join(lacks)}" if lacks else ""
    if not lacks:
        try:
            subprocess.run(["/bin/sh", "-c", ":"], check=False, cwd="/", **account.popen())
        except OSError as error:  # a namespace of users in which there is no such account
            why = f"({error.strerror})"
    if why:
        hint = "run as an ordinary user, give root these rights, or name a database (CHIMEWAY_DATABASE_URL)"
        raise DatabaseUnavailable(
            f"PostgreSQL refuses to run as root, and this root cannot run it as {account.name} {why}: {hint}",
            hint=hint,
        )


def _entry(uid: int, *, dropped: bool) -> Account:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        hint = "name a database (CHIMEWAY_DATABASE_URL), or give the account an entry in /etc/passwd"
        raise DatabaseUnavailable(
            f"PostgreSQL runs only as an account with a name, and user id {uid} has none; {hint}", hint=hint
        ) from None
    return Account(found.pw_name, uid, found.pw_gid, dropped=dropped)
