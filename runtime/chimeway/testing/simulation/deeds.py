"""What each act does: one step of one party. The table is `DEEDS`; see `world`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from chimeway.progression.decision import Noop
from chimeway.progression.paper import STARTED
from chimeway.progression.snapshot import Run
from chimeway.testing.simulation import audit, posting
from chimeway.testing.simulation.facts import Begun, Called, Ordered
from chimeway.testing.simulation.flights import IN_SERVER, Flight
from chimeway.testing.simulation.journeys import payload_for
from chimeway.testing.simulation.model import Reference
from chimeway.testing.simulation.posting import Result
from chimeway.testing.simulation.tables import Entry, RunRow, SignalRow, signal_id
from chimeway.testing.simulation.world import ZONE, Act, World

RETRY_AFTER: Final = timedelta(minutes=1)


def take(world: World, act: Act) -> None:
    """Do one act, and look at what it did.

    Raises:
        AssertionError: something is not as it must be; the text says what.
    """
    name, *given = act
    DEEDS[name](world, *given)
    audit.look(world)


# Producers.


def _trigger(world: World) -> None:
    tenant, recipient = world.plan.runs[world.written]
    clock, run_id = world.rows.clock, world.run_id(world.written)
    run = Run(
        id=run_id, tenant_id=tenant, recipient_id=recipient, state="active", step=None, visit=0, revision=0,
        mailbox_count=0, status_reason="workflow_started", status_context={}, wake_at=clock,
    )  # fmt: skip
    world.written += 1
    row = RunRow(run, world.rows.next_arrival(), world.plan.data, transitions=(("trigger", STARTED),))
    world.pending[row.arrival] = row


def _signal(world: World, utterance: int, about: int) -> None:
    """Write a signal: said of run `about` by its recipient."""
    said, (tenant, actor) = world.plan.utterances[utterance], world.plan.runs[about]
    messages = world.rows.messages.get(world.run_id(about), {})
    ids = {each.delivery.step_id: str(each.delivery.id) for _, each in sorted(messages.items())}
    payload, arrival = payload_for(said, world.plan.data, ids), world.rows.next_arrival()
    row = SignalRow(signal_id(arrival), said.type, payload, arrival, world.rows.clock, tenant, actor)
    world.left["signals"] -= 1
    world.pending[arrival] = row


def _commit(world: World, arrival: int) -> None:
    row = world.pending.pop(arrival)
    if isinstance(row, SignalRow):
        world.rows.say(row)
        return
    world.rows.begin(row)
    run = row.run
    begun = Begun(
        run=str(run.id), recipient=run.recipient_id, arrival=row.arrival, tenant=run.tenant_id,
        data=row.data, zone=ZONE, starts_at=run.wake_at,
    )  # fmt: skip
    model = world.models[run.id] = Reference(world.plan.definition, begun)
    for said in world.said:
        model.happened(said)
    if world.rows.paused:
        model.happened(Ordered("pause"))


def _roll_back(world: World, arrival: int) -> None:
    world.left["faults"] -= 1
    del world.pending[arrival]


# Nodes.


def _decide(world: World, node: int, place: int, skew_ms: int, spurious: int) -> None:
    """See the rows, decide by them, and have the decision ready; or rest."""
    world.left["spurious"] -= spurious
    run_id, now = world.run_id(place), world.rows.clock + timedelta(milliseconds=skew_ms)
    answer = world.decide(world.rows.snapshot(run_id), now, world.births(now))
    audit.looked(world, run_id, now, answer)
    if isinstance(answer, Noop):
        if skew_ms == 0:
            world.rested[run_id] = world.stamp(run_id)
        return
    number = world.next_number()
    world.flights[number] = Flight(number, node, run_id, entry=Entry(f"d{number}", answer))


def _send(world: World, node: int, place: int, visit: int) -> None:
    """See a message that is due, and have an attempt ready; unless its run has a decision to make first."""
    run_id = world.run_id(place)
    snapshot, each = world.rows.snapshot(run_id), world.rows.messages[run_id][visit]
    now = world.rows.clock
    if snapshot.run.state in ("active", "waiting") and not isinstance(
        world.decide(snapshot, now, world.births(now)), Noop
    ):
        return
    number, seen = world.next_number(), (each.delivery.revision, snapshot.run.mailbox_count)
    world.flights[number] = Flight(number, node, run_id, visit=visit, seen=seen)


def _go_on(world: World, number: int) -> None:
    """Let a flight take its next step."""
    flight = world.flights[number]
    match flight.phase:
        case "made":
            _move(world, replace(flight, phase="called", called_at=len(world.rows.signals)))
            if world.plan.brief:
                _go_on(world, number)
        case "called" if world.rows.lock(flight.run_id, number):
            _move(world, replace(flight, phase="locked"))
            if world.plan.brief:
                _go_on(world, number)
        case "called":
            _answer(world, replace(flight, answer="busy"))
        case "locked":
            up_to = None if world.rows.guards.younger else flight.called_at
            found = world.rows.look(flight.run_id, up_to)
            _move(world, replace(flight, phase="looked", found=found, looked_at=len(world.rows.signals)))
        case "looked":
            _write(world, flight)
        case "answered" if flight.answer == "begun":
            _move(world, replace(flight, phase="calling"))
        case "result":
            _record(world, flight)
        case _:
            del world.flights[number]


def _move(world: World, flight: Flight) -> None:
    world.flights[flight.number] = flight


def _answer(world: World, flight: Flight) -> None:
    if flight.node is None:
        del world.flights[flight.number]
        return
    world.flights[flight.number] = replace(flight, phase="answered")
    if world.plan.brief and world.left["faults"] == 0:
        _go_on(world, flight.number)


def _write(world: World, flight: Flight) -> None:
    rows, run_id = world.rows, flight.run_id
    if flight.entry is not None:
        before = rows.runs[run_id]
        answer = rows.commit_decision(run_id, flight.entry, flight.found, flight.looked_at)
        if flight.entry.id in rows.runs[run_id].decisions - before.decisions:
            audit.decided(world, before, flight.entry)
    else:
        due, about = rows.messages[run_id][flight.visit].next_attempt_at, (flight.seen, flight.found)
        answer = posting.begin_attempt(rows, run_id, flight.visit, *about, flight.looked_at)
        audit.begun(world, due, answer)
    rows.unlock(run_id, flight.number)
    attempt = rows.messages[run_id][flight.visit].delivery.attempts if answer == "begun" else 0
    _answer(world, replace(flight, answer=answer, attempt=attempt))


def _record(world: World, flight: Flight) -> None:
    if flight.result is None:
        raise AssertionError("a flight without a result has nothing to record")
    if posting.record(world.rows, flight.run_id, flight.visit, flight.result) != "busy":
        del world.flights[flight.number]


def _call(world: World, number: int, said: str) -> None:
    """Call the provider, and hear what it says."""
    flight = world.flights[number]
    world.rows.told.append((flight.run_id, Called(flight.visit, flight.attempt)))
    result = _result(world, flight.attempt, said)
    _move(world, replace(flight, phase="result", result=result))


def _result(world: World, attempt: int, said: str) -> Result:
    """Say what follows from an answer, by the rules of retrying."""
    match said:
        case "delivered":
            return Result(attempt, "succeeded", "succeeded")
        case "permanent":
            return Result(attempt, "failed", "cancelled", "permanent_failure", "permanent")
        case "bounced":
            return Result(attempt, "failed", "cancelled", "bounced", "bounced")
    word: Any = "unknown" if said == "unknown" else "failed"
    if attempt >= world.plan.attempts:
        return Result(attempt, word, "cancelled", "retries_exhausted", "transient")
    return Result(attempt, word, "failed", None, "transient", world.rows.clock + RETRY_AFTER)


def _end_unsent(world: World, number: int, status: Any, reason: str) -> None:
    """Find, before anything was begun, that a message cannot be sent."""
    flight = world.flights[number]
    _move(world, replace(flight, phase="result", result=Result(None, None, status, reason)))


def _lose(world: World, number: int) -> None:
    """Do the next step, whose answer is then lost on its way.

    A decision is submitted again, and so is a result. Of an attempt nobody knows any more whether it began.
    """
    world.left["faults"] -= 1
    flight = world.flights[number]
    if flight.phase == "result" and flight.result is not None:
        posting.record(world.rows, flight.run_id, flight.visit, flight.result)
    elif flight.entry is not None:
        _move(world, replace(flight, phase="made", answer=None, found=()))
    else:
        del world.flights[number]


def _cut(world: World, number: int) -> None:
    """Roll a transaction back; a node that lives submits the same decision again."""
    world.left["faults"] -= 1
    flight = world.flights[number]
    world.rows.unlock(flight.run_id, number)
    if flight.node is not None and flight.entry is not None:
        _move(world, replace(flight, phase="made", found=()))
    else:
        del world.flights[number]


def _crash(world: World, node: int) -> None:
    """End a node. What it had in the server goes on there; it begins again with nothing in memory."""
    world.left["faults"] -= 1
    for number, flight in list(world.flights.items()):
        if flight.node == node and flight.phase in IN_SERVER:
            world.flights[number] = replace(flight, node=None)
        elif flight.node == node:
            del world.flights[number]


def _abandon(world: World, place: int, visit: int, attempt: int, fault: int) -> None:
    """Record an attempt as unknown: its node is gone, or (a fault) is only thought to be."""
    world.left["faults"] -= fault
    run_id = world.run_id(place)
    posting.record(world.rows, run_id, visit, _result(world, attempt, "unknown"))


# The rest.


def _route(world: World) -> None:
    world.rows.route()


def _feedback(world: World, place: int, visit: int, kind: str) -> None:
    world.left["feedback"] -= 1
    posting.feedback(world.rows, world.run_id(place), visit, kind)


def _order(world: World, command: str, place: int) -> None:
    world.left["orders"] -= command not in ("resume", "unpause")
    match command:
        case "cancel":
            world.rows.cancel(world.run_id(place))
        case "hold" | "resume":
            world.rows.hold(world.run_id(place), held=command == "hold")
        case _:
            world.rows.pause(paused=command == "pause")


def _time(world: World, to: datetime) -> None:
    world.rows.clock = to


DEEDS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "trigger": _trigger,
        "signal": _signal,
        "commit": _commit,
        "roll back": _roll_back,
        "decide": _decide,
        "send": _send,
        "go on": _go_on,
        "call": _call,
        "end unsent": _end_unsent,
        "lose": _lose,
        "cut": _cut,
        "crash": _crash,
        "abandon": _abandon,
        "route": _route,
        "feedback": _feedback,
        "order": _order,
        "time": _time,
    }
)
