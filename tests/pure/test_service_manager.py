"""What a service manager is told, on a real socket."""

import asyncio
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from chimeway.clock import SystemClock
from chimeway.daemon import vigil
from chimeway.daemon.machine import Node
from chimeway.daemon.readiness import Readiness
from chimeway.daemon.service_manager import ServiceManager, manager_in
from chimeway.engine.headway import Sign
from chimeway.store.health import Trouble


@pytest.fixture
def ear() -> socket.socket:
    """A socket such as systemd's."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


@pytest.mark.parametrize("abstract", [False, True])
def test_words_arrive(ear: socket.socket, tmp_path: Path, *, abstract: bool) -> None:
    """At a path, or at an abstract address; a status is sent when it is another one, and in one line."""
    with ear:
        ear.settimeout(5)
        name = f"@chimeway-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        ear.bind(f"\0{name[1:]}" if abstract else name)
        manager = manager_in(environment := {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000", "HOME": "/"})
        assert manager is not None
        assert (manager.watchdog_s, environment) == (2.0, {"HOME": "/"}), "what we start is not meant"
        manager.tell("READY=1", status="working\nREADY=0")
        assert ear.recv(4096) == b"READY=1\nSTATUS=working READY=0"
        manager.tell(status="working\nREADY=0")
        manager.tell("WATCHDOG=1", status="draining")
        assert ear.recv(4096) == b"WATCHDOG=1\nSTATUS=draining"


def test_who_cannot_be_told_learns_nothing(tmp_path: Path) -> None:
    """A socket that is gone, or full, is nobody's fault, and nobody waits for it."""
    ServiceManager(str(tmp_path / "gone"), None).tell("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        for _ in range(5_000):
            ServiceManager(str(tmp_path / "deaf"), None).tell("WATCHDOG=1")


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_whose_watchdog_it_is(environment: dict[str, str], watchdog_s: float | None) -> None:
    """Only what is meant for this process is fed."""
    manager = manager_in({"NOTIFY_SOCKET": "/run/notify"} | environment)
    assert manager is not None
    assert manager.watchdog_s == watchdog_s


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_without_a_manager_nobody_is_told(address: str) -> None:
    """Nor where it is reached by a way that we do not know."""
    assert manager_in({"NOTIFY_SOCKET": address}) is None


async def test_who_stands_by_is_fed_and_so_is_who_lost_his_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the parts show; only who works, and reaches it, is judged by them. Each is said in words."""
    monkeypatch.setattr(vigil, "STANDS_S", 1e-6)  # who shows the same twice stands
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(5)
        ear.bind(str(tmp_path / "notify"))
        ready = Readiness("standing_by", signs=lambda: [Sign("rounds of runs", 1)])
        keeps = vigil.Vigil(ServiceManager(str(tmp_path / "notify"), 2.0), asyncio.Event())
        keeps.ready(cast("Node", SimpleNamespace(readiness=ready, clock=SystemClock())))
        assert ear.recv(4096) == b"READY=1\nSTATUS=standing by"
        for _ in range(2):
            keeps.look()
            assert ear.recv(4096) == b"WATCHDOG=1"
        ready.stage = "working"
        keeps.look()
        assert ear.recv(4096) == b"WATCHDOG=1"
        keeps.look()
        assert b"work stands still" in ear.recv(4096).removeprefix(b"STATUS=")
        ready.health.met("a call", Trouble("lost", "commit", asyncio.get_running_loop().time(), "refused"))
        keeps.look()
        fed, status = ear.recv(4096).decode().splitlines()
        assert fed == "WATCHDOG=1"
        assert re.fullmatch(r"STATUS=the database is lost since .{19} UTC: commit: refused", status)
