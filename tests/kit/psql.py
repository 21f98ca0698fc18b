"""Plain SQL by the real psql, as a producer without any library of ours would say it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chimeway.store.embedded import find_binaries

_OPTIONS = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
_MARK = "-- that was all --"
_ARGUMENT_CHARS = 100_000


def binary() -> str:
    """Return the system's psql, else that beside the server's own binaries."""
    found = shutil.which("psql")
    if found is None:
        for folder in find_binaries():
            if (folder / "psql").exists():
                return str(folder / "psql")
        pytest.fail("there is no psql; on Debian: apt-get install postgresql-client")
    return found


async def psql(url: str, *statements: str) -> list[str]:
    """Run statements, each in its own transaction; return the rows, unaligned (`a|b`).

    One that is longer than an argument may be comes by standard input, after all others.
    """
    short = [statement for statement in statements if len(statement) < _ARGUMENT_CHARS]
    long = [statement for statement in statements if len(statement) >= _ARGUMENT_CHARS]
    assert not long or statements[-1:] == tuple(long), "a long one comes last, and alone"
    commands = [part for statement in short for part in ("-c", statement)] + ["-1", "-f", "-"] * len(long)
    child = await asyncio.create_subprocess_exec(
        binary(), *_OPTIONS, *commands, url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await child.communicate("".join(long).encode())
    if child.returncode:
        pytest.fail(f"psql: {err.decode()}")
    return out.decode().splitlines()


class Session:
    """A psql that stays open: for transactions in which somebody sits."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        """Take a running psql."""
        self._child = child

    async def say(self, sql: str) -> list[str]:
        """Send SQL and return the rows that came back."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{sql}\n\\echo {_MARK}\n".encode())
        await stdin.drain()
        rows: list[str] = []
        while (line := (await stdout.readline()).decode()) != f"{_MARK}\n":
            if not line:
                pytest.fail(f"psql ended: {rows}")
            rows.append(line.rstrip("\n"))
        return rows


@asynccontextmanager
async def psql_session(url: str) -> AsyncIterator[Session]:
    """Keep a psql open while the block lasts."""
    child = await asyncio.create_subprocess_exec(
        binary(), *_OPTIONS, url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Session(child)
    finally:
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()
