"""What a call of the apprise library does, seen and bounded from below: its connections, files, answers.

The library says yes or no, and no more. It has some two hundred plugins by many hands, which may read
files (`slack://...?template=/etc/passwd` sends one), start programs and call any host that stands in a URL.
So each call has a thread of its own with a `Watch`, and three things in this process, which do nothing in
any other thread, ask it:

- an audit hook of the interpreter, before a socket connects (to the very address, after any look-up of a
  name, so that no name can be bound anew), a file is opened or a program started;
- `requests.adapters.HTTPAdapter.send`, through which every request of `requests` goes: it bounds the time,
  gives the idempotency key, sees the answer, and takes away where a redirect leads;
- a filter of the loggers of apprise and urllib3, whose lines may hold URLs with tokens.

All three stay once they are there (the interpreter lets no hook be taken away). A plugin that starts threads
of its own (XMPP, MQTT, IRC) is not seen in them: another reason why those must be allowed by name.
"""

import logging
import mimetypes
import os
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from hashlib import sha256
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import apprise
import certifi
import requests
from apprise.manager_attachment import AttachmentManager
from apprise.manager_plugins import NotificationManager
from requests.adapters import HTTPAdapter

from chimeway.delivery.channels.webhook_answers import Reply
from chimeway.delivery.outward.networks import Networks, read_address

Refused: TypeAlias = Literal["network", "file", "program"]
Trouble: TypeAlias = Literal["not_connected", "no_answer", "not_trusted", "lost"]

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
    for path in {sys.prefix, sys.base_prefix, *map(_home, (apprise, requests, certifi, os))}
)
"""Where modules and their data are read from, late imports among them."""


class Answer(NamedTuple):
    """What one request came to."""

    place: str
    """Where it went, as a digest."""
    reads: bool
    """Whether its method is one that only reads (some services take messages by GET all the same)."""
    came: Reply | Trouble


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
        _observe_requests()
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


def _observe_requests() -> None:
    original = HTTPAdapter.send

    @wraps(original)
    def send(
        self: HTTPAdapter, request: requests.PreparedRequest, *rest: Any, **options: Any
    ) -> requests.Response:
        watch = _watch()
        if watch is None:
            return original(self, request, *rest, **options)
        place, reads = _place(request), request.method in {"GET", "HEAD", "OPTIONS"}
        if not reads:
            # Of one place: a log-in before a message must not have the message's key.
            request.headers.setdefault("Idempotency-Key", f"{watch.key}-{place}")
        options["timeout"] = watch.timeout_s
        try:
            response = original(self, request, *rest, **options)
        except Exception as error:
            watch.answers.append(Answer(place, reads, _trouble(error)))
            raise
        headers = [(name.encode("latin-1"), str(value).encode()) for name, value in response.headers.items()]
        watch.answers.append(Answer(place, reads, Reply(response.status_code, headers)))
        if response.is_redirect:
            del response.headers["location"]  # then nobody follows it
        return response

    HTTPAdapter.send = send  # type: ignore[method-assign]


def _place(request: requests.PreparedRequest) -> str:
    """Return a digest of where a request goes, without the query: that may differ from attempt to attempt."""
    place = f"{request.method} {(request.url or '').partition('?')[0]}"
    return sha256(place.encode()).hexdigest()[:8]


def _trouble(error: Exception) -> Trouble:
    """Say what an exception of requests means for whether the message has left."""
    match error:
        case requests.ConnectTimeout() | requests.exceptions.ProxyError():
            return "not_connected"
        case requests.Timeout():
            return "no_answer"
        case requests.exceptions.SSLError() if _shook_hands_in_vain(error):
            return "not_trusted"
        case requests.ConnectionError() if _names_no_connection(error):
            return "not_connected"
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return "not_connected"
        case _:
            return "lost"


def _shook_hands_in_vain(error: BaseException | None) -> bool:
    """Say whether TLS failed before there was a connection; later the request has left, or a part of it."""
    while error is not None:
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in traceback.walk_tb(error.__traceback__)):
            return True
        error = error.__context__
    return False


def _names_no_connection(error: requests.ConnectionError) -> bool:
    """Say whether nobody could be reached: urllib3 says so by the class of the reason."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason).__name__ in {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"}
