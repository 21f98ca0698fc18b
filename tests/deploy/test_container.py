"""The container file: no engine is here to build it, so its lines are looked at, and its commands are run."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from chimeway.settings import PREFIX, Settings
from kit.daemon import running_daemon
from kit.environment import clean
from kit.home import home
from kit.waiting import wait_for

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Containerfile"


class Line(NamedTuple):
    """An instruction and what it is given."""

    word: str
    given: str


def lines() -> list[Line]:
    """Return the instructions, each in one line."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [Line(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stages() -> list[list[Line]]:
    """Return the instructions of each stage."""
    found: list[list[Line]] = []
    for line in lines():
        if line.word == "FROM":
            found.append([])
        found[-1].append(line)
    return found


def test_the_image_runs_as_nobody_and_holds_no_secret() -> None:
    """Its last user is a number that is not root's; it sets what settings know, and nothing secret."""
    built, image = stages()
    assert [line.given for line in image if line.word == "USER"] == ["65532:65532"]
    assert not [line for line in (*built, *image) if line.word in {"ADD", "ARG"} or "secret" in line.given]
    said = " ".join(line.given for line in image if line.word == "ENV")
    told = dict(re.findall(rf"{PREFIX}(\w+)=(\S+)", said))
    Settings(**{name.lower(): value for name, value in told.items()})
    assert not {name for name in told if name.endswith(("_URL", "_KEYS"))}
    copies = [line.given for line in image if line.word == "COPY"]
    assert copies == ["--from=built /opt/chimeway /opt/chimeway"], "nothing of the checkout itself"


@pytest.mark.big
async def test_its_health_is_asked_of_a_node(database_url: str, tmp_path: Path) -> None:
    """The very command answers well while a node lives, and badly when it is frozen or gone."""
    (given,) = [line.given for line in lines() if line.word == "HEALTHCHECK"]
    words = json.loads(given.partition("CMD ")[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asks = [sys.executable, *(word.replace("8420", str(port)).replace("=4", "=1") for word in words[1:])]

    def healthy() -> bool:
        return subprocess.run(asks, capture_output=True, timeout=30, check=False).returncode == 0

    bind = f"127.0.0.1:{port}"
    async with running_daemon(database_url, home(tmp_path), HTTP_BIND=bind) as daemon:
        await wait_for(healthy, "it answers")
        daemon.freeze()
        assert not healthy()
        daemon.thaw()
        await wait_for(healthy, "it answers again")
        assert await daemon.stopped() == 0
    assert not healthy()


@pytest.mark.big
@pytest.mark.timeout(600)
def test_its_steps_make_an_environment(tmp_path: Path) -> None:
    """What it runs to build, run here: on a copy of what it may see, into a folder of its own."""
    source, prefix = tmp_path / "src", tmp_path / "chimeway"
    for name in _context():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    built, _ = stages()
    environment = clean() | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    for step in [line.given for line in built if line.word == "RUN"]:
        here = step.replace("/tmp/", f"{tmp_path}/").replace("/opt/chimeway", str(prefix))  # noqa: S108
        done = subprocess.run(
            ["sh", "-c", here], cwd=source, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{here}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    shutil.rmtree(source)
    done = subprocess.run(
        [prefix / "bin" / "chimeway", "serve", "--print-settings"],
        cwd=tmp_path, env=clean(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CHIMEWAY_DATABASE_URL" in done.stdout


def _context() -> list[str]:
    """Return the files of the checkout that .dockerignore lets in."""
    known = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    rules = [one for one in (ROOT / ".dockerignore").read_text().splitlines() if one.startswith("!")]
    wanted = [rule[1:] for rule in rules]
    return [name for name in known if any(name == one or fnmatch(name, f"{one}/*") for one in wanted)]
