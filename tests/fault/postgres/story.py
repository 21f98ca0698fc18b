"""Journeys through a fault of PostgreSQL: told by producers who do not give up, judged by what was written.

Half of the people read in time: their producer says so in the transaction that triggers their run, so that no
fault can come between the two. They must be stopped, and get no e-mail. All others must get exactly one: the
in-app item, the wait, the e-mail. What a producer was told is kept here, apart from the database, so that a
journey which the database lost is missed.

A producer does what producers should: it gives each event a key, and on any fault of the database it does the
same again, on a new connection, until it is answered.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from chimeway.store.faults import behind, fault_of
from chimeway.store.pool import Connection, connect
from kit.clusters import Cluster
from kit.daemon import Daemon, running_daemon
from kit.home import Home, email, home, in_app, wait, workflow
from kit.invariants import assert_invariants, assert_mails_fit
from kit.rows import Row, Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import wait_for

IDENTIFY = "select chimeway.identify('default', $1, jsonb_build_object('email', $1 || '@example.org'))"
TRIGGER = """select chimeway.trigger('mention_escalation', recipient_id => $1, idempotency_key => $1)"""
READ = "select chimeway.signal('notification_read', actor_id => $1, dedupe_key => $1)"
ASLEEP_S = 0.05
DUE = """select exists (select from chimeway.workflow_runs
                         where state = 'waiting' and wake_at <= clock_timestamp())"""
REPEATS = """
select d.id::text as id, count(*) filter (where x.outcome = 'unknown')::int as unknown,
       count(*) filter (where x.outcome = 'succeeded')::int as succeeded, count(*)::int as attempts
  from chimeway.deliveries d
  join chimeway.delivery_attempts a on a.delivery_id = d.id
  left join chimeway.delivery_attempt_results x on x.delivery_id = d.id and x.attempt_no = a.attempt_no
 where d.channel = 'email' group by d.id"""


@dataclass(slots=True)
class Story:
    """What producers told, and what became of it."""

    url: str
    sink: Sink
    told: dict[str, UUID] = field(default_factory=dict)
    """Who was told to have been mentioned, and the run that the producer was answered."""
    repeated: int = 0
    """How often a producer had to say something again."""
    _line: "Connection | None" = None

    async def tell(self, prefix: str, count: int = 20) -> None:
        """Tell of so many mentions, one after the other; every other person reads at once."""
        for number in range(count):
            await self._tell_one(f"{prefix}_{'reader' if number % 2 else 'sleeper'}_{number}")

    async def _tell_one(self, who: str) -> None:
        while True:
            try:
                if self._line is None or self._line.is_closed():
                    self._line = await connect(self.url, "producer")
                self.told[who] = await _told(self._line, who)
            except Exception as error:
                if fault_of(behind(error)) not in {"connection", "retry"}:
                    raise
                self.repeated += 1
                await self.hang_up()
                await asyncio.sleep(ASLEEP_S)
            else:
                return

    async def hang_up(self) -> None:
        """Close the producer's connection."""
        line, self._line = self._line, None
        if line is not None:
            line.terminate()

    async def some_are_due(self) -> None:
        """Wait until runs are due: the engine is at work on them."""
        async with rows_of(self.url) as rows:
            await wait_for(lambda: rows.value(DUE), "some are due", every_s=0.001)

    async def ends_as_written(self, deadline_s: float = 60) -> Counter[str]:
        """Wait until all runs have ended, and assert that each went as it had to; return what repeated."""
        async with rows_of(self.url) as rows:
            await rows.until_none_live(deadline_s)
            await assert_invariants(self.url, rows)
            await assert_mails_fit(rows, self.sink)
            runs = {
                row["recipient_id"]: row for row in await rows.all("select * from chimeway.workflow_runs")
            }
            assert runs.keys() == self.told.keys(), "what was told, and what is there, are not the same"
            for who, run_id in self.told.items():
                assert runs[who]["id"] == run_id, f"{who} has another run than its producer was told"
                await self._went_as_written(rows, who, runs[who])
            return await self._repeats(rows)

    async def _went_as_written(self, rows: Rows, who: str, run: Row) -> None:
        deliveries = [(row["channel"], row["status"]) for row in await rows.deliveries(run["id"])]
        mails = {mail.delivery_id for mail in self.sink.to(who)}
        if "_reader_" in who:
            assert (run["state"], deliveries, mails) == ("stopped", [("in_app", "succeeded")], set()), who
            return
        reasons = await rows.reasons(run["id"])
        assert run["state"] == "completed", (who, reasons)
        assert deliveries == [("in_app", "succeeded"), ("email", "succeeded")], (who, deliveries)
        assert len(mails) == 1, f"{who} got {len(mails)} different e-mails"
        assert len(reasons) == len(set(reasons)) + reasons.count("step_activated") - 1, (who, reasons)

    async def _repeats(self, rows: Rows) -> Counter[str]:
        """Assert that whoever got an e-mail twice has an attempt that the trace calls unknown."""
        arrived = Counter(mail.delivery_id for mail in self.sink.mails)
        counts: Counter[str] = Counter(producer=self.repeated)
        for row in await rows.all(REPEATS):
            mails = arrived.pop(row["id"], 0)
            assert row["succeeded"] == 1, dict(row)
            assert mails <= row["succeeded"] + row["unknown"], (mails, dict(row))
            counts["attempts unknown"] += row["unknown"]
            counts["e-mails twice"] += mails > 1
        assert not arrived, f"a provider was called without an attempt: {arrived}"
        return counts


