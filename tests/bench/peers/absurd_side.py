"""Absurd: a worker of journeys, and what begins and tells them (docs/benchmarks/peers.md, work 1).

python -m tests.bench.peers.absurd_side work|journeys URL [many=N workers=N batch=N poll=S]
"""

import asyncio
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from tests.bench.peers.line import given, hear, parts, say, until

_QUEUE = "bench"
_LONG_S = 7_200
_WAITING = f"select count(*) from absurd.t_{_QUEUE} where state = 'sleeping'"
_BEGIN = f"""select count(t.task_id)
  from unnest(%s::text[]) person, absurd.spawn_task('{_QUEUE}', 'journey', to_jsonb(person), '{{}}') t"""
_TELL = (
    f"select count(absurd.emit_event('{_QUEUE}', 'read:' || person, 'null')) from unnest(%s::text[]) person"
)
_LEFT = f"select count(*) from absurd.t_{_QUEUE} where state <> 'completed'"


async def _act() -> None:
    """Do nothing."""


async def _journey(person: str, context: AsyncTaskContext) -> None:
    """Act, wait to be told, act."""
    await context.step("first", _act)
    await context.await_event(f"read:{person}", timeout=_LONG_S)
    await context.step("second", _act)


async def _work(url: str, settings: dict[str, str]) -> None:
    """Work until nobody says anything any more: workers with a connection each, in one process."""
    control = Path(sys.executable).with_name("absurdctl")
    init = await asyncio.create_subprocess_exec(control, "init", "-d", url, stdout=asyncio.subprocess.DEVNULL)
    assert await init.wait() == 0
    apps = [AsyncAbsurd(url, queue_name=_QUEUE) for _ in range(int(settings.get("workers", "4")))]
    await apps[0].create_queue(_QUEUE)
    batch = int(settings.get("batch", "10"))
    working = []
    for app in apps:
        app.register_task("journey")(_journey)
        worker = app.start_worker(
            concurrency=batch, batch_size=batch, poll_interval=float(settings.get("poll", "0.25"))
        )
        working.append(asyncio.create_task(worker))
    say(ready=True, version=version("absurd-sdk"))
    await asyncio.to_thread(hear)
    for task in working:
        task.cancel()


def _journeys(url: str, settings: dict[str, str]) -> dict[str, Any]:
    many = int(settings.get("many", "1000"))
    people = [f"user-{n}" for n in range(many)]
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url, autocommit=True) as looking,
    ):

        def count(statement: str) -> int:
            return int(looking.execute(statement).fetchone()[0])  # type: ignore[index]

        say(ready=True)
        hear()
        began = time.monotonic()
        for some in parts(people):
            connection.execute(_BEGIN, (some,))
        begun = time.monotonic()
        until(lambda: count(_WAITING) >= many)
        waiting = time.monotonic()
        for some in parts(people):
            connection.execute(_TELL, (some,))
        until(lambda: count(_LEFT) == 0)
        ended = time.monotonic()
    return {"seconds": ended - began, "begin_s": begun - began, "until_all_wait_s": waiting - began,
            "until_all_ended_s": ended - waiting}  # fmt: skip


def main() -> None:
    """Work, or drive."""
    what, url, settings = given()
    if what == "work":
        uvloop.run(_work(url, settings))
    else:
        say(**_journeys(url, settings))


main()
