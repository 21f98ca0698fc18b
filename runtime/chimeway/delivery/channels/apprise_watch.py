"""What a call of the apprise library does, seen and bounded from below: its connections, files, answers.

The library says yes or no, and no more. It has some two hundred plugins by many hands, which may read
files (`slack://...?template=/etc/passwd` sends one), start programs and call any host that stands in a URL.
So each call has a thread of its own with a `Watch`, and three things in this process, which do nothing in
any other thread, ask it:

- an audit hook of the interpreter, before a socket connects (to the very address, after any look-up of a
  name, so that no name can be bound anew), a file is opened or a program started;
- what every request of the library `requests` goes through (`apprise_requests`);
- a filter of the loggers of apprise and urllib3, whose lines may hold URLs with tokens.

All three stay once they are there (the interpreter lets no hook be taken away). A plugin that starts threads
of its own (XMPP, MQTT, IRC) is not seen in them: another reason why those must be allowed by name.
"""

import logging
import mimetypes
import os
import site
import socket
import sys
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias

import apprise
import certifi
import requests
from apprise.manager_attachment import AttachmentManager
from apprise.manager_plugins import NotificationManager

from chimeway.delivery.channels.apprise_requests import Answer, observe
from chimeway.delivery.outward.networks import Networks, read_address

Refused: TypeAlias = Literal["network", "file", "program"]

_PROGRAMS: Final = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
)
_SOCKETS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOK_UP: Final = "socket.getaddrinfo"
_WATCHED: Final = _PROGRAMS | _SOCKETS | {_LOOK_UP, "open"}
_LOGGERS: Final = ("apprise", "urllib3.connectionpool", "urllib3.connection", "requests")
_here: Final = threading.local()
_installed: Final = threading.Lock()
_state: Final = {"installed": False}


def _home(module: ModuleType) -> str:
    return os.path.dirname(module.__file__ or "")  # noqa: PTH120  (a text is what is compared)


_CODE: Final = tuple(
    f"{os.path.realpath(path)}{os.sep}"
    for path in {
        *site.getsitepackages(),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *map(_home, (apprise, requests, certifi, os)),
    }
)
"""Where modules and their data are read from, late imports among them; not what else stands beside them."""


@dataclass(slots=True, eq=False)
class Watch:
    """One call: what it may do, and what it did."""

    key: str
    """The idempotency key of its message."""
    timeout_s: float
    networks: Networks | None
    """Where it may connect to; None: anywhere."""
    files: bool
    """Whether it may read files and start programs."""
    answers: list[Answer] = field(default_factory=list)
    refused: Refused | None = None
    """What was refused; where several things were, and the network among them, the network."""
    asked: bool = False
    """Whether it has begun to connect to anybody."""
    looked_up: bool = False
    """Whether it has wanted to know where a name leads."""
    _sockets: list[socket.socket] = field(default_factory=list)
    _cut: bool = False
    _lock: Any = field(default_factory=threading.RLock)
    """Of both: whoever cuts must not meet a socket that is being closed, nor miss one that is new."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this thread while the block lasts."""
        _here.watch = self
        try:
            yield
        finally:
            _here.watch = None
            with self._lock:
                while self._sockets:
                    self._sockets.pop().close()

    def cut(self) -> None:
        """End its connections, from any thread, and let it begin no other: nobody waits for it any more."""
        with self._lock:
            self._cut = True
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def look_at(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at what the interpreter is about to do.

        Raises:
            PermissionError: it must not.
        """
        if event in _SOCKETS:
            self._connects(arguments[0], arguments[1])
        elif event == _LOOK_UP:
            self.looked_up = True
        elif event in _PROGRAMS:
            if not self.files:
                self._refuse("program")
        elif not self.files and not _is_code(arguments[0]):
            self._refuse("file")

    def _connects(self, one: socket.socket, to: object) -> None:
        if not self._permits(to):
            self._refuse("network")
        with self._lock:
            if self._cut:
                self._refuse("network")
            self.asked = True
            with suppress(OSError):  # TLS moves the first one's end elsewhere; this one can be cut
                self._sockets.append(socket.fromfd(one.fileno(), one.family, one.type))

    def _permits(self, to: object) -> bool:
        if self.networks is None:
            return True
        host = to[0] if isinstance(to, tuple) and to else None  # else a path: a socket of this machine
        try:
            return isinstance(host, str) and self.networks.permit(read_address(host))
        except ValueError:
            return False

    def _refuse(self, what: Refused) -> None:
        self.refused = what if what == "network" else self.refused or what
        raise PermissionError("a notification may not do this")


def install() -> None:
    """Put the three things in their places, and load the library's plugins; once for this process.

    That takes a second, and imports nothing but what is installed: so it is done before anything is watched.
    """
    with _installed:
        if _state["installed"]:
            return
        # Of two hundred plugins some are behind their times. Not `catch_warnings`: its filters are the whole
        # process's, and it puts them back as they were, whatever other threads have changed meanwhile.
        warnings.filterwarnings("ignore", module=r"(.*[/\\])?apprise\b")
        NotificationManager().load_modules()  # type: ignore[no-untyped-call]
        AttachmentManager().load_modules()  # type: ignore[no-untyped-call]
        mimetypes.init()  # it reads files of the system
        sys.addaudithook(_audit)
        observe(_watch)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_silent_here)
        _state["installed"] = True


def _watch() -> Watch | None:
    found: Watch | None = getattr(_here, "watch", None)
    return found


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _WATCHED and (watch := _watch()) is not None:
        watch.look_at(event, arguments)


def _silent_here(_record: logging.LogRecord) -> bool:
    return _watch() is None


def _is_code(path: object) -> bool:
    """Say whether a file is of the program itself; a number is a file that is open already."""
    if isinstance(path, int) or path is None:
        return True
    return os.path.realpath(os.fsdecode(path)).startswith(_CODE)  # type: ignore[arg-type]
