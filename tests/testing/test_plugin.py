"""The pytest plugin, in child runs of pytest: each way of running coroutines, and none."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chimeway.testing.server import VARIABLE
from kit.waiting import wait_for

GUIDE = """
import pytest
from chimeway import Notify, Wait, Workflow, signal_received

mention_escalation = Workflow(key="mention_escalation", version=1, steps=[
    Notify("step_in_app", channel="in_app", render_key="mention_notification"),
    Wait("step_wait_for_read", duration="PT2H", stop_conditions=[signal_received("notification_read")]),
    Notify("step_email_escalation", channel="email", render_key="mention_email"),
])
"""
JOURNEY = """
async def test_{name}(chimeway_harness):
    async with chimeway_harness(mention_escalation) as journey:
        await journey.trigger()
        await journey.advance("PT2H")
        assert [sent.channel for sent in journey.sent] == ["email"]
"""
BROKEN = """
{mark}
async def test_broken(chimeway_harness):
    async with chimeway_harness(mention_escalation) as journey:
        await journey.trigger()
        async with journey.client.database.acquire() as connection:
            await connection.execute("alter table chimeway.deliveries rename to gone")
        await journey.advance("PT2H")
"""
ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
STRICT = ["-o", "asyncio_default_fixture_loop_scope=function"]
AUTO = [*STRICT, "-o", "asyncio_mode=auto"]
SYNC = """
def test_sync(chimeway_sync_harness, chimeway_database):
    chimeway_sync_harness(mention_escalation).trigger()
    assert "/chimeway_test_" in chimeway_database
"""
MODES = {
    "auto": ("", AUTO, "anyio"),
    "strict": ("@pytest.mark.asyncio", STRICT, "anyio"),
    "anyio": ("@pytest.mark.anyio", [], "asyncio"),
}


def _run(folder: Path, text: str, *options: str, url: str | None) -> "subprocess.CompletedProcess[str]":
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    (folder / "test_it.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options],
        cwd=folder, env=_environment(url), capture_output=True, text=True, check=False,
    )  # fmt: skip


def _environment(url: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    kept.pop(VARIABLE, None)
    return kept | ({VARIABLE: url} if url else {})


@pytest.mark.parametrize(
    "mode", ["auto", *(pytest.param(mode, marks=pytest.mark.big) for mode in ("anyio", "strict"))]
)
def test_the_fixtures_work_in_each_mode(mode: str, tmp_path: Path, server_url: str) -> None:
    """pytest-asyncio (auto, strict) and anyio's plugin take the same fixtures; what breaks fails its test."""
    mark, options, other = MODES[mode]
    backend = ANYIO if mode == "anyio" else ""
    text = GUIDE + backend + mark + JOURNEY.format(name="journey") + BROKEN.format(mark=mark)
    done = _run(tmp_path, text, *options, "-p", f"no:{other}", "-rf", url=server_url)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_it.py::test_broken" in done.stdout
    assert "UndefinedTableError" in done.stdout


@pytest.mark.big
def test_plain_functions_need_no_other_plugin(tmp_path: Path, server_url: str) -> None:
    """The synchronous fixtures work where no plugin runs coroutines."""
    done = _run(tmp_path, GUIDE + SYNC, "-p", "no:asyncio", "-p", "no:anyio", url=server_url)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.big  # our own tests have workers that share one at each commit
def test_workers_share_one_server(tmp_path: Path) -> None:
    """With xdist all workers use one temporary server, each test a database of its own."""
    tests = "".join(JOURNEY.format(name=f"n{n}") for n in range(4))
    text = tests.replace(
        "        await journey.trigger()", "        print(journey.url)\n        await journey.trigger()"
    )
    done = _run(tmp_path, GUIDE + text, "-n", "2", *AUTO, "-rA", url=None)
    urls = set(re.findall(r"postgresql://\S+", done.stdout))
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    assert len(urls) == 4
    folders = {url.partition("host=")[2] for url in urls}
    assert len(folders) == 1
    assert not Path(folders.pop().partition("&")[0]).exists()


def test_who_does_not_use_it_is_not_disturbed(tmp_path: Path) -> None:
    """In a project without journeys nothing of ours is imported, started or set."""
    text = """
import sys

def test_nothing_is_there():
    heavy = {"asyncpg", "jinja2", "structlog", "pydantic", "asyncio"}
    ours = {name.partition("chimeway")[2] for name in sys.modules if name.startswith("chimeway")}
    assert not heavy & set(sys.modules)
    assert ours <= {"", ".extras", ".errors", ".testing", ".testing.plugin"}
"""
    done = _run(
        tmp_path,
        text,
        "-p",
        "no:asyncio",
        "-p",
        "no:anyio",
        "-p",
        "no:xdist",
        "-p",
        "no:timeout",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:schemathesis",
        "-p",
        "no:platformdirs",
        url=None,
    )
    assert "1 passed" in done.stdout, done.stdout


@pytest.mark.big
def test_one_run_after_another_and_one_within(tmp_path: Path) -> None:
    """In one process pytest may be run again (a notebook does), and within a test (pytester does)."""
    outer = """
import pytest

def test_outer(chimeway_sync_harness):
    with open("test_inner.py", "w") as file:
        file.write("from test_it import *\\ndef test_inner(chimeway_database): pass")
    assert pytest.main(["-q", "-p", "no:cacheprovider", "test_inner.py::test_inner"]) == 0
    journey = chimeway_sync_harness(mention_escalation)
    journey.trigger()
    assert journey.run.state == "waiting"
"""
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_it.py").write_text(GUIDE + outer)
    twice = "import pytest\nfor _ in 1, 2:\n    assert pytest.main(['-q', 'test_it.py::test_outer']) == 0"
    done = subprocess.run(
        [sys.executable, "-c", twice],
        cwd=tmp_path, env=_environment(None), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_killed_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """Killed by SIGKILL, a run's server and its folder are gone soon after."""
    text = """
import pathlib, time

def test_endless(chimeway_sync_harness):
    journey = chimeway_sync_harness(mention_escalation)
    pathlib.Path("url").write_text(journey.url)
    time.sleep(60)
"""
    (tmp_path / "test_it.py").write_text(GUIDE + text)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        cwd=tmp_path, env=_environment(None), stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = await wait_for(lambda: _text(tmp_path / "url"), "the child has its server")
    folder = url.partition("host=")[2].partition("&")[0]
    assert Path(folder, "data").is_dir()  # noqa: ASYNC240
    child.kill()
    await child.wait()
    await wait_for(lambda: not Path(folder).exists(), f"{folder} is gone")


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
