"""The real command in a process of its own: its answer, or what it shows on a terminal. `inside`: in ours."""

import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final
from unittest import mock

from chimeway.cli.main import main

_alone: Final = Lock()
"""Streams, folder and environment are the whole process's: one command at a time is inside."""


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote for programs."""
        assert self.code in {0, 1}, self.err
        return json.loads(self.out)


async def chimeway(*args: str, url: str | None = None, cwd: Path | None = None, stdin: str = "") -> Answer:
    """Run a command with nothing of ours in its environment but the database's URL."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    ours = {} if url is None else {"CHIMEWAY_DATABASE_URL": url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", *args, env=clean | ours, cwd=cwd,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:  # whoever waited for it has given up
            process.kill()
    assert "Traceback" not in err.decode()
    return Answer(process.returncode or 0, out.decode(), err.decode())


async def inside(*args: str, url: str | None = None, cwd: Path | None = None, stdin: str = "") -> Answer:
    """Run a command as `chimeway` does, but in this process: a tenth of the time. One at a time."""
    return await asyncio.to_thread(_inside, args, url, cwd, stdin)


def _inside(args: tuple[str, ...], url: str | None, cwd: Path | None, stdin: str) -> Answer:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    ours = {} if url is None else {"CHIMEWAY_DATABASE_URL": url}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    with (
        _alone,
        mock.patch.dict(os.environ, clean | ours, clear=True),
        mock.patch.multiple(sys, argv=["chimeway", *args], stdin=given, stdout=out, stderr=err),
        contextlib.chdir(cwd or "."),
    ):
        try:
            main()
        except SystemExit as ended:
            told = (stream.buffer.getvalue().decode() for stream in (out, err))
            return Answer(ended.code if isinstance(ended.code, int) else 0, *told)
    raise AssertionError("the command line ends its process")


async def on_terminal(
    *args: str, url: str | None = None, cwd: Path | None = None, columns: int = 80, **more: str
) -> str:
    """Run a command on a terminal of so many columns; return what it wrote there, colours and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    hidden = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"}
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    clean = {name: value for name, value in clean.items() if not name.startswith("CHIMEWAY_")}
    names = {} if url is None else {"CHIMEWAY_DATABASE_URL": url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", *args, env=clean | names | {"TERM": "xterm-256color"} | more,
        cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = await asyncio.to_thread(_all_of, ours)
    await process.wait()
    os.close(ours)
    assert "Traceback" not in written
    return written.replace("\r\n", "\n")


def plain(written: str) -> str:
    """Return what a terminal shows, without its colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)


def _all_of(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux says so when the other side has closed it
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()
