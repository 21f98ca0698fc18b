"""Which PostgreSQL tests run on: a named one, else a temporary one of this run, started when first asked.

The temporary server is a child of the process that asked first, and dies with it, also when that is
killed. The workers of pytest-xdist ask their controller (see `sharing`): one server for all of them.
"""

import atexit
import os
import re
import subprocess
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from chimeway.errors import DatabaseUnavailable
from chimeway.store.embedded import temporary_server

VARIABLE: Final = "CHIMEWAY_TEST_DATABASE_URL"
"""Names a server on which databases may be created; its own database is left alone."""
_SETTINGS: Final = (
    "max_connections=300", "max_wal_size=256MB", "min_wal_size=32MB", "dynamic_shared_memory_type=mmap",
)  # fmt: skip
"""A dozen workers with pools of their own have more connections than the default allows. Little WAL,
for it stands in memory. All that makes commits durable is left on: it costs next to nothing there. What
backends share lies in the server's folder and goes with it: of a killed one it would stay in memory."""
_MEMORY: Final = "/dev/shm"  # noqa: S108  (a folder of our own in it)
_DISK: Final = "/tmp"  # noqa: S108
_ROOM: Final = 2 * 1024**3
"""What must be free in memory for a server to be there: ten times what it needs."""
_CLEAN: Final = """
read -r _
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$0/data/postmaster.pid" ] || break; sleep 0.5; done
rm -rf "$0"
"""
"""Waits until whoever holds its input has died, and the server with it."""


class Held:
    """A temporary server, held by a thread that does nothing else.

    The thread is needed: on Linux a child is told of the death of the thread that started it, and
    other threads of a test run come and go.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._url: Future[str] = Future()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._hold, name="chimeway-test-server", daemon=True)

    def url(self) -> str:
        """Return the server's URL, once it runs.

        Raises:
            DatabaseUnavailable: it could not be started.
        """
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()
        return self._url.result()

    def close(self) -> None:
        """Stop the server, and wait until its folder is gone."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _hold(self) -> None:
        try:
            with ExitStack() as stack:
                url = _started(stack)
                self._url.set_result(url)
                self._over.wait()
        except BaseException as fault:  # noqa: BLE001  (whoever waits for the URL gets it)
            if not self._url.done():
                self._url.set_exception(fault)


def _started(stack: ExitStack) -> str:
    """Start a server, in memory where there is room, and see that nothing of it outlives this process."""
    with warnings.catch_warnings():
        # Python warns of forks beside threads; what runs in the child is one system call.
        warnings.simplefilter("ignore", DeprecationWarning)
        url = stack.enter_context(temporary_server(settings=_SETTINGS, under=roomy())).url
    folder = parse_qs(urlsplit(url).query)["host"][0]
    cleaner = subprocess.Popen(
        ["/bin/sh", "-c", _CLEAN, folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )  # fmt: skip
    stack.callback(_dismiss, cleaner)
    return url


def _dismiss(cleaner: subprocess.Popen[bytes]) -> None:
    cleaner.kill()
    cleaner.communicate()


def roomy() -> str:
    """Return a folder in memory, where a database is cloned in a tenth of the time, else one on disk."""
    try:
        folder = os.statvfs(_MEMORY)
        told = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("utf-8"))
    except OSError:  # another system
        return _DISK
    room = min(folder.f_bavail * folder.f_frsize, int(told[1]) * 1024 if told else 0)
    return _MEMORY if room >= _ROOM and os.access(_MEMORY, os.W_OK) else _DISK


class _Here:
    """What this process knows of its server; a fork begins anew."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.held = Held()
        self.ask: Callable[[], str] | None = None


_here = _Here()


def _own() -> _Here:
    global _here  # noqa: PLW0603  (one server a process: that is a fact of the process)
    if _here.pid != os.getpid():
        _here = _Here()
    return _here


def ask_elsewhere(ask: Callable[[], str]) -> None:
    """Have `server_url` ask somebody who holds the server for several processes."""
    _own().ask = ask


def server_url() -> str:
    """Return the URL of the server for tests, and start it if need be.

    Raises:
        DatabaseUnavailable: none is named, and none can be started; the message says what to do.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    here = _own()
    try:
        return here.ask() if here.ask is not None else here.held.url()
    except DatabaseUnavailable as fault:
        hint = f"or name a server by {VARIABLE}, on which databases may be created"
        raise DatabaseUnavailable(f"{fault.message}; {hint}", hint=hint) from None


def is_temporary() -> bool:
    """Say whether the server ends with this run, and all databases with it."""
    return not os.environ.get(VARIABLE)


def stop_server() -> None:
    """Stop the server that this process holds, if it holds one."""
    global _here  # noqa: PLW0603  (as above; who asks again gets another one)
    _own().held.close()
    _here = _Here()


@atexit.register
def _at_exit() -> None:
    if _here.pid == os.getpid():
        _here.held.close()
