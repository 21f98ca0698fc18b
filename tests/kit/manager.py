"""A service manager as a node sees one: a socket, and what arrives at it."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

from kit.waiting import wait_for

WATCHDOG_S: Final = 1.0

BENT: Final = '''
"""A node in which one thing goes wrong when a test says so: SIGUSR1 blocks the loop, a file hangs a round."""
import asyncio, os, signal, time
from chimeway.daemon import vigil
from chimeway.engine.seam import Seam

vigil.STANDS_S = 1.5
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(2.5))
evaluate_all = Seam.evaluate_all

async def hanging(self, ids, now):
    if os.path.exists("hang"):
        os.remove("hang")
        await asyncio.Event().wait()
    return await evaluate_all(self, ids, now)

Seam.evaluate_all = hanging
from chimeway.cli.main import main
main()
'''


class Heard:
    """What the node has said, and when."""

    def __init__(self, address: str) -> None:
        """Begin with nothing."""
        self._address = address
        self.said: list[tuple[float, str]] = []

    def command(self, program: Path) -> tuple[str, ...]:
        """Return how a node is started that is to speak to us."""
        said = (f"NOTIFY_SOCKET={self._address}", f"WATCHDOG_USEC={WATCHDOG_S * 1_000_000:.0f}")
        return ("env", "PYTHONFAULTHANDLER=1", *said, sys.executable, str(program), "serve")

    def times(self, word: str) -> list[float]:
        """Return when a word was said."""
        return [at for at, said in self.said if said == word]

    def pings_since(self, at: float) -> int:
        """Count how often the watchdog was fed after a moment."""
        return sum(ping > at for ping in self.times("WATCHDOG=1"))

    @property
    def status(self) -> str:
        """What it said last of how it is."""
        told = [said for _, said in self.said if said.startswith("STATUS=")]
        return told[-1].removeprefix("STATUS=") if told else ""

    async def until_status(self, begins: str) -> float:
        """Wait until it says that it is so; return when that was."""
        await wait_for(lambda: self.status.startswith(begins), f"status {begins}, not {self.status}")
        return time.monotonic()

    async def fed_for(self, seconds: float) -> None:
        """See that it is fed all the time, for so long, never later than the watchdog allows."""
        began = time.monotonic()
        await wait_for(lambda: time.monotonic() - began > seconds, "that long")
        pings = [began, *(at for at in self.times("WATCHDOG=1") if at > began), time.monotonic()]
        gap = max(later - earlier for earlier, later in pairwise(pings))
        assert gap < WATCHDOG_S, f"not fed for {gap:.2f} s: {self.status}"


@asynccontextmanager
async def manager(folder: Path, *, abstract: bool = False) -> AsyncIterator[Heard]:
    """Hear a node while the block lasts."""
    name = f"@chimeway-{os.getpid()}-{folder.name}" if abstract else str(folder / "notify")
    heard, loop = Heard(name), asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind(f"\0{name[1:]}" if abstract else name)

        def arrived() -> None:
            at = time.monotonic()
            heard.said += [(at, line) for line in ear.recv(65_536).decode().splitlines()]

        loop.add_reader(ear, arrived)
        try:
            yield heard
        finally:
            loop.remove_reader(ear)


def bent(folder: Path) -> Path:
    """Write the program of a node that goes wrong on demand."""
    program = folder / "bent.py"
    program.write_text(BENT)
    return program
