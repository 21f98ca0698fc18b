"""What `deploy/install` installs: units that systemd takes, and rates well; what is the operator's stays."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "deploy" / "install"
HOST_UNITS = Path("/usr/lib/systemd/system")
UNITS = ("chimeway.service", "chimeway@.service")


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip, by name, where a tool is missing."""
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not there (.ci/apt.txt)")


def installed(root: Path, *options: str) -> str:
    """Install, or whatever the options say, below a root; return what it said."""
    done = subprocess.run(
        [INSTALL, "--root", root, *options], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(root: Path) -> dict[str, bytes]:
    """Return all files below a root."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_what_is_installed_can_be_removed_and_nothing_else(tmp_path: Path) -> None:
    """Installed twice is installed once; an upgrade keeps what is the operator's; so does a removal."""
    installed(tmp_path)
    first = files(tmp_path)
    assert {Path(name).name for name in first} == {
        *UNITS, "chimeway.conf", "environment", "environment.example",
    }  # fmt: skip
    again = installed(tmp_path)
    assert (files(tmp_path), "installed  " in again) == (first, False)

    unit, ours = tmp_path / "usr/local/lib/systemd/system/chimeway.service", tmp_path / "etc/chimeway"
    unit.write_text("an older one")
    (ours / "environment").write_text("CHIMEWAY_LOG_LEVEL=debug\n")
    (ours / "credentials").mkdir()
    (ours / "credentials" / "database_url").write_text("postgresql://secret@db/chimeway")
    data = tmp_path / "var/lib/chimeway"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18")
    assert f"kept       {ours}/environment" in installed(tmp_path)
    assert (
        files(tmp_path)["usr/local/lib/systemd/system/chimeway.service"]
        == first["usr/local/lib/systemd/system/chimeway.service"]
    )
    installed(tmp_path, "--uninstall")
    assert set(files(tmp_path)) == {
        "etc/chimeway/environment", "etc/chimeway/credentials/database_url", "var/lib/chimeway/PG_VERSION",
    }  # fmt: skip
    assert (ours / "environment").read_text() == "CHIMEWAY_LOG_LEVEL=debug\n"
    installed(tmp_path, "--uninstall", "--purge")
    assert not files(tmp_path)


@pytest.mark.parametrize(
    "words",
    [("--prefix", "/opt/a|b"), ("--prefix", "opt"), ("--root",), ("--purge",), ("--uninstal",)],
    ids=" ".join,
)
def test_what_is_not_understood_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """By its name, and nothing is installed."""
    done = subprocess.run(
        [INSTALL, "--root", tmp_path, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, files(tmp_path)) == (2, {})
    assert words[0] in done.stderr


def test_files_may_be_read_by_whom_they_concern(tmp_path: Path) -> None:
    """Units by all, whatever the umask; settings by root and the node."""
    before = os.umask(0o077)
    try:
        installed(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes.pop("environment") == 0o640
    assert set(modes.values()) == {0o644}


def test_the_units_of_one_node_and_of_several_differ_in_the_name_alone() -> None:
    """What holds for one holds for the other."""
    one, several = ((ROOT / "deploy" / "systemd" / unit).read_text().splitlines() for unit in UNITS)
    plain = [line for line in one if not line.startswith("#")]
    more = [line for line in several if not line.startswith("#") and line not in plain]
    assert more == [
        "Description=Chimeway, an engine for notification journeys (node %i)",
        "Environment=CHIMEWAY_NODE_NAME=%H-%i",
        "EnvironmentFile=-/etc/chimeway/%i.environment",
    ]
    assert [line for line in plain if line not in several] == [
        "Description=Chimeway, an engine for notification journeys"
    ]


@needs("systemd-analyze")
@pytest.mark.parametrize("prefix", ["/opt/chimeway", "/srv/notify/venv"])
def test_systemd_takes_the_units(tmp_path: Path, prefix: str) -> None:
    """As they are installed. (`verify` says what is wrong, and ends well all the same.)"""
    installed(tmp_path, "--prefix", prefix)
    program = tmp_path / prefix[1:] / "bin" / "chimeway"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    host = tmp_path / HOST_UNITS.relative_to("/")
    host.mkdir(parents=True)
    for target in HOST_UNITS.glob("*.target"):
        shutil.copy(target, host, follow_symlinks=True)
    for unit in ("chimeway.service", "chimeway@1.service"):
        done = _systemd("verify", "--man=no", f"--root={tmp_path}", unit)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert (
        f"{prefix}/bin/chimeway serve"
        in (tmp_path / "usr/local/lib/systemd/system/chimeway.service").read_text()
    )

    unit = tmp_path / "usr/local/lib/systemd/system/chimeway.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSecond=60"))
    assert "WatchdogSecond" in _systemd("verify", "--man=no", f"--root={tmp_path}", unit.name).stderr


@needs("systemd-analyze")
def test_the_units_are_hardened(tmp_path: Path) -> None:
    """Exposed by 2.0 of 10 at the most."""
    installed(tmp_path)
    for unit in UNITS:
        path = tmp_path / "usr/local/lib/systemd/system" / unit
        done = _systemd("security", "--offline=true", "--threshold=20", "--no-pager", str(path))
        assert done.returncode == 0, done.stdout + done.stderr


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    """By systemd itself, below the root; credentials are for root alone."""
    installed(tmp_path)
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "chimeway.conf"], check=True, timeout=60)
    entry = next(
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("chimeway:")
    )
    assert entry.endswith(":/var/lib/chimeway:/usr/sbin/nologin")
    if os.geteuid() != 0:
        return  # only root gives folders away
    make = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", "chimeway.conf"]
    subprocess.run(make, check=True, timeout=60)
    modes = {
        name: oct((tmp_path / name).stat().st_mode & 0o777)
        for name in ("etc/chimeway", "etc/chimeway/credentials", "etc/chimeway/workflows", "var/lib/chimeway")
    }
    assert list(modes.values()) == ["0o750", "0o700", "0o750", "0o700"]
    assert (tmp_path / "etc/chimeway/credentials").stat().st_uid == 0
    assert (tmp_path / "var/lib/chimeway").stat().st_uid == int(entry.split(":")[2])


@needs("shellcheck")
def test_the_installer_is_plain_shell() -> None:
    """Without anything that only bash knows."""
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=style", INSTALL],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def _systemd(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *words],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip
