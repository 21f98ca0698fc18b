"""What the units forbid is nothing that a node does: its system calls, seen, are among those let through."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kit.daemon import running_daemon
from kit.home import email, home, in_app, workflow
from kit.rows import rows_of
from kit.smtp import smtp_sink
from kit.waiting import wait_for

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "chimeway.service"
START = """
select chimeway.trigger('mention_escalation', recipient_id => 'ada')
  from chimeway.identify('default', 'ada', '{"email": "ada@example.org"}')"""


def _sets() -> dict[str, list[str]]:
    """Return systemd's sets of system calls, as this version has them."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in told.splitlines():
        if line.startswith("@"):
            found[line.strip()] = here = []
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            here.append(line.strip())
    return found


def _in(name: str, sets: dict[str, list[str]]) -> set[str]:
    parts = sets.get(name, [name])
    return {call for part in parts for call in (_in(part, sets) if part.startswith("@") else {part})}


def _allowed() -> set[str]:
    """Return the system calls that the unit lets through."""
    sets, allowed = _sets(), set[str]()
    for given in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(), re.MULTILINE):
        named = {call for name in given.lstrip("~").split() for call in _in(name, sets)}
        allowed = allowed - named if given.startswith("~") else allowed | named
    return allowed


@pytest.mark.big
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there (.ci/apt.txt)")
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there (.ci/apt.txt)"
)
async def test_a_node_does_nothing_that_its_unit_forbids(database_url: str, tmp_path: Path) -> None:
    """From its start to its end, with a journey, an e-mail, HTTP and a service manager."""
    seen = tmp_path / "calls"
    command = (
        "env", f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=1000000",
        "strace", "-D", "-f", "-c", "-U", "name", "-o", str(seen), sys.executable, "-m", "chimeway", "serve",
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    journey = workflow(in_app(), email())
    async with (
        smtp_sink() as sink,
        rows_of(database_url) as rows,
        running_daemon(
            database_url, home(tmp_path, journey), command=command, SMTP_URL=sink.url, HTTP_BIND=bind
        ) as daemon,
    ):
        await rows.until(await rows.value(START), "completed")
        assert len(sink.mails) == 1
        assert await daemon.stopped() == 0
    await wait_for(lambda: seen.exists() and "total" in seen.read_text(), "what was seen")
    used = set(re.findall(r"^(\w+)\s*$", seen.read_text(), re.MULTILINE)) - {"syscall", "total"}
    assert {"sendto", "epoll_wait", "openat", "execve"} <= used
    assert not used - _allowed()
