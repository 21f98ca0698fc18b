"""A daemon as what it is: a child process, with settings from the environment and logs on stderr."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from kit.home import Home
from kit.waiting import DEADLINE_S, alarms, wait_for

COMMAND = (sys.executable, "-m", "chimeway", "serve")


class Daemon:
    """A child process that serves. Its end, unless the test asked for it, fails the test."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Take a started process and the file that its stderr goes to."""
        self.process = process
        self.logs: list[dict[str, Any]] = []
        self._log = log
        self._read = 0
        self._ended = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def seen(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of this event so far that bear these fields."""
        self._read_log()
        return [
            line
            for line in self.logs
            if line.get("event") == event and all(line.get(k) == v for k, v in fields.items())
        ]

    async def event(self, event: str, *, deadline_s: float = DEADLINE_S, **fields: Any) -> dict[str, Any]:
        """Wait for the first log line of this event that bears these fields."""
        lines = await wait_for(lambda: self.seen(event, **fields), f"{event} {fields}", deadline_s=deadline_s)
        return lines[0]

    def kill(self) -> None:
        """End it as a power cut would."""
        self._ended = True
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it where it is."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, as a service manager does."""
        self._ended = True
        self.process.send_signal(signal.SIGTERM)

    async def stopped(self, deadline_s: float = DEADLINE_S) -> int:
        """Ask it to end, and return its exit code."""
        self.terminate()
        return await self.exit_code(deadline_s)

    async def exit_code(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end."""
        self._ended = True
        await wait_for(lambda: self.process.poll() is not None, "the daemon's end", deadline_s=deadline_s)
        return self.process.returncode

    def rss_mib(self) -> float:
        """Return its resident memory."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """Fail the test when it ended by itself."""
        if not self._ended and self.process.poll() is not None:
            self._ended = True
            pytest.fail(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")

    def _read_log(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole, newline, _ = content.rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            try:
                self.logs.append(json.loads(line))
            except ValueError:
                self.logs.append({"event": "not json", "text": line.decode(errors="replace")})


def environment(url: str, home: Home, **settings: str) -> dict[str, str]:
    """Return the environment of a daemon: ours alone, whatever the tests were started with."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    ours = {
        "DATABASE_URL": url,
        "WORKFLOWS_DIR": str(home.workflows),
        "TEMPLATES_DIR": str(home.templates),
        "DATA_DIR": str(home.folder / "data"),
        "HTTP_BIND": "",
        "LOG_FORMAT": "json",
        "EMAIL_FROM": "Chimeway <no-reply@example.org>",
        **settings,
    }
    return clean | {f"CHIMEWAY_{name}": value for name, value in ours.items()}


@asynccontextmanager
async def running_daemon(
    url: str,
    home: Home,
    *options: str,
    name: str = "node",
    ready: bool = True,
    command: Sequence[str] = COMMAND,
    **settings: str,
) -> AsyncIterator[Daemon]:
    """Run a daemon while the block lasts; inside, it is ready (or, `ready=False`, just started).

    `options` are of the command line, `settings` CHIMEWAY_ variables without their prefix. A daemon that
    the block leaves alive is killed; one that died by itself fails the test with the end of its log.
    `command` is another installation's `chimeway serve`.
    """
    log = home.folder / f"{name}-{len(list(home.folder.glob('*.log')))}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
            (*command, *options),
            env=environment(url, home, NODE_NAME=name, **settings),
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    daemon = Daemon(process, log)
    alarms.add(daemon.check)
    try:
        if ready:
            await daemon.event("daemon.ready")
        yield daemon
        daemon.check()
    except BaseException:
        print(f"--- the log of {name} ends:\n{daemon.tail()}")
        raise
    finally:
        alarms.discard(daemon.check)
        if process.poll() is None:
            process.kill()
        await asyncio.to_thread(process.wait)
