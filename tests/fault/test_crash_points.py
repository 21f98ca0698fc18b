"""Killed at each named point between deciding and recording; the points are reached from outside.

A proxy holds one message between the daemon and PostgreSQL, or the provider holds its answer; then
the daemon gets SIGKILL, and what was held never reaches the other side. A fresh daemon takes over.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.daemon import running_daemon
from kit.home import Home, email, home, in_app, wait, workflow
from kit.invariants import assert_invariants
from kit.proxy import Proxy, proxy_to
from kit.psql import psql
from kit.rows import Rows, rows_of
from kit.smtp import Sink, smtp_sink
from kit.waiting import Gate, wait_for

IDENTIFY = "select chimeway.identify('default', 'ada', '{\"email\": \"ada@example.org\"}')"
TRIGGER = "select chimeway.trigger('mention_escalation', recipient_id => 'ada')"
READ = "select chimeway.signal('notification_read', actor_id => 'ada')"
GUIDE = workflow(in_app(), wait(duration="PT0.1S"), email())


@dataclass(frozen=True, slots=True)
class Stage:
    """A run that waits, and the places at which its daemon can be held."""

    url: str
    home: Home
    proxy: Proxy
    sink: Sink
    rows: Rows

    @asynccontextmanager
    async def killed(self, point: str) -> AsyncIterator[str]:
        """Bring a run to a point and kill its daemon there; yield the run, with no daemon alive."""
        async with running_daemon(self.proxy.url, self.home, SMTP_URL=self.sink.url) as daemon:
            gate = self._gate(point)
            await psql(self.url, IDENTIFY)
            (run_id,) = await psql(self.url, TRIGGER)
            await wait_for(gate.reached.is_set, f"the daemon is at {point}")
            daemon.kill()
            gate.discard()
        yield run_id

    def _gate(self, point: str) -> Gate:
        match point.split():
            case ["request", "commit_decisions"]:
                return self.proxy.hold_request("commit_decisions", "reactivated_from_wait")
            case ["reply", "commit_decisions"]:
                return self.proxy.hold_reply("commit_decisions", "reactivated_from_wait")
            case ["request", word]:
                return self.proxy.hold_request(word)
            case ["reply", word]:
                return self.proxy.hold_reply(word)
            case _:
                return self.sink.hold()

    async def recovered(self, run_id: str, state: str = "completed") -> None:
        """Start a fresh daemon, and wait until the run has ended."""
        async with running_daemon(self.proxy.url, self.home, name="fresh", SMTP_URL=self.sink.url) as daemon:
            acquired = await daemon.event("lease.acquired")
            assert acquired["taken_over"], "nobody had handed the lease over"
            await self.rows.until(run_id, state)
            assert await daemon.stopped() == 0

    async def ended_right(self, run_id: str, *outcomes: str) -> None:
        """One delivery on each visit, these attempts, and one e-mail in the mailbox."""
        planned = await self.rows.deliveries(run_id)
        assert [(one["visit"], one["channel"]) for one in planned] == [(1, "in_app"), (3, "email")]
        assert [one["status"] for one in planned] == ["succeeded", "succeeded"]
        attempts = await self.rows.attempts(run_id)
        assert [one["outcome"] for one in attempts] == list(outcomes)
        assert [one["attempt_no"] for one in attempts] == list(range(1, len(outcomes) + 1))
        assert self.sink.deliveries() == {str(planned[1]["id"])}
        items = await self.rows.value("select count(*) from chimeway.inbox_items")
        assert items == 1
        await assert_invariants(self.url, self.rows)


@asynccontextmanager
async def stage(url: str, folder: Path) -> AsyncIterator[Stage]:
    """Set up everything but a daemon."""
    made = home(folder, GUIDE)
    async with proxy_to(url) as proxy, smtp_sink() as sink, rows_of(url) as rows:
        yield Stage(url, made, proxy, sink, rows)


async def test_before_the_commit(database_url: str, tmp_path: Path) -> None:
    """A decision whose request never arrived is made again."""
    async with stage(database_url, tmp_path) as on, on.killed("request commit_decisions") as run_id:
        run = await on.rows.run(run_id)
        assert (run["state"], run["step"]) == ("waiting", "step_wait_for_read")
        assert "reactivated_from_wait" not in await on.rows.reasons(run_id)
        await on.recovered(run_id)
        await on.ended_right(run_id, "succeeded")


async def test_after_the_commit_before_its_answer(database_url: str, tmp_path: Path) -> None:
    """A decision whose answer was lost stands, and is not made twice."""
    async with stage(database_url, tmp_path) as on, on.killed("reply commit_decisions") as run_id:
        run = await on.rows.run(run_id)
        assert (run["state"], run["step"]) == ("active", "step_email_escalation")
        (planned,) = await on.rows.deliveries(run_id, "email")
        assert planned["status"] == "pending"
        await on.recovered(run_id)
        await on.ended_right(run_id, "succeeded")


async def test_after_the_commit_before_the_send(database_url: str, tmp_path: Path) -> None:
    """What was planned and not begun is sent by who takes over."""
    async with stage(database_url, tmp_path) as on, on.killed("request begin_attempts") as run_id:
        assert await on.rows.attempts(run_id) == []
        await on.recovered(run_id)
        await on.ended_right(run_id, "succeeded")


async def test_read_between_the_commit_and_the_send(database_url: str, tmp_path: Path) -> None:
    """What was planned and not begun is not sent when it is read meanwhile."""
    async with stage(database_url, tmp_path) as on, on.killed("request begin_attempts") as run_id:
        await psql(on.url, READ)
        await on.recovered(run_id, "stopped")
        (planned,) = await on.rows.deliveries(run_id, "email")
        assert (planned["status"], planned["suppression_reason"]) == ("cancelled", "stopped_before_send")
        assert await on.rows.attempts(run_id) == []
        assert on.sink.calls == 0


async def test_an_attempt_begun_whose_answer_was_lost(database_url: str, tmp_path: Path) -> None:
    """An attempt that may have reached its provider counts as unknown, and is repeated."""
    async with stage(database_url, tmp_path) as on, on.killed("reply begin_attempts") as run_id:
        assert [one["outcome"] for one in await on.rows.attempts(run_id)] == [None]
        assert on.sink.calls == 0
        await on.recovered(run_id)
        await on.ended_right(run_id, "unknown", "succeeded")


async def test_during_the_providers_call(database_url: str, tmp_path: Path) -> None:
    """A call of which nobody knows how it ended is repeated under the same key."""
    async with stage(database_url, tmp_path) as on, on.killed("provider") as run_id:
        assert [one["outcome"] for one in await on.rows.attempts(run_id)] == [None]
        assert on.sink.calls == 1
        await on.recovered(run_id)
        await on.ended_right(run_id, "unknown", "succeeded")


async def test_after_the_providers_yes_before_its_row(database_url: str, tmp_path: Path) -> None:
    """The message goes out again with the same Message-ID: the one double that nobody can avoid."""
    async with stage(database_url, tmp_path) as on, on.killed("request record_results") as run_id:
        assert len(on.sink.mails) == 1
        assert [one["outcome"] for one in await on.rows.attempts(run_id)] == [None]
        await on.recovered(run_id)
        await on.ended_right(run_id, "unknown", "succeeded")
        assert len(on.sink.mails) == 2


async def test_a_result_written_whose_answer_was_lost(database_url: str, tmp_path: Path) -> None:
    """A result that was written stands: nothing is sent again."""
    async with stage(database_url, tmp_path) as on, on.killed("reply record_results") as run_id:
        await on.recovered(run_id)
        await on.ended_right(run_id, "succeeded")
        assert len(on.sink.mails) == 1


QUICKLY = """{"caps": [{"channel": "email", "limit": 1, "per": "PT3S", "then": "delay"}]}"""
PREFER = f"select chimeway.identify('default', 'ada', '{{\"preferences\": {QUICKLY}}}')"
FULL = """insert into chimeway.send_budgets (tenant_id, recipient_id, channel, shard, sent_at)
          values ('default', 'ada', 'email', chimeway.shard_of('default', 'ada'), array[chimeway.clock()])"""


@pytest.mark.parametrize("point", ["request", "reply"])
async def test_while_a_message_is_put_off(database_url: str, tmp_path: Path, point: str) -> None:
    """A verdict that never arrived is given again; one whose answer was lost stands. It goes later, once."""
    async with stage(database_url, tmp_path) as on:
        begun = on.proxy.hold_request("begin_attempts")
        async with running_daemon(on.proxy.url, on.home, SMTP_URL=on.sink.url) as daemon:
            await psql(on.url, IDENTIFY)
            (run_id,) = await psql(on.url, TRIGGER)
            await wait_for(begun.reached.is_set, "the sender has looked")
            hold = on.proxy.hold_request if point == "request" else on.proxy.hold_reply
            gate = hold("record_verdicts")
            await psql(
                on.url, PREFER, FULL
            )  # what it saw is no longer so: it looks again, and there is no place
            begun.release()
            await wait_for(gate.reached.is_set, "the verdict is on its way")
            daemon.kill()
            gate.discard()
        (delivery,) = await on.rows.deliveries(run_id, "email")
        assert (delivery["status"], delivery["deferred_reason"]) == (
            ("pending", None) if point == "request" else ("deferred", "cap")
        )
        await on.recovered(run_id)
        await on.ended_right(run_id, "succeeded")
