"""Journeys on a real engine in which the n-th statement that the program sends fails, for every n.

Which statements there are is told by a journey in which none fails: each of them then fails in a journey of
its own, counted by its name, since sweeps come in between as they like. It fails before it is sent (a
connection that is lost, a serialization error, a deadlock, a timeout), or it is carried out and its answer is
lost. In each case the journey ends as it is written, nothing stands there twice, and no provider is called
without an attempt row of its own.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from chimeway import Chimeway
from chimeway.delivery import dispatcher, sending
from chimeway.delivery.channel import Message, Sent, TransientFailure
from chimeway.delivery.pacing import ChannelLimits
from chimeway.engine import actor
from chimeway.errors import DatabaseUnavailable
from chimeway.store.faults import behind, passes
from kit.home import workflow
from kit.invariants import assert_invariants
from kit.machine import Running, running_machine
from kit.saboteur import FAULTS, Saboteur, sabotage
from kit.waiting import wait_for

READ: Final = {"type": "signal_received", "signal_type": "read"}
LATER: Final = {
    "kind": "wait_until",
    "anchor": "prior_delivery_terminal_at",
    "delay": "PT1H",
    "to_step": "sms",
}
BOUNCED: Final = {"kind": "on_outcome", "outcome": "bounced", "to_step": "sms"}
HOURS: Final = ("00:00", "14:00") if datetime.now(UTC).hour < 12 else ("10:00", "02:00")
"""That it is now, and will be for two hours."""
ASLEEP: Final = {"preferences": {"quiet_hours": {"from": HOURS[0], "to": HOURS[1]}}}
AWAKE: Final = {"preferences": {"quiet_hours": None}}


def _notify(channel: str, **more: Any) -> dict[str, Any]:
    return {"id": channel, "action": {"type": "notify", "channel": channel, "render_key": "mention"}, **more}


def _wait(duration: str) -> dict[str, Any]:
    return {"id": "wait", "action": {"type": "wait", "duration": duration, "stop_conditions": [READ]}}


class Provider:
    """Takes what it is given; of the workflow `retried` only the third call for a message."""

    needs_address = False
    limits = ChannelLimits()

    def __init__(self, name: str) -> None:
        """Begin with nothing sent."""
        self.name = name
        self.calls: dict[str, int] = {}

    async def send(self, message: Message) -> Sent:
        """Count a call, and answer."""
        many = self.calls[message.delivery_id] = self.calls.get(message.delivery_id, 0) + 1
        if message.workflow == "retried" and many < 3:
            raise TransientFailure("not now")
        return Sent(f"{self.name} took it")


@dataclass(frozen=True, slots=True)
class Stage:
    """A running engine, a producer that works by the same pool, and who lets statements fail."""

    on: Running
    client: Chimeway
    saboteur: Saboteur
    providers: tuple[Provider, ...]

    async def waits(self, run_id: UUID) -> None:
        """Wait until a run waits."""
        await self.on.rows.until(run_id, "waiting")


async def _stubbornly(verb: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again until the database has answered, as producers do whose requests may be repeated."""
    while True:
        try:
            return await verb()
        except Exception as error:
            if not isinstance(error, DatabaseUnavailable) and not passes(behind(error)):
                raise


async def _elapses(stage: Stage, run_id: UUID, person: str) -> None:
    """Nobody says anything."""


async def _is_read(stage: Stage, run_id: UUID, person: str) -> None:
    await stage.waits(run_id)
    await _stubbornly(lambda: stage.client.signal("read", actor=person, dedupe_key=person))


async def _bounces(stage: Stage, run_id: UUID, person: str) -> None:
    await stage.waits(run_id)
    (sent,) = await stage.on.rows.deliveries(run_id, "push")
    event = {"id": person, "delivery_id": str(sent["id"]), "type": "bounced"}
    await _stubbornly(lambda: stage.client.record_feedback_many("provider", [event]))


async def _wakes(stage: Stage, run_id: UUID, person: str) -> None:
    async def put_off() -> bool:
        sent = await stage.on.rows.deliveries(run_id, "push")
        return [one["status"] for one in sent] == ["deferred"]

    await wait_for(put_off, "the message is put off")
    await _stubbornly(lambda: stage.client.identify(person, **AWAKE))


async def _is_forgotten(stage: Stage, run_id: UUID, person: str) -> None:
    await stage.waits(run_id)
    await _stubbornly(lambda: stage.client.forget(person))


async def _is_cancelled(stage: Stage, run_id: UUID, person: str) -> None:
    await stage.waits(run_id)
    await _stubbornly(lambda: stage.client.cancel(run_id))


@dataclass(frozen=True, slots=True)
class Journey:
    """A definition, what happens to it, how it ends, and which statements it needs besides all others'."""

    key: str
    steps: tuple[dict[str, Any], ...]
    happens: Callable[[Stage, UUID, str], Awaitable[None]]
    ends: str
    needs: tuple[str, ...]
    profile: dict[str, Any] = field(default_factory=dict)

    async def play(self, stage: Stage, person: str) -> UUID:
        """Start it for somebody new, see it through, and return its run."""
        if self.profile:
            await _stubbornly(lambda: stage.client.identify(person, **self.profile))
        receipt = await _stubbornly(
            lambda: stage.client.trigger(self.key, {"document": 7}, recipients=person, idempotency_key=person)
        )
        (run_id,) = receipt.run_ids
        await self.happens(stage, run_id, person)
        await stage.on.rows.until(run_id, self.ends)
        await self._comes_to_rest(stage, run_id)
        return run_id

    async def _comes_to_rest(self, stage: Stage, run_id: UUID) -> None:
        """Wait until all that was begun has ended: a run may end before its message has."""

        async def rests() -> bool:
            found = await stage.on.rows.deliveries(run_id)
            attempts = await stage.on.rows.attempts(run_id)
            return all(one["terminal_at"] for one in found) and all(one["outcome"] for one in attempts)

        await wait_for(rests, f"what {self.key} has begun has ended")


