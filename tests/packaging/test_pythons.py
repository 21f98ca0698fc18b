"""Each Python that we promise: the lock installs there, the wheel too, and what is pure passes its tests.

And the lowest versions that the ranges allow, which nobody meets by accident until a user does.
"""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from kit.environment import LOCK, ROOT, Environment, build, clean, environment

pytestmark = [pytest.mark.big, pytest.mark.timeout(1_800)]
PYTHONS = ("3.11", "3.12", "3.13")
TESTED = ("tests/pure", "tests/acceptance/test_guide_journey.py", "tests/acceptance/test_app_running.py")
TOOLS = ("pytest-asyncio", "pytest-timeout", "pytest-xdist", "hypothesis", "psutil", "aiosmtpd", "fastapi")


def interpreter(version: str) -> Path:
    """Return the interpreter of a version, or skip the test."""
    found = shutil.which(f"python{version}")
    told = subprocess.run(
        [found or "false", "-c", "import sys, venv, ensurepip; print(sys.executable)"],
        capture_output=True, text=True, check=False,
        env=clean() | {"PYENV_VERSION": _pyenv_version(version)},
    )  # fmt: skip
    if told.returncode:
        pytest.skip(f"no python{version} here")
    return Path(told.stdout.strip())


def _pyenv_version(version: str) -> str:
    """Return what makes pyenv's shims answer to a version that is installed but not chosen."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(root.glob(f"{version}.*"))
    return found[-1].name if found else "system"


def _passes(where: Environment, server_url: str, *options: str) -> None:
    done = where.run(
        "python", "-B", "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *TESTED, *options,
        cwd=ROOT, CHIMEWAY_TEST_DATABASE_URL=server_url,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize("version", PYTHONS)
def test_the_lock_and_the_wheel_on_each_python(version: str, tmp_path: Path, server_url: str) -> None:
    """The exact lock installs with its hashes, and pure tests and the guide's journey pass on the wheel."""
    where = environment(tmp_path / "env", interpreter(version))
    where.install("--require-hashes", "-r", str(LOCK))
    where.install("--no-deps", str(build(ROOT, tmp_path / "dist").wheel))
    _passes(where, server_url)


@pytest.mark.parametrize("version", [PYTHONS[0], PYTHONS[-1]])
def test_the_lowest_versions_that_the_ranges_allow(version: str, tmp_path: Path, server_url: str) -> None:
    """With every direct dependency at its lowest, as a wheel, the same tests pass."""
    where = environment(tmp_path / "env", interpreter(version))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = ("daemon", "embedded", "sync", "web", "apprise")
    ranges = [*project["dependencies"], *(one for name in ours for one in extras[name])]
    lowest = [re.sub(r">=([^,]+).*", r"==\1", one) for one in ranges]
    where.install("--only-binary=:all:", *lowest, *TOOLS, "httpx2")
    where.install("--no-deps", str(build(ROOT, tmp_path / "dist").wheel))
    # Left out is a test that asks a private function of the locked driver what it makes of an address.
    _passes(where, server_url, "-k", "not both_drivers_are_told_the_same")
