"""Runs that begin later, in a running engine: woken before, they wait; at their time they begin."""

from typing import Any
from uuid import UUID

import pytest

from chimeway.engine.actor import Actor
from kit.home import READ, workflow
from kit.machine import Provider, Running, running_machine
from kit.waiting import wait_for

PUSH = {"id": "push", "action": {"type": "notify", "channel": "push", "render_key": "mention"}}
PAUSE = {"id": "wait", "action": {"type": "wait", "duration": "PT1H", "stop_conditions": [READ]}}
JOURNEY = workflow(PUSH, PAUSE, stop_conditions=[{"type": "signal_received", "signal_type": "halt"}])
LATER = """select chimeway.trigger('mention_escalation', recipient_id => $1, data => '{"document": 7}',
                                   at => chimeway.clock() + $2::text::interval)"""
SIGNAL = "select chimeway.signal($1, actor_id => $2)"


async def _start(on: Running, recipient: str, later: str) -> UUID:
    run_id: UUID = await on.rows.value(LATER, recipient, later)
    return run_id


async def test_a_signal_wakes_and_does_not_begin(database_url: str) -> None:
    """Of two runs that begin in an hour one hears "read" and stays, and one hears "halt" and is stopped."""
    push = Provider()
    async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
        stays, stopped = [await _start(on, person, "1 hour") for person in ("ada", "bob")]
        evaluated: list[UUID] = []
        follow = on.machine._acting.follow

        def noted(actor: Actor, found: Any) -> Any:
            evaluated.append(actor.run_id)
            return follow(actor, found)

        on.machine._acting.follow = noted
        await on.rows.value(SIGNAL, "notification_read", "ada")
        await wait_for(lambda: stays in evaluated, "its mail was looked at")
        await on.rows.value(SIGNAL, "halt", "bob")
        await on.rows.until(stopped, "stopped")
        row = await on.rows.run(stays)
        assert (row["state"], row["step"], row["mailbox_count"]) == ("active", None, 1)
        assert push.messages == []


async def test_it_begins_at_its_time(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a later start begins then, neither before nor a look later, though it was woken before."""
    monkeypatch.setattr("chimeway.engine.lookout.IDLE_LOOK_S", 3600.0)  # the wheel brings it, or nobody
    push = Provider()
    async with running_machine(database_url, push, definitions=(JOURNEY,)) as on:
        run_id = await _start(on, "ada", "0.7 seconds")
        at = (await on.rows.run(run_id))["wake_at"]
        await on.rows.value(SIGNAL, "notification_read", "ada")
        await on.rows.until(run_id, "stopped")
        first = (await on.rows.transitions(run_id))[1]
        assert first["reason"] == "step_activated"
        assert 0 <= (first["at"] - at).total_seconds() < 10
        assert (await on.rows.reasons(run_id))[-2:] == ["signal_received", "workflow_stopped"]
        assert len(push.messages) == 1