TOLD: Final = (_notify("in_app"), _wait("PT1H"), _notify("push"))
SENT: Final = ("begin_attempts", "record_results")
JOURNEYS: Final = (
    Journey("elapsed", (_notify("in_app"), _wait("PT0.05S"), _notify("push")), _elapses, "completed", SENT),
    Journey("read", TOLD, _is_read, "stopped", ("signal", "heed_signals")),
    Journey("retried", (_notify("push"),), _elapses, "completed", SENT),
    Journey(
        "bounced", (_notify("push", progress=[BOUNCED, LATER]), _notify("sms")), _bounces, "completed",
        (*SENT, "record_feedback"),
    ),
    Journey("put_off", (_notify("push"),), _wakes, "completed", ("identify", *SENT), ASLEEP),
    Journey("forgotten", TOLD, _is_forgotten, "stopped", ("forget_recipient",)),
    Journey("cancelled", TOLD, _is_cancelled, "stopped", ("cancel",)),
)  # fmt: skip


async def _story(stage: Stage, run_id: UUID) -> dict[str, Any]:
    """Return what is the same whatever failed: audit, messages, items, and who was started."""
    rows = stage.on.rows
    messages = [
        (one["visit"], one["channel"], one["status"], one["suppression_reason"])
        for one in await rows.deliveries(run_id)
    ]
    return {
        "audit": [(one["seq"], one["reason"], one["to_step"]) for one in await rows.transitions(run_id)],
        "messages": messages,
        "items": await rows.value("select count(*) from chimeway.inbox_items where run_id = $1", run_id),
        "runs of its event": await rows.value(
            """select cardinality(e.run_ids) from chimeway.events e
                 join chimeway.workflow_runs r on r.event_id = e.id where r.id = $1""", run_id),
        "heard": await rows.value("select count(*) from chimeway.run_mailbox where run_id = $1", run_id),
    }  # fmt: skip


async def _calls_have_rows(stage: Stage, run_id: UUID) -> None:
    """No provider was called without its attempt row; at most one attempt of a message succeeded."""
    for one in await stage.on.rows.deliveries(run_id):
        calls = sum(provider.calls.get(str(one["id"]), 0) for provider in stage.providers)
        assert calls <= one["attempt_count"], "a provider was called without an attempt row"
    outcomes = [(one["delivery_id"], one["outcome"]) for one in await stage.on.rows.attempts(run_id)]
    succeeded = [delivery for delivery, outcome in outcomes if outcome == "succeeded"]
    assert len(succeeded) == len(set(succeeded))


async def _every_statement(stage: Stage, journey: Journey, fault: str) -> Counter[str]:
    """Play a journey again and again, each time with another statement failing; return which did."""
    stage.saboteur.disarm()
    told = await _story(stage, await journey.play(stage, f"{journey.key}, {fault}"))
    struck: Counter[str] = Counter()
    for name, many in stage.saboteur.names.copy().items():
        for number in range(1, many + 1):
            stage.saboteur.arm(name, number, FAULTS[fault])
            run_id = await journey.play(stage, f"{journey.key}, {fault}, {name} {number}")
            struck[name] += stage.saboteur.struck
            assert await _story(stage, run_id) == told, f"{fault}: {name}, the {number}th"
            await _calls_have_rows(stage, run_id)
    return struck


async def _played(url: str, journeys: tuple[Journey, ...], faults: tuple[str, ...]) -> None:
    providers = (Provider("push"), Provider("sms"))
    definitions = tuple(workflow(*one.steps, key=one.key) for one in journeys)
    with sabotage() as saboteur:
        async with running_machine(url, *providers, definitions=definitions) as on:
            stage = Stage(on, Chimeway(on.node.database), saboteur, providers)
            for journey in journeys:
                for fault in faults:
                    struck = await _every_statement(stage, journey, fault)
                    print(f"{journey.key}, {fault}: {sum(struck.values())} statements failed, one a journey")
                    assert set(struck) >= {"trigger_many", "load_runs", "commit_decisions"}
                    assert all(struck[name] for name in journey.needs), struck
            await assert_invariants(url, on.rows)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server fails at by itself is tried again sooner than in life."""
    for where in (actor, sending, dispatcher):
        monkeypatch.setattr(where, "_FAULT_AGAIN_S", 0.05)


async def test_a_journey_ends_as_written_whichever_answer_is_lost(database_url: str) -> None:
    """The hardest: what was carried out is not known."""
    await _played(database_url, JOURNEYS[:1], ("answer lost",))


@pytest.mark.big
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("fault", FAULTS)
async def test_all_journeys_end_as_written_whichever_statement_fails(database_url: str, fault: str) -> None:
    """In whichever way it fails."""
    await _played(database_url, JOURNEYS, (fault,))