async def _told(line: Connection, who: str) -> UUID:
    async with line.transaction():
        await line.fetchval(IDENTIFY, who)
        run_id: UUID = await line.fetchval(TRIGGER, who)
        if "_reader_" in who:
            await line.fetchval(READ, who)
    return run_id


GUIDE = workflow(in_app(), wait(duration="PT1S"), email())


@asynccontextmanager
async def telling(url: str) -> AsyncIterator[Story]:
    """Give a story for a database, and a provider for its e-mails, while the block lasts."""
    async with smtp_sink() as sink:
        story = Story(url, sink)
        try:
            yield story
        finally:
            await story.hang_up()


def make_home(folder: Path) -> Home:
    """Make a daemon's folders, with the journey of all stories: the guide's, with a wait of a second."""
    return home(folder, GUIDE)


class Node:
    """A daemon of a story, and its web door."""

    def __init__(self, daemon: Daemon, client: httpx2.AsyncClient) -> None:
        """Take a daemon that is ready, and who asks it."""
        self.daemon = daemon
        self._client = client

    async def ready(self) -> tuple[int, str]:
        """Ask `/readyz`: the status, and the state or the problem's code."""
        answered = await self._client.get("/readyz")
        found = answered.json()
        return answered.status_code, found["status"] if answered.status_code == 200 else found["title"]

    async def until_ready(self, status: int, word: str | None = None, deadline_s: float = 30) -> str:
        """Wait until it answers so; return the word that it says."""

        async def so() -> str | None:
            found = await self.ready()
            return found[1] if found[0] == status and word in {None, found[1]} else None

        return await wait_for(so, f"/readyz says {status} {word or ''}", deadline_s=deadline_s)

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return what it has logged of this event."""
        return self.daemon.seen(event, **fields)


@asynccontextmanager
async def node(
    url: str, made: Home, story: Story, *, name: str = "node", ready: bool = True, **settings: str
) -> AsyncIterator[Node]:
    """Run a daemon of a story while the block lasts; it must end well."""
    settings = {"SMTP_URL": story.sink.url, "HTTP_BIND": "127.0.0.1:0", **settings}
    async with running_daemon(url, made, name=name, ready=ready, **settings) as daemon:
        heard = await daemon.event("http.listening")
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{heard['port']}", timeout=20) as client:
            yield Node(daemon, client)
        assert not daemon.seen("daemon.failed")
        assert await daemon.stopped() == 0


async def sessions_of(cluster: Cluster, name: str = "chimeway%") -> int:
    """Return how many sessions the daemons have."""
    sql = "select count(*) from pg_stat_activity where application_name like $1"
    return int(await cluster.value(sql, name))
