"""A provider that fails one call in three, and a node killed again and again: calls and rows agree."""

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chimeway.testing.faults import Received
from chimeway.testing.faulty_smtp import FaultySmtp
from kit.daemon import running_daemon
from kit.home import email, home, workflow
from kit.invariants import assert_invariants
from kit.rows import Rows, rows_of
from kit.waiting import wait_for

START = """
select count(*) from (
    select chimeway.identify('default', id, jsonb_build_object('email', id || '@example.org')),
           chimeway.trigger('mention_escalation', recipient_id => id)
      from (select 'user_' || n as id from generate_series(1, $1::int) n) u) t"""
ENDED = "select count(*) from chimeway.deliveries where terminal_at is not null"
TRACE = """
select d.id::text as id, d.status, d.suppression_reason, d.attempt_count as attempts,
       count(x.*) filter (where x.outcome = 'unknown' or x.error_class = 'timeout') as unknown,
       max(x.attempt_no) filter (where x.outcome = 'succeeded') as succeeded
  from chimeway.deliveries d left join chimeway.delivery_attempt_results x on x.delivery_id = d.id
 group by d.id, d.shard"""
CUT = "update chimeway.deliveries set next_attempt_at = clock_timestamp() where status = 'failed'"
LIMITS = {"concurrency": 32, "max_attempts": 6, "breaker_pause": "PT0.5S"}


@dataclass(frozen=True, slots=True)
class Storm:
    """How many deliveries, and how often their node is killed before they are done."""

    deliveries: int
    kills: int
    within_s: float
    patient: bool
    """Whether pauses between attempts are waited for; else they are cut short by hand in the end."""


class Failing(FaultySmtp):
    """Fails one call in three, the same ones each time: twice of three it says so, once it hangs up."""

    def __init__(self) -> None:
        """Begin with no call."""
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.fail_if(lambda one: self._die(one) in {0, 3}, "error_500")
        self.fail_if(lambda one: self._die(one) == 6, "close_before_reply")

    def _met(self, received: Received) -> None:
        super()._met(received)
        self.calls[received.key or ""] += 1

    def _die(self, received: Received) -> int:
        return zlib.crc32(f"{received.key} {self.calls[received.key or '']}".encode()) % 9


@asynccontextmanager
async def _played(storm: Storm, url: str, folder: Path) -> AsyncIterator[tuple[Failing, Rows]]:
    made = home(folder, workflow(email()))
    async with Failing() as server, rows_of(url) as rows:
        provider = {"kind": "smtp", "url": server.url, "connections": 32}
        settings = {"CHANNELS": json.dumps({"email": {**LIMITS, "providers": [provider]}})}
        for kill in range(storm.kills):
            async with running_daemon(url, made, **settings) as daemon:
                if kill == 0:
                    await rows.value(START, storm.deliveries)
                enough = storm.deliveries * (kill + 1) // (storm.kills + 2)
                await wait_for(
                    lambda least=enough: _ended(rows, least),
                    f"{enough} have ended",
                    deadline_s=120,
                    every_s=0.1,
                )
                daemon.kill()
        async with running_daemon(url, made, **settings) as daemon:
            while not storm.patient and not await _ended(rows, storm.deliveries):
                await rows.value(CUT)
                await asyncio.sleep(0.1)
            await rows.until_none_live(storm.within_s)
            assert await daemon.stopped() == 0
        yield server, rows


async def _ended(rows: Rows, least: int) -> bool:
    return bool(await rows.value(ENDED) >= least)


@pytest.mark.parametrize(
    "storm",
    [
        pytest.param(Storm(100, 2, 60, patient=False), id="100"),
        pytest.param(
            Storm(10_000, 10, 240, patient=True),
            id="10000",
            marks=[pytest.mark.big, pytest.mark.timeout(400)],
        ),
    ],
)
async def test_calls_and_rows_agree(storm: Storm, database_url: str, tmp_path: Path) -> None:
    """Every delivery ends; no call lacks its row; what was taken twice was unknown; none after success."""
    async with _played(storm, database_url, tmp_path) as (server, rows):
        trace = {row["id"]: row for row in await rows.all(TRACE)}
        taken = Counter(one.key for one in server.taken)
        _print(storm, server, list(trace.values()), taken)
        assert len(trace) == storm.deliveries
        assert {row["status"] for row in trace.values()} <= {"succeeded", "cancelled"}
        assert {row["suppression_reason"] for row in trace.values()} <= {None, "retries_exhausted"}
        assert set(server.calls) <= set(trace)
        for key, row in trace.items():
            assert server.calls[key] <= row["attempts"], "a call has its row"
            sure = row["attempts"] - row["unknown"]
            assert taken[key] <= row["unknown"] + (row["status"] == "succeeded"), "twice only where unknown"
            assert row["succeeded"] in {None, row["attempts"]}, "nothing is tried after a success"
            assert sure <= server.calls[key], "what was answered was asked"
            assert row["status"] != "succeeded" or taken[key] >= 1
        await assert_invariants(database_url, rows)


def _print(storm: Storm, server: Failing, trace: list, taken: Counter) -> None:  # type: ignore[type-arg]
    calls, rows = sum(server.calls.values()), sum(row["attempts"] for row in trace)
    unknown = sum(row["unknown"] for row in trace)
    print(
        f"\n{storm.deliveries} deliveries, {storm.kills} kills: {calls} calls, {rows} attempt rows, of which "
        f"{unknown} unknown; taken twice or more: {sum(many > 1 for many in taken.values())}; ended: "
        f"{dict(Counter(row['suppression_reason'] or row['status'] for row in trace))}"
    )
