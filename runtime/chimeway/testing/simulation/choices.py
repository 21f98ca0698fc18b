"""What may happen next in a world, each with a weight: how likely it should be among the others."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from chimeway.progression.snapshot import LIVE
from chimeway.testing.simulation.flights import IN_SERVER, Flight
from chimeway.testing.simulation.world import Act, World

Choice: TypeAlias = tuple[float, Act]
_SENDABLE: Final = ("pending", "failed", "deferred")
_UNSENT: Final = (("suppressed", "no_address"), ("cancelled", "permanent_failure"))


def choices(world: World) -> list[Choice]:
    """Return all that may happen now, faults and people's doings included; empty: nothing ever will."""
    found = [*regular(world), *_producers(world), *_faults(world), *_people(world)]
    return [*found, *_time(world)]


def regular(world: World) -> Iterator[Choice]:
    """Yield what goes on by itself: flights under way, and what wakes and sweeps find."""
    for flight in world.flights.values():
        if flight.phase == "calling":  # providers are slow, and much happens meanwhile
            share = 1.0 / len(world.plan.answers)
            yield from ((share, ("call", flight.number, said)) for said in world.plan.answers)
        elif flight.phase != "result" or flight.run_id not in world.rows.locks:
            yield (1.5 if flight.phase == "made" else 3.0), ("go on", flight.number)
    for arrival in world.pending:
        yield 1.5, ("commit", arrival)
    if any(arrival not in world.rows.routed for arrival in world.rows.signals):
        yield 1.0, ("route",)
    for place in range(world.written):
        if world.run_id(place) in world.rows.runs:
            yield from _wakes(world, place)
            yield from _messages(world, place)


def at_rest(world: World) -> bool:
    """Say whether nothing goes on by itself any more, now or later, and nobody has told it not to."""
    held = any(row.run.held_reason for row in world.rows.runs.values() if row.run.state in LIVE)
    return not (held or world.rows.paused) and next(regular(world), None) is None and not next_instant(world)


def _wakes(world: World, place: int) -> Iterator[Choice]:
    run_id = world.run_id(place)
    if world.rows.wakes(run_id) and world.rested.get(run_id) != world.stamp(run_id):
        for node in range(world.plan.nodes):
            if not _has(world, node, place, None):
                yield from ((2.0, ("decide", node, place, skew, 0)) for skew in world.plan.skews)


def _messages(world: World, place: int) -> Iterator[Choice]:
    run_id, rows = world.run_id(place), world.rows
    for visit, each in rows.messages[run_id].items():
        if each.delivery.status in _SENDABLE and may_be_sent(world, place, visit):
            for node in range(world.plan.nodes):
                if not _has(world, node, place, visit):
                    yield 2.0, ("send", node, place, visit)
        for attempt in each.attempts if rows.guards.unanswered else ():
            if attempt.result is None and run_id not in rows.locks and not _under_way(world, place, visit):
                yield 1.0, ("abandon", place, visit, attempt.number, 0)


def may_be_sent(world: World, place: int, visit: int) -> bool:
    """Say whether a sweep finds this message due, and nothing forbids to send it."""
    row, each = world.rows.runs[world.run_id(place)], world.rows.messages[world.run_id(place)][visit]
    if each.next_attempt_at is None or each.next_attempt_at > world.rows.clock:
        return False
    if row.run.held_reason is not None:
        return False
    retry = each.delivery.attempts > 0 and row.run.mailbox_count == row.mailbox_seen
    return not world.rows.paused or retry


def _has(world: World, node: int, place: int, visit: int | None) -> bool:
    return any(
        flight.node == node
        and flight.run_id == world.run_id(place)
        and (flight.entry is not None if visit is None else flight.entry is None and flight.visit == visit)
        for flight in world.flights.values()
    )


def _under_way(world: World, place: int, visit: int) -> bool:
    """Say whether a living node knows of an attempt: it has begun one, or is about to hear that it has."""
    return any(
        flight.run_id == world.run_id(place) and flight.entry is None and flight.visit == visit
        and flight.answer == "begun" for flight in world.flights.values()
    )  # fmt: skip


