"""A history in words: each act as a line for people, with what became durable by it."""

from datetime import datetime
from uuid import UUID

from chimeway.testing.simulation import facts as of
from chimeway.testing.simulation.facts import Fact
from chimeway.testing.simulation.flights import Flight
from chimeway.testing.simulation.tables import RunRow
from chimeway.testing.simulation.world import Act, World


def line_before(world: World, act: Act) -> str:
    """Return what is about to be done, as a sentence."""
    match act:
        case ("trigger",):
            what = f"a producer writes trigger {world.written + 1}"
        case ("signal", utterance, place):
            kind = world.plan.utterances[utterance].type
            what = f'a producer writes signal "{kind}" of the person of run {place + 1}'
        case ("commit" | "roll back" as verb, arrival):
            kind = "trigger" if isinstance(world.pending[arrival], RunRow) else "signal"
            what = f"{'commits' if verb == 'commit' else 'rolls back'} {kind} number {arrival}"
        case ("decide", node, place, skew, _):
            wrong = f", its clock {skew:+} ms wrong" if skew else ""
            what = f"node {node + 1} looks at run {place + 1}{wrong}"
        case ("send", node, place, visit):
            what = f"node {node + 1} looks at the message of visit {visit} of run {place + 1}"
        case ("go on", number):
            what = _flight(world.flights[number]) + ": " + _next(world.flights[number])
        case ("call", number, said):
            what = f"{_flight(world.flights[number])} calls the provider, which says: {said}"
        case ("lose" | "cut" | "end unsent" as verb, number, *rest):
            told = {"lose": "loses its answer", "cut": "is rolled back", "end unsent": "ends it unsent:"}
            what = " ".join([_flight(world.flights[number]), told[verb], *map(str, rest)])
        case ("crash", node):
            what = f"node {node + 1} dies, and begins anew"
        case ("abandon", place, visit, attempt, _):
            what = f"attempt {attempt} of the message of visit {visit} of run {place + 1} is given up"
        case ("feedback", place, visit, kind):
            what = f"a provider says of the message of visit {visit} of run {place + 1}: {kind}"
        case ("order", command, place):
            what = f"an operator: {command} run {place + 1}"
        case ("time", to):
            what = f"time passes until {_clock(to)}"
        case _:
            what = " ".join(map(str, act))
    return f"{_clock(world.rows.clock)}  {what}"


def line_of(run_id: UUID | None, fact: Fact) -> str:
    """Return a fact as a line below the act that made it durable."""
    whose = "" if run_id is None else f"run {run_id.int >> 64}: "
    match fact:
        case of.Said(type=kind, arrival=arrival, payload=payload):
            what = f'signal number {arrival} "{kind}" {payload} is there'
        case of.Decided(now=now, births=births, unseen=unseen):
            late = f", too late for signals {_numbers(unseen)}" if unseen else ""
            what = f"a decision for {_clock(now)} is there, with messages of visits {sorted(births)}{late}"
        case of.Routed(number, signal):
            what = f"signal number {_numbers([signal])} is number {number} of its mailbox"
        case _:
            what = str(fact)
    return f"{'':14}{whose}{what}"


def _numbers(signals: object) -> str:
    return ", ".join(str(UUID(each).int & 0xFFFFFFFF) for each in sorted(signals))  # type: ignore[call-overload]


def _flight(flight: Flight) -> str:
    whose = "a dead node's" if flight.node is None else f"node {flight.node + 1}'s"
    if flight.entry is not None:
        decision = flight.entry.decision
        return f"{whose} decision {flight.entry.id} about run {flight.run_id.int >> 64} ({decision.kind})"
    return f"{whose} attempt for visit {flight.visit} of run {flight.run_id.int >> 64}"


def _next(flight: Flight) -> str:
    return {
        "made": "is sent to the database",
        "called": "asks for the run's lock",
        "locked": "looks for signals under the lock",
        "looked": "is guarded, written and committed",
        "answered": f"hears: {flight.answer}",
        "calling": "calls",
        "result": f"records {flight.result.status if flight.result else None}",
    }[flight.phase]


def _clock(at: datetime) -> str:
    return f"{at:%d} {at:%H:%M:%S}.{at.microsecond // 1000:03}"
