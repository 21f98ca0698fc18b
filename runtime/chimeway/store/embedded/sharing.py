"""The server of a data folder, shared by all processes that need it: attach to it, or start it.

The model
    A data folder has at most one server. Who needs it says `with running(folder)`: a node for its whole
    life, a command for a second. The first one starts it, others attach, the last one ends it, in any
    order: a command may start it, a node attach, the command leave. So the server can be nobody's child
    of these. It is the child of a *keeper* (`keeper.py`), a small process that whoever comes first starts
    and nobody owns. No process of ours is ever asked whether it lives by its number: numbers are used
    again, and a zombie has one. Three locks on files (flock) say everything, and the kernel releases
    them whatever a process dies of. Whether a server *works* is asked by connecting to it.

    gate     held alone while somebody attaches, starts or leaves: one at a time.
    users    shared by all who are attached. The keeper waits to have it alone: then nobody needs the
             server, and it ends it (SIGINT: a fast, clean shutdown).
    server   held alone by the keeper, and by every process of its server, which inherit the open file.
             It is free when all of them are gone: then, and only then, another one may be started.

States, as one who comes sees them, under the gate and sharing `users`
    server free                    nothing runs: make the cluster if there is none, start a keeper, which
                                   says when its server answers, or what it said when it failed.
    server held, it answers        attached.
    server held, no answer         it starts, or the rest of a killed one is ending: look again, until it
                                   answers, or is free, or patience is at an end.
    server held, "not yet" (57P03) it recovers, for as long as that takes: no patience ends with it.

Leaving
    Under the gate: whoever can turn the shared hold on `users` into one for itself is the last; it lets go
    of the lock, still in the gate, and waits until `server` is free. A newcomer waits at the gate and
    finds nothing, rather than a server that is about to end.

Failures
    Who is attached forks. The child shares the hold, and does not let go for its parent when it leaves the
        block; the server stays until the child has ended too, if its parent was killed.
    A node or command is killed (-9). Its hold on `users` is gone; if it was the last, the keeper ends the
        server in order. Nothing is left to clean up.
    The server (postmaster) is killed. Its keeper sees its child end, and ends; its backends end by
        themselves; `server` becomes free. Everybody attached has a thread that looks for this twice a
        second, and does what a newcomer does: one of them starts it anew, under the gate, the others
        find it started. A node meanwhile waits for its database as for any other (`database.lost`).
    The keeper is killed. The kernel sends the server SIGINT (PR_SET_PDEATHSIG; the keeper forks it from
        its first thread, which lives as long as the keeper does), so it ends in order; then as above.
    All are killed, or the power fails. All locks are free; the next one starts it, and it recovers.
    It cannot be started again (a full disk). The thread says so (`embedded.failed`) and tries again; the
        node's readiness says the rest.
    A crash during initdb. It works in a folder beside the place, which is renamed when it is whole.
    `postmaster.pid` names a process that is something else now (a container begun anew). The lock is free
        and no process holds the shared memory it names: it is removed. Otherwise a server that is not
        ours works there, and that is said.
    Ctrl-C, or a service manager's SIGTERM to the whole group: keeper and server have their own session,
        and the keeper ends for one reason only. (Under systemd say KillMode=mixed: the server itself would
        take SIGTERM as a wish to let nobody new in.)

What was rejected
    The server as a child of who starts it, ended with it by PR_SET_PDEATHSIG: a command would take the
    server away from a node, and the signal comes when the *thread* that forked dies, which a host's loop
    in a thread of its own cannot promise. A server left running for ever, as `get_server` of the wheel
    does: nobody ends it. A list of pids in a file: it lies after the first kill -9.

Durability is production's: fsync and synchronous_commit are on, data checksums too.
"""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from chimeway.errors import ChimewayError, DatabaseUnavailable
from chimeway.log import Events
from chimeway.store.embedded import keeper
from chimeway.store.embedded.binaries import choose_binaries
from chimeway.store.embedded.cluster import forget_the_dead, major_of, make_cluster
from chimeway.store.embedded.folder import Folder, open_folder
from chimeway.store.embedded.locks import FileLock
from chimeway.store.embedded.server import PORT, Server, url_by

_log = Events()
_GATE_S: Final = 120.0
"""Longer than a start may take: who waits at the gate waits for somebody's start."""
_PATIENCE_S: Final = 60.0
"""For a server that recovers, and for the remains of one that was killed."""
_FOREIGN_S: Final = 10.0
"""For whatever PostgreSQL itself believes to be in its way."""
_LEAVE_S: Final = 30.0
_LOOK_S: Final = 0.5
_PAUSE_S: Final = 0.01
_IN_THE_WAY: Final = ("postmaster.pid", "shared memory block")
_AGAIN: Final = (keeper.HELD, keeper.DIED, keeper.KILLED, "terminated by signal 9")
"""Faults of a moment. (Nothing is said where the one was killed that waits for the keeper.)"""
_SETTINGS: Final = ("listen_addresses=", "unix_socket_permissions=0700", "log_checkpoints=off")


@contextmanager
def running(data_dir: Path, *, settings: tuple[str, ...] = ()) -> Iterator[Server]:
    """Attach to the server of a data folder while the block lasts; if none runs, start it.

    May be called in any thread; it blocks, up to a second at the first time, some tens of milliseconds
    later. The last block to end, in whichever process, ends the server.

    Args:
        data_dir: the folder; made, with a new cluster in it, if it is missing or empty.
        settings: `name=value` for the server's configuration, if this block is the one to start it.

    Yields:
        The server. Its URL stays right if it has to be started anew.

    Raises:
        InvalidSettings: the folder cannot be used: see `open_folder`.
        DatabaseUnavailable: no binaries, another major version, or the server did not start.
    """
    folder = open_folder(data_dir)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(_attached(_Locks(folder, stack), (*_SETTINGS, *settings)))
        except OSError as error:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {folder.path} cannot be started or joined: {error}"
            ) from error
        yield server


