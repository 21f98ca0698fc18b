"""Environments as users have them: the wheel, built once, installed into an empty one."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / "requirements" / "dev.txt"


@dataclass(frozen=True, slots=True)
class Distributions:
    """What a build gives."""

    wheel: Path
    sdist: Path


def build(source: Path, out: Path) -> Distributions:
    """Build sdist and, from it, wheel, with the build tools of this environment."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Distributions(wheel, sdist)


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and an empty folder to run in."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def place(self) -> Path:
        """Where it runs: an empty folder."""
        return self.folder / "place"

    def install(self, *arguments: str) -> None:
        """Install by pip, from the registry."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3_000:]

    def run(
        self, command: str, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment's bin folder, with CHIMEWAY_ variables as given and no others."""
        return subprocess.run(
            [self.python.with_name(command), *arguments], cwd=cwd or self.place, env=clean() | variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def environment(folder: Path, python: Path = Path(sys.executable)) -> Environment:
    """Make an empty virtual environment."""
    made = Environment(folder)
    made.place.mkdir(parents=True)
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    return made


def clean() -> dict[str, str]:
    """Return this process's variables without ours, Python's and pytest's."""
    foreign = ("CHIMEWAY_", "PYTHON", "PYTEST_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def locked(out: Path) -> str:
    """Write the lock's versions as constraints, without hashes, and return pip's option for them."""
    names = re.findall(r"^([\w.-]+==\S+)", LOCK.read_text(), re.MULTILINE)
    out.write_text("\n".join(names) + "\n")
    return f"--constraint={out}"
