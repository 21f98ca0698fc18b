"""A node and commands where no database is named: one server, whoever needs it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.daemon import environment, running_daemon
from kit.data_folder import keeper, postmaster, server_processes
from kit.home import Home, home, in_app, workflow
from kit.waiting import wait_for

PLAIN = workflow(in_app(), key="mention")


async def _say(made: Home, folder: Path, *words: str) -> Any:
    """Run a command and return what it wrote for programs."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", *words, "--json",
        env=environment("", made, DATA_DIR=str(folder)), cwd=made.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    return json.loads(out)


async def test_commands_share_the_nodes_server(folder: Path, tmp_path: Path) -> None:
    """Beside a node they attach; its server, killed, comes back under it; alone, they start and end one."""
    made = home(tmp_path, PLAIN)

    async def completed(count: int) -> bool:
        runs = await _say(made, folder, "runs")
        return [run["state"] for run in runs["items"]] == ["completed"] * count

    async with running_daemon("", made, DATA_DIR=str(folder)) as daemon:
        started = await daemon.event("embedded.started")
        assert started["data_dir"] == str(folder)
        kept = keeper(folder)
        await _say(made, folder, "trigger", "mention", "--recipient", "ada")
        await wait_for(lambda: completed(1), "the first run's end")
        assert keeper(folder) == kept
        postmaster(folder).kill()
        await daemon.event("embedded.lost")
        await wait_for(lambda: len(daemon.seen("embedded.started")) == 2, "another server")
        await _say(made, folder, "trigger", "mention", "--recipient", "bo")
        await wait_for(lambda: completed(2), "the second run's end")
        assert await daemon.stopped() == 0
    assert server_processes(folder) == []
    assert len((await _say(made, folder, "runs"))["items"]) == 2
    assert server_processes(folder) == []


async def _exec(folder: Path, *words: str, **more: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIMEWAY_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chimeway", "db", "exec", *words,
        env={**clean, "CHIMEWAY_DATA_DIR": str(folder), **more},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await child.communicate()
    assert child.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.big
async def test_data_moves_to_another_major_version(new_folder: Path, tmp_path: Path) -> None:
    """By the two commands that a refusal names, what was written by PostgreSQL 15 is there in 18."""
    system = Path("/usr/lib/postgresql/15/bin")
    if not (system / "pg_dump").exists():
        pytest.skip("PostgreSQL 15 of the system is not installed")
    made, dump = home(tmp_path, PLAIN), tmp_path / "chimeway.sql"
    async with running_daemon("", made, DATA_DIR=str(new_folder), POSTGRES_BIN=str(system)) as daemon:
        await _say(made, new_folder, "trigger", "mention", "--recipient", "ada")
        assert await daemon.stopped() == 0
    words = ("pg_dump", "--schema=chimeway", "--no-privileges", f"--file={dump}")
    await _exec(new_folder, *words, CHIMEWAY_POSTGRES_BIN=str(system))
    new_folder.rename(new_folder.with_name("old"))  # noqa: ASYNC240  (quick, and nobody waits)
    await _exec(new_folder, "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}")
    assert (await _exec(new_folder, "psql", "-Atc", "show server_version_num")).startswith("18")
    assert [run["recipient_id"] for run in (await _say(made, new_folder, "runs"))["items"]] == ["ada"]


async def test_a_killed_nodes_server_ends(folder: Path, tmp_path: Path) -> None:
    """Kill -9 of the node leaves nothing running; the next one begins where it ended."""
    made = home(tmp_path, PLAIN)
    async with running_daemon("", made, DATA_DIR=str(folder)) as daemon:
        daemon.kill()
    await wait_for(lambda: not server_processes(folder), "the server's end")
    async with running_daemon("", made, name="next", DATA_DIR=str(folder)) as daemon:
        assert await daemon.stopped() == 0
