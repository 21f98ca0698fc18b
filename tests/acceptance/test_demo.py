"""`chimeway demo`: what a newcomer runs first."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from chimeway.client.explanation import Explanation
from chimeway.demo.agreement import disagreements
from chimeway.demo.report import Mail
from chimeway.testing.server import roomy
from kit.waiting import wait_for

COMMAND = (sys.executable, "-m", "chimeway", "demo")


@pytest.fixture
def elsewhere() -> Iterator[dict[str, str]]:
    """An environment whose temporary folder is the test's own, to see what is left in it."""
    with tempfile.TemporaryDirectory(prefix="cwdemo-", dir=roomy()) as folder:
        Path(folder).chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
        # Names that must not lead the demo astray.
        yield {**clean, "TMPDIR": folder, "CHIMEWAY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}


def _left(environment: dict[str, str]) -> list[Any]:
    """Return what a demo left: files of its own, and processes."""
    folder = environment["TMPDIR"]
    processes = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("TMPDIR", "")]
        except (psutil.Error, OSError):
            continue
        if any(word.startswith(folder) for word in told):
            processes.append(process)
    return [*processes, *Path(folder).iterdir()]


async def test_it_agrees_and_leaves_nothing(elsewhere: dict[str, str]) -> None:
    """A reader is spared the e-mail, one who does not read gets exactly one, and rows and sink agree."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--json", env=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    arrived = [mail["to"].partition("@")[0] for mail in report["mails"]]
    assert (report["agrees"], report["faults"], sorted(arrived)) == (True, [], ["bo", "dara"])
    assert {name: run["run"]["state"] for name, run in report["runs"].items()} == {
        "ada": "stopped", "bo": "completed", "chen": "stopped", "dara": "completed", "eli": "completed",
    }  # fmt: skip
    assert report["rows_verified"] > 0
    await wait_for(lambda: not _left(elsewhere), "nothing is left")


async def test_interrupted_it_leaves_nothing(elsewhere: dict[str, str]) -> None:
    """Ctrl-C in the middle, twice, ends its node and its server, and removes its folder."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, env=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    while not any("is mentioned" in line for line in lines):
        lines.append((await process.stdout.readline()).decode())
        assert lines[-1], lines
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.1)  # not to be one signal
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (130, "interrupted; nothing is left running\n")
    await wait_for(lambda: not _left(elsewhere), "nothing is left")


def _played() -> tuple[dict[str, Explanation], list[Mail], dict[str, int]]:
    """Return the facts of a demo in which all is well, with no more in them than the judge looks at."""
    states = {"ada": "stopped", "bo": "completed", "chen": "stopped", "dara": "completed", "eli": "completed"}
    runs: dict[str, Any] = {name: _Run(state, ()) for name, state in states.items()}
    mails = []
    for name in ("bo", "dara"):
        sent = _Delivery(uuid4(), "email", "succeeded")
        runs[name] = _Run("completed", (sent,))
        mails.append(Mail(f"{name}@example.org", "Hello", sent.id))
    return runs, mails, dict.fromkeys(states, 1)


class _Delivery:
    def __init__(self, id: Any, channel: str, status: str) -> None:  # noqa: A002
        self.id, self.channel, self.status = id, channel, status


class _Run:
    def __init__(self, state: str, deliveries: tuple[_Delivery, ...]) -> None:
        self.state, self.deliveries = state, deliveries


def test_the_judge_finds_what_does_not_agree() -> None:
    """A mail too many, one too few, one of nobody's, a missing item: each is said."""
    runs, mails, inboxes = _played()
    assert list(disagreements(runs, mails, inboxes)) == []
    assert list(disagreements(runs, mails[:1], inboxes)) == [
        "dara: the rows say 1 e-mails were sent, and 0 arrived",
        "dara should have got exactly one e-mail, and got 0",
    ]
    assert "bo should have got exactly one e-mail, and got 2" in list(
        disagreements(runs, [*mails, mails[0]], inboxes)
    )
    stranger = replace(mails[0], to="ada@example.org", delivery_id=uuid4())
    assert list(disagreements(runs, [*mails, stranger], inboxes)) == [
        "ada: the rows say 0 e-mails were sent, and 1 arrived",
        f"the e-mail to ada@example.org belongs to no delivery in the rows ({stranger.delivery_id})",
    ]
    assert list(disagreements(runs, mails, {**inboxes, "eli": 0})) == ["eli's inbox holds 0 items, not one"]
