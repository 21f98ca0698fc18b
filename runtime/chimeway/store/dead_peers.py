"""A server whose machine or network has vanished says nothing, not even that it is gone.

Linux waits a quarter of an hour for a receipt of what was sent, and for ever where one only listens.
The driver leaves that so. So every connection by TCP is told here to find out, within half a minute:
after a power cut the node is soon at the server that took over.

What this cannot find is a machine that still answers for itself while PostgreSQL in it stands still: that is
left to the calls' own time limits.
"""

import socket
from typing import Any, Final

import asyncpg

_IDLE_S: Final = 10
"""Silence after which the peer is asked whether it is there."""
_AGAIN_S: Final = 5
_TIMES: Final = 3
_UNHEARD_MS: Final = 20_000
"""How long what was sent may stay without a receipt."""


def find_out(connection: "asyncpg.Connection[Any]") -> None:
    """Have the system end a connection whose peer has vanished, as if it had been closed."""
    transport = getattr(connection, "_transport", None)  # the driver shows it by no public name
    found = transport.get_extra_info("socket") if transport is not None else None
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _AGAIN_S),
        ("TCP_KEEPCNT", _TIMES),
        ("TCP_USER_TIMEOUT", _UNHEARD_MS),
    ):
        option = getattr(socket, name, None)  # another system has others, or none
        if option is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
