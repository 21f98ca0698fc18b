"""A node under fault: `chimeway serve` as a process, the lines by which it reaches the world, its clock.

Each node has lines of its own to PostgreSQL and to the provider, so that one can be cut off and the others
not. Its wall clock is a lie that can be changed while it runs (libfaketime, where that is installed); its
monotonic clock is left alone.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from faults.provider import REPLY_TIMEOUT_S
from kit.network import Line
from kit.wrong_clock import library

_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_FAKETIME: Final = library()
_LOGS_KEPT_BYTES: Final = 2_000_000
_NO_DATABASE: Final = 4
"""The exit code of a command that cannot reach its database."""
BEGUN: Final = ("daemon.ready", "lease.standby")
"""What a node says once it works, or would."""


def can_lie_about_time() -> bool:
    """Say whether libfaketime is installed."""
    return _FAKETIME is not None


@dataclass(frozen=True, slots=True)
class Lines:
    """A node's ways out."""

    database: Line
    webhooks: Line
    mail: Line


class Node:
    """One node, over all its lives."""

    def __init__(
        self, name: str, folder: Path, lines: Lines, package: Path, settings: Mapping[str, str]
    ) -> None:
        """Take its name, the folder of all, its lines, the folder with the package, and more settings."""
        self.name = name
        self.lines = lines
        self.busy = False
        self.lives = 0
        self._folder = folder
        self._package = package
        self._settings = settings
        self._clock = folder / f"{name}.clock"
        self._process: subprocess.Popen[bytes] | None = None
        self.most_mib = 0.0

    @property
    def log(self) -> Path:
        """The log of its present life."""
        return self._folder / f"{self.name}.{self.lives}.log"

    def start(self, database_url: str) -> None:
        """Begin a life."""
        self._shorten()
        self.lives += 1
        self.set_clock(0)
        with self.log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chimeway", "serve"],
                env=self._environment(database_url), cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip

    def _environment(self, database_url: str) -> dict[str, str]:
        ours = {
            "DATABASE_URL": self.lines.database.url(database_url),
            "WORKFLOWS_DIR": str(self._folder / "workflows"),
            "TEMPLATES_DIR": str(self._folder / "templates"),
            "DATA_DIR": str(self._folder / "data"),
            "HTTP_BIND": "",
            "LOG_FORMAT": "json",
            "NODE_NAME": self.name,
            "EMAIL_FROM": "Chimeway <no-reply@example.org>",
            "CHANNELS": json.dumps(self._channels()),
            **self._settings,
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
        lies = {
            "LD_PRELOAD": _FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1",
        } if _FAKETIME else {}  # fmt: skip
        named = {f"CHIMEWAY_{name}": value for name, value in ours.items()}
        return clean | named | lies | {"PYTHONPATH": str(self._package)}

    def _channels(self) -> Mapping[str, Any]:
        """Return limits under which a fault run's outages end no delivery, and both providers."""
        patient = {"max_attempts": 100, "breaker_pause": "PT2S"}
        port = self.lines.webhooks.port
        hook = {
            "kind": "webhook", "url": f"http://127.0.0.1:{port}/{self.name}", "secret": _SECRET,
            "allow_http": True, "ports": [port], "allow_networks": ["127.0.0.0/8"],
            "reply_timeout": f"PT{REPLY_TIMEOUT_S:g}S",
        }  # fmt: skip
        mail = {"kind": "smtp", "url": f"smtp://127.0.0.1:{self.lines.mail.port}"}
        return {
            "webhook": {**patient, "providers": [hook]},
            "email": {**patient, "providers": [mail]},
        }

    def set_clock(self, wrong_by_s: float) -> None:
        """Let its wall clock be wrong by so much, within a second."""
        part = self._clock.with_suffix(".part")
        part.write_text(f"{wrong_by_s:+.0f}\n")
        part.replace(self._clock)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process."""
        assert self._process is not None, "it was never started"
        return self._process

    def runs(self) -> bool:
        """Say whether it is alive (or frozen)."""
        return self._process is not None and self._process.poll() is None

    def ended_well(self) -> bool:
        """Say whether it ended as it must, once it was asked to; or before it worked, for want of a database.

        One that is only just starting does not listen to SIGTERM yet, and ends with an error when its
        database fails: whoever looks after it starts it again.
        """
        code = self.process.returncode
        return code == 0 or (code in {-signal.SIGTERM, _NO_DATABASE} and not self.says(*BEGUN))

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def measure(self) -> None:
        """Remember how much memory it has ever used."""
        try:
            used = psutil.Process(self.process.pid).memory_info().rss / 2**20
        except psutil.Error:
            return
        self.most_mib = max(self.most_mib, used)

    def hungry_s(self) -> dict[str, float]:
        """Return how long each of its threads, since it began, was ready to run and no processor took it."""
        return hungry_s(self.process.pid)

    def says(self, *events: str) -> bool:
        """Say whether its present life has logged one of these events."""
        text = self.log.read_text(errors="replace")
        return any(f'"event": "{event}"' in text or f'"event":"{event}"' in text for event in events)

    def tail(self, lines: int = 20) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _shorten(self) -> None:
        """Keep no more than the end of the last life's log."""
        if self.lives and self.log.stat().st_size > _LOGS_KEPT_BYTES:
            with self.log.open("rb+") as file:
                file.seek(-_LOGS_KEPT_BYTES, os.SEEK_END)
                kept = file.read()
                file.seek(0)
                file.write(kept)
                file.truncate()

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.runs():
            self.process.kill()
            self.process.wait()


def hungry_s(pid: int) -> dict[str, float]:
    """Return, by its id, how long each thread of a process was ready to run and no processor took it."""
    found = {}
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):
            found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return found


def ended_by_itself(nodes: list[Node]) -> list[str]:
    """Return what nodes that nobody ended have said last: a node that dies of a fault is a bug."""
    return [
        f"{node.name} ended with {node.process.returncode}:\n{node.tail()}"
        for node in nodes
        if not node.busy and not node.runs()
    ]


def wait_s(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a process to end, so long; say whether it has."""
    ends = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True
