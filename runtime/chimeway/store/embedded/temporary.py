"""A server for tests and benches: on a folder of its own, a child of this process, gone with its block.

No keeper and no locks: nobody else knows of it. It ends when the thread that started it dies (Linux);
start it from one that lives as long as it is needed.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chimeway.errors import DatabaseUnavailable
from chimeway.store.embedded.account import account_for
from chimeway.store.embedded.binaries import choose_binaries
from chimeway.store.embedded.cluster import initdb
from chimeway.store.embedded.keeper import answers
from chimeway.store.embedded.server import PORT, Server, url_by

_PR_SET_PDEATHSIG: Final = 1
_START_DEADLINE_S: Final = 60.0


@contextmanager
def temporary_server(
    *,
    settings: tuple[str, ...] = (),
    port: int = PORT,
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
    account = account_for()
    binaries = choose_binaries(account).folder
    root = Path(tempfile.mkdtemp(prefix="cwpg-", dir=under))
    try:
        account.own(root)
        initdb(binaries, root / "data", account, "--no-sync", "--auth-host=trust")
        with start(binaries, root / "data", root, port=port, settings=settings) as server:
            yield server
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def start(
    binaries: Path, data: Path, sockets: Path, *, port: int = PORT, settings: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Run a server on an existing data folder, with its socket and log in `sockets`.

    Raises:
        DatabaseUnavailable: it did not start.
    """
    options = [option for setting in ("listen_addresses=", *settings) for option in ("-c", setting)]
    with (sockets / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", sockets, "-p", str(port), *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (no threads yet: only the server's own process)
            **account_for(data).popen(),
        )  # fmt: skip
    try:
        _await_ready(sockets, port, process)
        yield Server(url_by(sockets, port), binaries, port)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def die_with_parent() -> None:
    """Ask the kernel that this process, soon a server, ends in order when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _await_ready(sockets: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while not answers(os.fspath(sockets / f".s.PGSQL.{port}")):
        if process.poll() is not None or time.monotonic() > deadline:
            log = (sockets / "server.log").read_text(errors="replace")[-2000:]
            raise DatabaseUnavailable(f"the embedded PostgreSQL did not start:\n{log}")
        time.sleep(0.005)
