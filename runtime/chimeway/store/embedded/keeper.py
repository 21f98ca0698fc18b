"""The keeper: a process of its own, parent of one server, which ends it when nobody needs it any more.

Run as a script, by path and without site packages (`python -I -S keeper.py JSON`): it has to begin in
milliseconds, and holds nothing but the standard library. See `sharing` for what it is for.

It forks: the parent waits until the server answers or has failed, says so by its exit code, and what
went wrong on standard error. The child keeps the server.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

HELD: Final = "another keeper has the lock"
DIED: Final = "the keeper died"
KILLED: Final = "the server was killed while it started"
_READY: Final = b"ready"
_ORDERLY_S: Final = 60.0
_AT_ONCE_S: Final = 5.0
_LOG_BYTES: Final = 1_048_576
_SAID: Final = 2_000
_PR_SET_PDEATHSIG: Final = 1
_PROTOCOL: Final = 196_608
_CANNOT_CONNECT_NOW: Final = b"C57P03\0"
_NOISE: Final = b"the database system is starting up"
"""What it logs of each of our questions while it recovers."""
_PAUSE_S: Final = 0.005
_LONG_PAUSE_S: Final = 0.05


def answers(path: str) -> bool:
    """Say whether a server lets somebody in by this socket now."""
    return asked(path) is True


def asked(path: str) -> bool | None:
    """Say whether a server lets somebody in by this socket now; None: not yet, but it says so (57P03).

    That is one that recovers, for as long as that takes, or ends.
    """
    hello = b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(2.0)
            talk.connect(path)
            talk.sendall((len(hello) + 8).to_bytes(4, "big") + _PROTOCOL.to_bytes(4, "big") + hello)
            answer = talk.recv(4096)
            talk.sendall(b"X\0\0\0\4")
    except OSError:
        return False
    if answer[:1] == b"E" and _CANNOT_CONNECT_NOW in answer:
        return None
    return answer[:1] in {b"R", b"E"}


def _die_with(parent: int) -> None:
    """Ask the kernel that this process, soon a server, ends in order when its keeper dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died in between
            os._exit(1)


def _log(path: str, account: list[int] | None) -> int:
    """Open the server's log; one that has grown is put beside, in the place of the one before."""
    if os.path.lexists(path) and _size(path) == 0:
        Path(path).replace(f"{path}.1")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    if account and os.fstat(log).st_nlink == 1:
        os.fchown(log, *account)
    return log


def _started(spec: dict[str, Any], lock: int) -> "subprocess.Popen[bytes]":
    keeper = os.getpid()
    account = spec["account"]
    who = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
    options = [word for setting in spec["settings"] for word in ("-c", setting)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    log = _log(spec["log"], account)
    # All processes of the server share this open file, and so the lock on it: it is free when the last
    # of them is gone, zombies and numbers of processes notwithstanding.
    os.set_inheritable(lock, True)
    try:
        return subprocess.Popen(
            [spec["postgres"], "-D", spec["cluster"], "-k", spec["sockets"], "-p", spec["port"], *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            pass_fds=[lock], env={**clean, "LC_ALL": "C"},
            preexec_fn=lambda: _die_with(keeper),  # noqa: PLW1509  (there is one thread yet)
            **who,
        )  # fmt: skip
    finally:
        os.close(log)


def _size(log: str) -> int:
    """Return where what a server will say begins in its log."""
    size = os.lstat(log).st_size if os.path.lexists(log) else 0
    return 0 if size > _LOG_BYTES else size


def _said(log: str, since: int) -> bytes:
    lines = Path(log).read_bytes()[since:].splitlines()
    return b"\n".join(line for line in lines if _NOISE not in line)[-_SAID:] or b"it said nothing"


def _tell(pipe: int, text: bytes) -> None:
    with suppress(BrokenPipeError):  # who asked was killed; nobody needs the server then
        os.write(pipe, text)
    os.close(pipe)


def _keep(spec: dict[str, Any], pipe: int) -> int:
    """Start the server, tell how that went, and stay until it has ended; return the exit code."""
    lock = os.open(spec["lock"], os.O_RDWR | os.O_NOFOLLOW)
    users = os.open(spec["users"], os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _tell(pipe, HELD.encode())
        return 1
    for left in (spec["socket"], f"{spec['socket']}.lock"):  # of a server that was killed: the lock is ours
        Path(left).unlink(missing_ok=True)
    since = _size(spec["log"])
    server = _started(spec, lock)
    if not _came_up(server, spec["socket"], spec["patience"]):
        killed = server.poll() == -signal.SIGKILL
        server.kill()
        server.wait()
        _tell(pipe, (KILLED.encode() + b"\n" if killed else b"") + _said(spec["log"], since))
        return 1
    _tell(pipe, _READY)
    unneeded = threading.Event()
    threading.Thread(target=_end_when_unneeded, args=(users, server, unneeded), daemon=True).start()
    server.wait()
    return 0 if unneeded.is_set() else 1


def _came_up(server: "subprocess.Popen[bytes]", path: str, patience_s: float) -> bool:
    """Wait until it answers; False: it has ended, or said nothing for so long.

    One that recovers is never given up: killed, it would begin that anew, and never be done.
    """
    ends, pause = time.monotonic() + patience_s, _PAUSE_S
    while (answer := asked(path)) is not True:
        if answer is None:
            ends, pause = time.monotonic() + patience_s, _LONG_PAUSE_S
        if server.poll() is not None or time.monotonic() > ends:
            return False
        time.sleep(pause)
    return True


def _end_when_unneeded(users: int, server: "subprocess.Popen[bytes]", unneeded: threading.Event) -> None:
    """Wait until nobody shares the users' lock, and end the server: in order, at once, by force."""
    fcntl.flock(users, fcntl.LOCK_EX)
    unneeded.set()
    for number, patience in ((signal.SIGINT, _ORDERLY_S), (signal.SIGQUIT, _AT_ONCE_S)):
        server.send_signal(number)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
    server.kill()


def _detach() -> None:
    """Leave the terminal: what ends us is that nobody needs us, not a key or a service's end."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def main() -> NoReturn:
    """Fork; the parent tells how the start went."""
    spec = json.loads(sys.argv[1])
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read()
        if told == _READY:
            sys.exit(0)
        sys.stderr.buffer.write(told or DIED.encode())
        sys.exit(1)
    os.close(reader)
    _detach()
    try:
        os._exit(_keep(spec, writer))
    except BaseException as error:  # noqa: BLE001  (whoever waits for us must hear of it)
        _tell(writer, repr(error).encode())
        os._exit(1)


if __name__ == "__main__":
    main()
