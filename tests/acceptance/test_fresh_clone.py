"""From nothing: a fresh clone, environment and home, and no server anywhere; as root and as a user."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900
pytestmark = [pytest.mark.big, pytest.mark.timeout(2 * TIMEOUT_S)]


@dataclass(frozen=True)
class Somebody:
    """Who does it: with an empty home, in a folder of their own."""

    folder: Path
    python: str
    popen: dict[str, Any]

    def run(self, *words: str, cwd: Path) -> str:
        """Run a command with nothing of ours in its environment; return what it said."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PIP_", "SSL_")) or name.lower().endswith("_proxy") or name == "LANG"
        }
        done = subprocess.run(
            words, cwd=cwd, check=False, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.popen,
            env={**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder / "home")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in the open."""
    with tempfile.TemporaryDirectory(prefix="cwfresh-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(params=["us", "us in a folder of our own", "a user"])
def somebody(request: pytest.FixtureRequest, place: Path) -> Iterator[Somebody]:
    """Who runs the tests, in the open and in a folder that nobody else can enter; and a new account."""
    (place / "home").mkdir()
    if request.param != "a user":
        if request.param != "us":
            place.chmod(0o700)
        yield Somebody(place, sys.executable, {})
        return
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("only root, with useradd, can make an account")
    if subprocess.run(
        ["/usr/bin/python3", "-c", "import ensurepip, sys; assert sys.version_info >= (3, 11)"], check=False
    ).returncode:
        pytest.skip("no Python 3.11 with ensurepip in /usr/bin, where every account can reach it")
    name = f"cw{uuid.uuid4().hex[:8]}"
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--home-dir", place / "home", name], check=True
    )
    account = pwd.getpwnam(name)
    os.chown(place / "home", account.pw_uid, account.pw_gid)
    os.chown(place, account.pw_uid, account.pw_gid)
    try:
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        yield Somebody(place, "/usr/bin/python3", who)
    finally:
        subprocess.run(["userdel", name], check=False)


def _clone(place: Path) -> Path:
    """Return a clone with what is not committed yet, owned by who owns the place."""
    clone = place / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    owner = place.stat()
    subprocess.run(["chown", "-R", f"{owner.st_uid}:{owner.st_gid}", clone], check=True)
    return clone


def test_make_demo(somebody: Somebody) -> None:
    """`make demo` installs and agrees; then a piece of `make test` passes in the same place."""
    clone = _clone(somebody.folder)
    told = somebody.run("make", "demo", f"PYTHON={somebody.python}", cwd=clone)
    assert "2 e-mails arrived, and the rows say the same; all invariants hold." in told
    print(told[told.index("took:") :])
    some = "ARGS=tests/store/test_sql_trigger.py tests/embedded/test_running.py"
    assert " passed" in somebody.run("make", "test", some, cwd=clone)


def test_the_demo_of_a_wheel(somebody: Somebody) -> None:
    """What is built, installed with its extras into an empty environment, plays in an empty folder."""
    clone, empty = _clone(somebody.folder), somebody.folder / "home"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", clone], check=True, capture_output=True
    )
    wheel = next((clone / "dist").glob("*.whl"))
    assert "chimeway/demo/workflows/mention_escalation.yaml" in zipfile.ZipFile(wheel).namelist()
    python = str(somebody.folder / "env" / "bin" / "python")
    somebody.run(somebody.python, "-m", "venv", str(somebody.folder / "env"), cwd=empty)
    somebody.run(python, "-m", "pip", "install", "--quiet", f"{wheel}[daemon,embedded]", cwd=empty)
    told = somebody.run(str(somebody.folder / "env" / "bin" / "chimeway"), "demo", cwd=empty)
    assert "2 e-mails arrived, and the rows say the same; all invariants hold." in told