class _Locks:
    """The three locks of a folder, opened."""

    def __init__(self, folder: Folder, stack: ExitStack) -> None:
        self.folder = folder
        self.gate, self.users, self.server = (
            stack.enter_context(closing(FileLock(folder.path / name, folder.account)))
            for name in ("gate", "users", "server")
        )


@contextmanager
def _attached(locks: _Locks, settings: tuple[str, ...]) -> Iterator[Server]:
    with locks.gate.alone(_GATE_S):
        locks.users.await_shared(_PATIENCE_S)
        server = _found_or_started(locks, settings)
    watch = _Watch(locks, settings)
    watch.start()
    process = os.getpid()
    try:
        yield server
    finally:
        if process == os.getpid():  # a fork shares the open files: it would let go for who forked it
            watch.end()
            _leave(locks)


def _leave(locks: _Locks) -> None:
    """Let go; whoever is the last waits for the server's end. What hinders that hinders nobody's end."""
    began = time.monotonic()
    try:
        with locks.gate.alone(_LEAVE_S):
            last = locks.users.exclusively()
            locks.users.release()
            if last and locks.server.await_free(_LEAVE_S):
                locks.folder.tidy()
                _log.info("embedded.stopped", seconds=round(time.monotonic() - began, 3))
            elif last:
                fault = f"it was told to end, and has not for {_LEAVE_S:g} s"
                _log.error("embedded.failed", data_dir=str(locks.folder.path), error=fault)
    except DatabaseUnavailable as error:  # our locks go with us all the same
        _log.error("embedded.failed", data_dir=str(locks.folder.path), error=str(error))


def _found_or_started(locks: _Locks, settings: tuple[str, ...]) -> Server:
    """Return the server, once it answers. The gate is ours, and `users` shared."""
    folder = locks.folder
    socket = str(folder.sockets / f".s.PGSQL.{PORT}")
    began = time.monotonic()
    while True:
        if not locks.server.is_free():
            answer = keeper.asked(socket)
            if answer:
                _log.info("embedded.attached", url=url_by(folder.sockets))
                return Server(url_by(folder.sockets), folder.remembered())
            if answer is None:  # it recovers, or ends
                began = time.monotonic()
        elif (server := _started(folder, settings, began)) is not None:
            return server
        if time.monotonic() - began > _PATIENCE_S:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {folder.path} has given no answer for {_PATIENCE_S:g} s; "
                f"its log is {folder.log}"
            )
        time.sleep(_PAUSE_S)


def _started(folder: Folder, settings: tuple[str, ...], began: float) -> Server | None:
    """Start a keeper and its server; None: something is in its way that may go by itself."""
    major = major_of(folder)
    binaries = choose_binaries(folder.account, major, data=folder.path)
    if major is None:
        make_cluster(folder, binaries)
    folder.remember(binaries.folder)
    fault = _keep(folder, binaries.folder, settings)
    if fault is None:
        url = url_by(folder.sockets)
        seconds = round(time.monotonic() - began, 3)
        _log.info("embedded.started", url=url, data_dir=str(folder.path), seconds=seconds, created=not major)
        return Server(url, binaries.folder)
    if not fault or any(words in fault for words in _AGAIN):
        return None
    no_room = (
        os.strerror(errno.ENOSPC) in fault
    )  # its lock file may be what it could not write: nobody is in the way
    if no_room or not any(words in fault for words in _IN_THE_WAY):
        full = " (the disk is full)" if no_room or folder.is_full() else ""
        raise DatabaseUnavailable(f"the embedded PostgreSQL in {folder.path} did not start{full}:\n{fault}")
    if time.monotonic() - began > _FOREIGN_S:
        raise DatabaseUnavailable(
            f"another PostgreSQL server, which Chimeway did not start, works on {folder.cluster}: "
            f"end it, or connect to it by CHIMEWAY_DATABASE_URL:\n{fault}"
        )
    forget_the_dead(folder)
    return None


def _keep(folder: Folder, binaries: Path, settings: tuple[str, ...]) -> str | None:
    """Start a keeper; return None when its server answers, else what went wrong."""
    account = folder.account
    spec = {
        "postgres": str(binaries / "postgres"),
        "cluster": str(folder.cluster),
        "sockets": str(folder.sockets),
        "socket": str(folder.sockets / f".s.PGSQL.{PORT}"),
        "port": str(PORT),
        "log": str(folder.log),
        "lock": str(folder.path / "server"),
        "users": str(folder.path / "users"),
        "account": [account.uid, account.gid] if account.dropped else None,
        "settings": list(settings),
        "patience": _PATIENCE_S,
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", keeper.__file__, json.dumps(spec)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, cwd="/",
    )  # fmt: skip
    return None if done.returncode == 0 else done.stderr.decode(errors="replace")


class _Watch:
    """A thread of who is attached: a server that is gone is started anew."""

    def __init__(self, locks: _Locks, settings: tuple[str, ...]) -> None:
        self._locks, self._settings = locks, settings
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chimeway embedded", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            if self._locks.server.is_free():
                self._start_anew()

    def _start_anew(self) -> None:
        _log.warning("embedded.lost", data_dir=str(self._locks.folder.path))
        try:
            with self._locks.gate.alone(_GATE_S):
                _found_or_started(self._locks, self._settings)
        except (ChimewayError, OSError) as error:
            _log.error("embedded.failed", data_dir=str(self._locks.folder.path), error=str(error))
