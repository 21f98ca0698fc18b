"""The data folder: what is in it, whose it is, and where its server's socket is.

    server.log, server.log.1   what the server says; the second is the end of what was said before
    cluster/                   PostgreSQL's own data
    sockets/                   its socket (0700), unless the path would be too long for one, or has a comma
    gate, users, server        lock files, see `sharing`
    binaries                   where the running server's are

No mode of any folder above it is ever changed.
"""

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimeway.errors import InvalidSettings
from chimeway.store.embedded.account import Account, account_for
from chimeway.store.embedded.leftovers import remove_leftovers
from chimeway.store.embedded.server import PORT

_MARKS: Final = frozenset({"cluster", "gate", "users"})
"""Who finds one of these finds a folder of ours, whatever else is in it."""
_OURS: Final = _MARKS | {"sockets", "server", "server.log", "server.log.1", "binaries"}
"""Who finds nothing but these finds one that somebody else is just making."""
_FOREIGN_BUT_FINE: Final = frozenset({"lost+found"})
_SOCKET_PATH_BYTES: Final = 103
"""The least that systems allow (macOS; Linux has 107)."""


_LISTS: Final = frozenset(',"')
"""PostgreSQL and libpq take such a path for a list of them."""
_LITTLE_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder that is ours, and the account that its server runs as."""

    path: Path
    account: Account

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data."""
        return self.path / "cluster"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.path / "server.log"

    @property
    def sockets(self) -> Path:
        """Where the server's socket is: the same for everybody who looks."""
        inside = self.path / "sockets"
        short = len(os.fsencode(inside / f".s.PGSQL.{PORT}.lock")) <= _SOCKET_PATH_BYTES
        if short and not _LISTS & set(str(inside)):
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        # Not below TMPDIR, which may be long, and differ from one user of the folder to the next.
        return Path("/tmp") / f"chimeway-{self.account.uid}-{digest}"  # noqa: S108  (checked: see made_private)

    def remember(self, binaries: Path) -> None:
        """Note where the binaries of the server are that is about to run, for those who attach."""
        note = self.path / "binaries"
        note.unlink(missing_ok=True)
        file = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.account.own_open(file)
            os.write(file, os.fsencode(binaries))
        finally:
            os.close(file)

    def remembered(self) -> Path:
        """Return where the running server's binaries are."""
        return Path(os.fsdecode((self.path / "binaries").read_bytes()))

    def is_full(self) -> bool:
        """Say whether the disk has no room left; the server may have had none to say so in."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize < _LITTLE_BYTES

    def tidy(self) -> None:
        """Remove the sockets' folder if it is outside, and empty because no server runs."""
        if self.sockets.parent != self.path:
            with suppress(OSError):
                self.sockets.rmdir()


def open_folder(path: Path) -> Folder:
    """Return a data folder that can be worked in; it is made if it is missing.

    Raises:
        InvalidSettings: it holds other things, belongs to somebody else, or cannot be made or reached.
        DatabaseUnavailable: there is no account that a server could run as.
    """
    path = Path(os.path.realpath(path))
    if {"\n", "\r"} & set(str(path)):  # PostgreSQL's own notes about it are read by lines
        raise _refused(f"the path of the data folder holds a line break ({str(path)!r})")
    try:
        return _opened(path)
    except OSError as error:
        raise _refused(f"the data folder {path} cannot be used ({error.strerror})") from error


def _opened(path: Path) -> Folder:
    account = account_for(path)
    if account.dropped:
        _check_reach(path, account)
    _make(path, account)
    owner = path.stat().st_uid
    if owner not in {os.geteuid(), account.uid}:
        raise _refused(f"the data folder {path} belongs to {_name(owner)}, and this is {account.name}")
    names = {entry.name for entry in path.iterdir()} - _FOREIGN_BUT_FINE
    if not names & _MARKS and not names <= _OURS:
        some = ", ".join(sorted(names)[:3])
        raise _refused(f"the data folder {path} holds other things ({some})")
    folder = Folder(path, account)
    account.own(path)
    made_private(folder.sockets, account)
    return folder


def _make(path: Path, account: Account) -> None:
    """Make a folder, and those above that are missing, where the account can come to it."""
    missing = [above for above in reversed(path.parents) if not above.exists()]
    for above in missing:
        above.mkdir(exist_ok=True)
        if account.dropped:  # whatever our umask
            above.chmod(0o755)
    path.mkdir(mode=0o700, exist_ok=True)


def made_private(path: Path, account: Account) -> None:
    """Make a folder for an account alone, or see that it is one; another user could have planted it.

    Raises:
        InvalidSettings: somebody else's folder, or a link, stands there.
    """
    try:
        path.mkdir(mode=0o700)
        account.own(path)
    except FileExistsError:
        about = path.lstat()
        # Ours still, where the account should have it: another process of ours makes it at this moment.
        owned = about.st_uid in {account.uid, os.geteuid()}
        if not stat.S_ISDIR(about.st_mode) or not owned or about.st_mode & 0o077:
            raise _refused(f"{path} should be a folder of {account.name} alone, and is not") from None
        account.own(path)


def _check_reach(folder: Path, account: Account) -> None:
    """See that the account can come to the folder through those above it, which stay as they are."""
    above = next(path for path in folder.parents if path.exists())
    if not _reaches(account, above):
        raise _refused(
            f"the data folder {folder} cannot be reached by the account {account.name}, as which "
            f"PostgreSQL has to run because it refuses to run as root: {_shut(above)} lets nobody else in"
        )


def _reaches(account: Account, path: Path) -> bool:
    asked = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    return subprocess.run(asked, check=False, cwd="/", **account.popen()).returncode == 0


def temporary_folder(prefix: str) -> Path:
    """Make a folder for a server that ends soon, where its account can come to: root's TMPDIR may be shut.

    Those that were left there, because who made them was killed, are removed.
    """
    account = account_for()
    usual = Path(tempfile.gettempdir())
    shut = account.dropped and not _reaches(account, usual)
    below = Path("/tmp") if shut else usual  # noqa: S108  (a new one in it)
    remove_leftovers(below, prefix, account)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=below))


def _shut(above: Path) -> Path:
    """Return the topmost folder that lets others not through."""
    for path in (*reversed(above.parents), above):
        if not path.stat().st_mode & stat.S_IXOTH:
            return path
    return above


def _refused(sentence: str) -> InvalidSettings:
    hint = "name a new or an empty folder (CHIMEWAY_DATA_DIR), or a database (CHIMEWAY_DATABASE_URL)"
    return InvalidSettings(f"{sentence}: {hint}", hint=hint, variable="CHIMEWAY_DATA_DIR")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
