"""Every code block of the documents is run, in the order in which a reader meets it."""

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from chimeway.render.templates import Templates
from chimeway.settings import Settings
from chimeway.workflow.text import check_text
from kit.command import inside
from kit.pages import DATABASE, NODE, Block, blocks, commands, has_tests
from kit.psql import binary

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_READY_S = 30
_PLAIN = re.compile(r"chimeway (?!.*--app)[^|<>&;$`]+", re.DOTALL)
"""A command that needs no shell and reads nobody's modules: run in this process, in a tenth of the time.

Those of the README are all typed into a shell, as its reader would.
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_works(page: Path, database_url: str, tmp_path: Path) -> None:
    """Each block of a page does what a reader would have it do."""
    with _reader(page, tmp_path, database_url) as reader:
        for block in blocks(page):
            reader.meet(block)
        reader.run_tests()


@contextmanager
def _reader(page: Path, folder: Path, url: str) -> Iterator["_Reader"]:
    reader = _Reader(folder, url)
    try:
        yield reader
    except BaseException:
        print(*(f"--- {log}\n{log.read_text()[-3000:]}" for log in folder.glob("*.log")), sep="\n")
        raise
    finally:
        reader.leave()


class _Reader:
    """Somebody who goes through a page with a folder, a shell and a database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.node = f"127.0.0.1:{free.getsockname()[1]}"
        self.tests: list[Path] = []
        self.working: list[subprocess.Popen[bytes]] = []
        ours = {"CHIMEWAY_DATABASE_URL": url, "CHIMEWAY_DATA_DIR": str(folder / "data"), "PGOPTIONS": ""}
        tools = [str(Path(tool).parent) for tool in (sys.executable, binary())]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
        self.env = {
            **clean,
            **ours,
            "PATH": os.pathsep.join([*tools, os.environ["PATH"]]),
            "PYTHONPATH": str(folder),
            "COLUMNS": "100",
        }

    def meet(self, block: Block) -> None:
        if block.left_out is not None:
            return
        text = self._told(block.text)
        if block.file is not None:
            target = self.folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        match block.language:
            case "python" if has_tests(block):
                self.tests.append(self._written(block, text, f"test_line_{block.line}.py"))
            case "python":
                self._run(block, [sys.executable, str(self._written(block, text, f"line_{block.line}.py"))])
            case "sql":
                self._run(block, [binary(), "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url], given=text)
            case "console":
                for command in commands(block):
                    self._type(block, self._told(command))
            case "yaml" | "json" | "toml" | "jinja":
                _read(block, text)
            case "text":
                pass
            case _:
                pytest.fail(f"{block}: nobody knows how to run this language")

    def _told(self, text: str) -> str:
        return text.replace(DATABASE, self.url).replace(NODE, self.node)

    def run_tests(self) -> None:
        """Run all of the page's tests by pytest, as their reader would."""
        if not self.tests:
            return
        (self.folder / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = self._done([*command, *(path.name for path in self.tests)])
        assert done.returncode == 0, f"the page's tests:\n{done.stdout}{done.stderr}"

    def leave(self) -> None:
        """End what was started, as its reader would."""
        for process in self.working:
            process.terminate()
        for process in self.working:
            process.wait(_READY_S)

    def _written(self, block: Block, text: str, name: str) -> Path:
        if block.file is not None:
            return self.folder / block.file
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def _type(self, block: Block, command: str) -> None:
        if block.page.name != "README.md" and _PLAIN.fullmatch(command):
            words = shlex.split(command.replace("\\\n", " "), comments=True)[1:]
            told = asyncio.run(inside(*words, url=self.url, cwd=self.folder))
            assert told.code == 0, f"{block} ended with {told.code}:\n{told.out}{told.err}"
        elif not command.endswith("&"):
            self._run(block, ["bash", "-euo", "pipefail", "-c", command])
        else:
            self._start(block, command)

    def _start(self, block: Block, command: str) -> None:
        log = self.folder / f"line_{block.line}_{len(self.working)}.log"
        with log.open("wb") as sink:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {command.removesuffix('&')}"],
                cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        self.working.append(started)
        _await_ready(block, started, log)

    def _run(self, block: Block, command: list[str], given: str | None = None) -> None:
        done = self._done(command, given)
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}{done.stderr}"

    def _done(self, command: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.env, input=given, stdin=None if given else subprocess.DEVNULL,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip


def _await_ready(block: Block, started: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a node says that it is ready."""
    ends = time.monotonic() + _READY_S
    while "daemon.ready" not in log.read_text(errors="replace"):
        assert started.poll() is None, f"{block} ended:\n{log.read_text()}"
        assert time.monotonic() < ends, f"{block} is not ready:\n{log.read_text()}"
        time.sleep(0.02)


def _read(block: Block, text: str) -> None:
    """Read what is data: definitions are checked, settings and templates as well."""
    if block.language == "jinja":
        assert not Templates({"shown.email.j2": text}).faults(), str(block)
        return
    if block.language == "toml":
        _check_settings(block, tomllib.loads(text))
        return
    found: Any = yaml.safe_load(text) if block.language == "yaml" else json.loads(text)
    if isinstance(found, dict) and "steps" in found:
        (checked,) = check_text(text.encode(), format="yaml" if block.language == "yaml" else "json")
        assert not checked.errors, f"{block}: {checked.errors}"


def _check_settings(block: Block, found: dict[str, Any]) -> None:
    if block.file == "chimeway.toml":
        Settings(**found)


def test_each_block_left_out_says_why() -> None:
    """What is not run is little, and has a reason of more than a word."""
    left_out = [block for page in PAGES for block in blocks(page) if block.left_out is not None]
    assert all(len(re.findall(r"\w+", block.left_out or "")) >= 2 for block in left_out), left_out
    assert len(left_out) <= 20, [str(block) for block in left_out]