def _producers(world: World) -> Iterator[Choice]:
    if world.written < len(world.plan.runs):
        yield 4.0 if world.written == 0 else 1.0, ("trigger",)
    if world.left["signals"] > 0 and world.written:
        share = 1.5 / max(1, len(world.plan.utterances) * world.written)
        for utterance in range(len(world.plan.utterances)):
            yield from ((share, ("signal", utterance, place)) for place in range(world.written))


def _faults(world: World) -> Iterator[Choice]:
    if world.left["faults"] <= 0:
        return
    for arrival in world.pending:
        yield 0.05, ("roll back", arrival)
    for flight in world.flights.values():
        if flight.phase in IN_SERVER:
            yield 0.1, ("cut", flight.number)
        elif flight.phase == "answered" or _recordable(world, flight):
            yield 0.3, ("lose", flight.number)
        elif flight.phase == "made" and flight.entry is None:
            yield from ((0.1, ("end unsent", flight.number, *end)) for end in _UNSENT)
    for node in {flight.node for flight in world.flights.values() if flight.node is not None}:
        yield 0.2, ("crash", node)
    for place in range(world.written):
        yield from _thought_dead(world, place)


def _recordable(world: World, flight: Flight) -> bool:
    return flight.phase == "result" and flight.run_id not in world.rows.locks


def _thought_dead(world: World, place: int) -> Iterator[Choice]:
    run_id = world.run_id(place)
    for visit, each in world.rows.messages.get(run_id, {}).items():
        for attempt in each.attempts:
            if attempt.result is None and run_id not in world.rows.locks and _under_way(world, place, visit):
                yield 0.2, ("abandon", place, visit, attempt.number, 1)


def _people(world: World) -> Iterator[Choice]:
    rows = world.rows
    if rows.paused:
        yield 0.5, ("order", "unpause", 0)
    elif world.left["orders"] > 0:
        yield (0.4 if _about_to_send(world) else 0.05), ("order", "pause", 0)
    for place in range(world.written):
        row = rows.runs.get(world.run_id(place))
        if row is None or row.run.id in rows.locks:
            continue
        live, held = row.run.state in LIVE, row.run.held_reason is not None
        if live and held:
            yield 0.5, ("order", "resume", place)
        if live and world.left["orders"] > 0:
            yield (1.0 if _being_sent(world, place) else 0.1), ("order", "cancel", place)
            if not held:
                yield (0.4 if _about_to_send(world) else 0.05), ("order", "hold", place)
        if live and world.left["spurious"] > 0 and not rows.wakes(row.run.id):
            for node in range(world.plan.nodes):
                if not _has(world, node, place, None):
                    yield from ((0.1, ("decide", node, place, skew, 1)) for skew in world.plan.skews)
        if world.left["feedback"] > 0:
            yield from _feedback(world, place)


def _about_to_send(world: World) -> bool:
    return any(flight.entry is None and not flight.attempt for flight in world.flights.values())


def _being_sent(world: World, place: int) -> bool:
    messages = world.rows.messages[world.run_id(place)]
    return any(each.delivery.status == "dispatched" for each in messages.values())


def _feedback(world: World, place: int) -> Iterator[Choice]:
    row = world.rows.runs[world.run_id(place)]
    for visit, each in world.rows.messages[row.run.id].items():
        if each.attempts:
            weight = 0.6 if visit == row.run.visit else 0.1  # what the run may be deciding by just now
            yield weight, ("feedback", place, visit, "bounced")
            yield weight / 2, ("feedback", place, visit, "delivered")
            yield weight / 2, ("feedback", place, visit, "failed")


def _time(world: World) -> Iterator[Choice]:
    at = next_instant(world)
    if at is None:
        return
    busy = bool(world.flights or world.pending)
    yield (0.3 if busy else 1.0), ("time", at)
    early = at - timedelta(milliseconds=1)
    if len(world.plan.skews) > 1 and early > world.rows.clock:
        yield 0.3, ("time", early)
        yield 0.2, ("time", world.rows.clock + min(timedelta(seconds=10), early - world.rows.clock))


def next_instant(world: World) -> datetime | None:
    """Return when something will be due that is not yet."""
    clock, rows = world.rows.clock, world.rows
    instants = [row.run.wake_at for row in rows.runs.values() if row.run.state in LIVE]
    instants += [each.next_attempt_at for messages in rows.messages.values() for each in messages.values()]
    return min((at for at in instants if at is not None and at > clock), default=None)
