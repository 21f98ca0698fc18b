"""A fault run, short: real nodes, a real PostgreSQL, processes that produce and provide; nothing is lost."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from faults import schedule

ROOT = Path(__file__).parents[2]
QUICK = "kill,hand_over,cut,terminate,lock,provider_down,producer,producer_cut"
"""Faults after which nobody waits for a lease to end."""


async def _run(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run `make faults` with these options; return its exit code, its report and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults", "--folder", str(folder / "run"), *options,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    report = folder / "run" / "report.json"
    assert report.exists(), said.decode()
    return process.returncode or 0, json.loads(report.read_text()), said.decode()


@pytest.mark.big
@pytest.mark.timeout(300)
async def test_a_short_run(tmp_path: Path) -> None:
    """Eight kinds of faults in some seconds: every journey ends as it must, and the report says so."""
    code, report, said = await _run(
        tmp_path, "--seed", "1", "--minutes", "0.1", "--every", "0.75", "--kinds", QUICK, "--nodes", "2",
        "--producers", "1", "--live", "30", "--least", "10", "--waits", "1,2", "--people", "20",
        "--lease", "6", "--quiet", "1", "--deadline", "60",
    )  # fmt: skip
    assert (code, report["verdicts"]) == (0, {"lost": 0, "duplicated": 0, "wrong": 0}), said
    assert report["journeys"] > 30, said
    assert (report["still_open"], report["violations"]) == (0, []), said
    assert len(report["faults"].keys() & set(QUICK.split(","))) >= 5, said  # one or another may meet nobody


@pytest.mark.big
@pytest.mark.timeout(900)
async def test_a_run_of_all_kinds(tmp_path: Path) -> None:
    """Every kind of fault, on three nodes and two copies of the database: nothing is wrong."""
    code, report, said = await _run(
        tmp_path, "--minutes", "3", "--every", "4.5", "--live", "100", "--waits", "5,10,15",
        "--producers", "2", "--people", "60", "--lease", "15", "--deadline", "240",
    )  # fmt: skip
    print(said)
    assert (code, report["verdicts"]) == (0, {"lost": 0, "duplicated": 0, "wrong": 0}), said
    assert set(report["faults"]) >= set(schedule.KINDS) - {"deaf", "lock"}, said  # which may meet nobody
