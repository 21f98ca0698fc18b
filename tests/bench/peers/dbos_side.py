"""DBOS Transact: a worker of journeys, and what begins and tells them (docs/benchmarks/peers.md).

python -m tests.bench.peers.dbos_side WORK URL [setting=value ...]
"""

import asyncio
import json
import time
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
import uvloop
from dbos import DBOS, DBOSClient, DBOSConfig, SendMessage
from tests.bench.peers.line import given, hear, parts, say, until

_QUEUE = "bench"
_LONG_S = 7_200.0
_BEGIN = """
select count(dbos.enqueue_workflow(
    workflow_name => :workflow, queue_name => :queue, workflow_id => person,
    positional_args => cast(:data as json[])))
  from unnest(cast(:people as text[])) person"""
_WAITING = "select count(*) from dbos.operation_outputs where function_name = 'DBOS.sleep'"
_LEFT = "select count(*) from dbos.workflow_status where status <> 'SUCCESS'"
_RECEIVED = "select 1 from dbos.operation_outputs where workflow_uuid = :id and function_name = 'DBOS.recv'"
_NOT_ENDED = (
    "select count(*) from dbos.workflow_status where workflow_uuid = any(:ids) and status <> 'SUCCESS'"
)
_STEPS = "select started_at_epoch_ms from dbos.operation_outputs where function_name = 'act'"


@DBOS.step(name="act")
async def act() -> None:
    """Do nothing; that it was done is kept."""


@DBOS.workflow(name="journey")
async def journey() -> None:
    """Act, wait to be told, act."""
    await act()
    await DBOS.recv_async("read", timeout_seconds=_LONG_S)
    await act()


@DBOS.workflow(name="steps")
async def steps() -> None:
    """Act twice: what it costs without a message between."""
    await act()
    await act()


@DBOS.workflow(name="sleeper")
async def sleeper(at: float) -> None:
    """Wait for an instant, and act. The sleep's end is kept with the sleep: a later run waits no other."""
    await DBOS.sleep_async(max(0.001, at - time.time()))
    await act()


def _config(url: str, settings: dict[str, str]) -> DBOSConfig:
    config = DBOSConfig(name="bench", system_database_url=url, log_level="ERROR", application_version="1")
    # One each, or they take each other's for their own.
    config["executor_id"] = settings.get("executor", "worker-0")
    if "pool" in settings:
        config["sys_db_pool_size"] = int(settings["pool"])
    if "threads" in settings:
        config["max_executor_threads"] = int(settings["threads"])
    return config


async def _work(url: str, settings: dict[str, str]) -> None:
    """Work until nobody says anything any more. Coroutines run on the loop that `launch` finds: uvloop."""
    DBOS(config=_config(url, settings))
    DBOS.launch()
    slots = int(settings.get("slots", "0")) or None
    await DBOS.register_queue_async(
        _QUEUE, worker_concurrency=slots, polling_interval_sec=float(settings.get("poll", "1.0"))
    )
    say(ready=True, version=version("dbos"))
    await asyncio.to_thread(hear)
    DBOS.destroy()


class _Drive:
    """What begins, tells and looks, from a process of its own."""

    def __init__(self, url: str, settings: dict[str, str]) -> None:
        self.many = int(settings.get("many", "1000"))
        self.people = [f"user-{n}" for n in range(self.many)]
        self.client = DBOSClient(system_database_url=url)
        self.engine = sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        self.looking = self.engine.connect()

    def begin(self, workflow: str, *data: Any) -> None:
        """Enqueue each person's workflow by DBOS's own function in SQL, many in a statement."""
        given_data = [json.dumps(each) for each in data]
        for people in parts(self.people):
            named = {"workflow": workflow, "queue": _QUEUE, "people": people, "data": given_data}
            self.looking.execute(sa.text(_BEGIN), named)

    def tell(self) -> None:
        """Send each person's workflow its message, in bulk."""
        for people in parts(self.people):
            self.client.send_bulk([SendMessage(person, "read", "read") for person in people])

    def count(self, statement: str) -> int:
        """Return what a count says."""
        return int(self.looking.execute(sa.text(statement)).scalar_one())

    def until_all_wait(self) -> None:
        """Look until all workflows wait."""
        until(lambda: self.count(_WAITING) >= self.many)

    def until_all_ended(self) -> None:
        """Look until all workflows have ended."""
        until(lambda: self.count(_LEFT) == 0)


def _journeys(drive: _Drive) -> dict[str, float]:
    began = time.monotonic()
    drive.begin("journey")
    begun = time.monotonic()
    drive.until_all_wait()
    waiting = time.monotonic()
    drive.tell()
    told = time.monotonic()
    drive.until_all_ended()
    ended = time.monotonic()
    return {
        "seconds": ended - began, "begin_s": begun - began, "until_all_wait_s": waiting - began,
        "tell_s": told - waiting, "until_all_ended_s": ended - waiting,
    }  # fmt: skip


def _two_steps(drive: _Drive) -> dict[str, float]:
    began = time.monotonic()
    drive.begin("steps")
    drive.until_all_ended()
    return {"seconds": time.monotonic() - began}


def _latency(drive: _Drive) -> dict[str, list[float]]:
    """Tell one, look each millisecond until it is received, rest, and so on."""
    drive.begin("journey")
    drive.until_all_wait()
    took_ms = []
    received = sa.text(_RECEIVED)
    for person in drive.people:
        began = time.monotonic()
        drive.client.send(person, "read", "read")
        until(lambda: drive.looking.execute(received, {"id": person}).first() is not None, 0.001)  # noqa: B023
        took_ms.append(1000 * (time.monotonic() - began))
        time.sleep(0.05)
    return {"took_ms": took_ms}


def _sleepers(drive: _Drive, seconds: float) -> dict[str, list[float]]:
    """Let all sleep until one instant, and say how late the step after each sleep began."""
    at = time.time() + seconds
    drive.begin("sleeper", at)
    drive.until_all_wait()
    drive.until_all_ended()
    late_ms = [began_ms - 1000 * at for (began_ms,) in drive.looking.execute(sa.text(_STEPS)).fetchall()]
    return {"late_ms": late_ms}


def _wait(drive: _Drive) -> dict[str, float]:
    began = time.monotonic()
    drive.begin("journey")
    drive.until_all_wait()
    return {"seconds": time.monotonic() - began}


def _tell(drive: _Drive, told: int) -> dict[str, float]:
    """Tell some of those who wait, evenly spread, and wait until these have ended."""
    drive.people = drive.people[:: max(1, drive.many // told)]
    drive.tell()
    ids, left = {"ids": drive.people}, sa.text(_NOT_ENDED)
    until(lambda: drive.looking.execute(left, ids).scalar_one() == 0)
    return {}


def main() -> None:
    """Work, or drive."""
    what, url, settings = given()
    if what == "work":
        uvloop.run(_work(url, settings))
        return
    drive = _Drive(url, settings)
    say(ready=True)
    hear()
    match what:
        case "journeys":
            said: dict[str, Any] = _journeys(drive)
        case "steps":
            said = _two_steps(drive)
        case "latency":
            said = _latency(drive)
        case "sleepers":
            said = _sleepers(drive, float(settings["seconds"]))
        case "wait":
            said = _wait(drive)
        case "tell":
            said = _tell(drive, int(settings["told"]))
        case _:
            raise SystemExit(f"no such work: {what}")
    say(**said)


main()
