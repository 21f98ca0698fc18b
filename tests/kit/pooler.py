"""PgBouncer in transaction mode in front of a database: each transaction may get another session."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from chimeway.database_url import read
from kit.waiting import DEADLINE_S

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin:/usr/local/bin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="needs pgbouncer")


class Pooler:
    """A pooler, which a test may kill and start again at the same place."""

    def __init__(self, url: str, folder: Path, sessions: int) -> None:
        """Take the URL of a database, where to put the configuration, and how many sessions it may have."""
        meant = read(url)
        host, port = meant.hosts[0]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        place = f"host={host} port={port} dbname={meant.database} user={meant.user}"
        place += f" password={meant.password}" if meant.password else ""
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(
            f"[databases]\npooled = {place}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self._port}\n"
            "unix_socket_dir =\nauth_type = any\npool_mode = transaction\nserver_login_retry = 1\n"
            f"default_pool_size = {sessions}\n"
        )
        self.url = f"postgresql://{meant.user}@127.0.0.1:{self._port}/pooled"
        # It will not run as root: then as whom the server runs.
        self._account = Path(host).owner() if os.geteuid() == 0 and host.startswith("/") else None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._config.open() as given:
            self._process = subprocess.Popen(
                [str(PGBOUNCER), "/dev/stdin"], stdin=given, stderr=subprocess.DEVNULL, user=self._account
            )
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        pytest.fail("the pooler does not listen")

    def kill(self) -> None:
        """End it at once, and all connections with it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def pooler_to(url: str, folder: Path, *, sessions: int = 2) -> Iterator[Pooler]:
    """Run a pooler while the block lasts."""
    pooler = Pooler(url, folder, sessions)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.kill()
