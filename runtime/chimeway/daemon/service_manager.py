"""The service manager that started this process, if one did: systemd's protocol of `Type=notify`, by hand.

It is a datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names; no library is needed. Nothing
here may fail or wait: whoever cannot be told learns nothing, and the node works on.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

_MICRO: Final = 1_000_000
_STATUS_CHARS: Final = 400


class ServiceManager:
    """Whom to tell, and how often it wants to hear that we live."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        """Take the socket's address (@ before an abstract one; empty: none), and the watchdog's length."""
        self.watchdog_s = watchdog_s
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""

    def tell(self, *words: str, status: str | None = None) -> None:
        """Say words such as `READY=1`, and how the node is; nothing is sent where nothing is new."""
        said = list(words)
        if status is not None and status != self._status:
            self._status = status
            said.append("STATUS=" + " ".join(status.split())[:_STATUS_CHARS])
        if not said or not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            way.setblocking(False)
            way.sendto("\n".join(said).encode(), self._address)


def manager_in(environment: MutableMapping[str, str]) -> ServiceManager | None:
    """Return who wants to be told, by an environment, or None; take it out, for what we start is not meant.

    (A PostgreSQL of ours would else say that we are ready when it is.)
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    pid, microseconds = environment.pop("WATCHDOG_PID", ""), environment.pop("WATCHDOG_USEC", "")
    if not address.startswith(("/", "@")):
        return None
    meant = pid in {"", str(os.getpid())} and microseconds.isdigit() and int(microseconds) > 0
    return ServiceManager(address, int(microseconds) / _MICRO if meant else None)
