"""`progress_run` from many processes and connections at once: one advances, the others write nothing."""

import asyncio
import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from chimeway.engine.progress import Engine
from chimeway.render.templates import Templates
from chimeway.store.pool import Database
from kit.home import TEMPLATES, email, in_app, wait, workflow
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

PROCESSES, CALLERS = 4, 5
LOCK = 4711
JOURNEY = workflow(in_app(), wait(duration="PT1H"), email())
START = """
select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
       chimeway.trigger('mention_escalation', recipient_id => id) as run_id
  from (select 'user_' || n as id from generate_series(1, $1::int) n) u"""
AT_THE_DOOR = """
select count(*) from pg_locks
 where locktype = 'advisory' and classid = $1::int and objid = $2::int and not granted"""
"""How many callers stand at the lock of one run."""


async def call(url: str, runs: list[str]) -> None:
    """Be one of the processes: progress run after run, each when its lock is free; print the answers."""

    async def caller() -> list[tuple[str, str]]:
        answers = []
        async with Engine.connect(url, templates=Templates(TEMPLATES)) as engine, rows_of(url) as door:
            for number, run in enumerate(runs):
                await door.value("select pg_advisory_lock_shared($1::int, $2::int)", LOCK, number)
                answers.append(await engine.progress_run(UUID(run)))
        return [(type(answer).__name__, str(answer.run.id)) for answer in answers]

    print(json.dumps(await asyncio.gather(*(caller() for _ in range(CALLERS)))))


async def _all_at_once(url: str, rows: Rows, runs: list[str]) -> Counter[tuple[str, str]]:
    """Start the processes, release all callers together on each run, and count (run, answer)."""
    for number in range(len(runs)):
        await rows.value("select pg_advisory_lock($1::int, $2::int)", LOCK, number)
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, url, *runs,
            env={"PYTHONPATH": str(Path(__file__).parents[1])}, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip

    async def all_there(number: int) -> bool:
        assert all(child.returncode is None for child in children), "a process died"
        return bool(await rows.value(AT_THE_DOOR, LOCK, number) == PROCESSES * CALLERS)

    for number in range(len(runs)):
        await wait_for(partial(all_there, number), f"all callers stand at run {number}", every_s=0.002)
        await rows.value("select pg_advisory_unlock($1::int, $2::int)", LOCK, number)
    printed = [await child.communicate() for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES
    return Counter(
        (run, answer) for out, _ in printed for caller in json.loads(out) for answer, run in caller
    )


@pytest.mark.parametrize("many", [25, pytest.param(100, marks=pytest.mark.big)])
async def test_one_advances_and_the_others_do_nothing(
    many: int, clock_database: Database, clock_database_url: str
) -> None:
    """Due runs (all hundred in `make test-all`), each progressed twenty times at once: one delivery each."""
    url = clock_database_url
    async with rows_of(url) as rows, Engine.connect(url, templates=Templates(TEMPLATES)) as engine:
        definition = json.dumps(JOURNEY)
        await rows.all("select chimeway.register_workflow($1::text::jsonb, 'digest')", definition)
        runs = [str(row["run_id"]) for row in await rows.all(START, many)]
        for run in runs:
            answer = await engine.progress_run(UUID(run))
            assert type(answer).__name__ == "Waiting"
        await rows.all("update chimeway.test_clock set at = at + interval '1 hour'")
        before = await rows.value("select count(*) from chimeway.workflow_transitions")

        answers = await _all_at_once(url, rows, runs)
        assert {run: answers[run, "Advanced"] for run in runs} == dict.fromkeys(runs, 1)
        assert {run: answers[run, "Noop"] for run in runs} == dict.fromkeys(runs, PROCESSES * CALLERS - 1)

        written = await rows.all("select run_id, channel from chimeway.deliveries where channel = 'email'")
        assert sorted(str(row["run_id"]) for row in written) == sorted(runs)
        after = await rows.value("select count(*) from chimeway.workflow_transitions")
        assert after - before == 2 * many, "reactivated_from_wait and step_activated, once for each"


if __name__ == "__main__":
    asyncio.run(call(sys.argv[1], sys.argv[2:]))
