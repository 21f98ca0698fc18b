"""Every order of a handful of events: enumerated before it is randomised."""

from collections import Counter
from collections.abc import Iterator

from chimeway.progression.decision import Birth
from chimeway.progression.paper import triggered
from chimeway.workflow.definition import Definition
from chimeway.workflow.encode import conditions_of
from chimeway.workflow.parse import parse
from property.invariants import INVARIANTS, deciding_leaves_the_rows_alone
from property.journeys import RICH, START, Attempt, Event, Journey, Passing, Signal
from pure.workflow_forms import MENTION

CONDITIONS = {each.signal_type: each for each in conditions_of(RICH)}
ATTEMPTS = tuple(Attempt(word) for word in ("temporary_failure", "delivered", "bounced", None))
SIGNALS = tuple(Signal(CONDITIONS[word]) for word in ("read", "jump", "halt"))
QUICK = tuple(each for each in INVARIANTS if each is not deciding_leaves_the_rows_alone)
"""That one copies all rows, and random journeys try it often enough."""


def ends(definition: Definition, events: tuple[Event, ...], depth: int) -> Iterator[Journey]:
    """Yield the journeys after every sequence of so many events, woken after each or only later."""
    journey = Journey(triggered(definition, START, data={"x": 1}), (Birth("pending"),))
    journey.evaluate()
    yield from _on(journey, events, depth)


def _on(journey: Journey, events: tuple[Event, ...], depth: int) -> Iterator[Journey]:
    if depth == 0:
        yield journey
        return
    for event in events:
        following = Journey(journey.paper, journey.births, journey.now, list(journey.answers))
        following.happen(event)
        if depth == 1 or not isinstance(event, Signal):  # signals are heard with what comes next
            following.evaluate()
        yield from _on(following, events, depth - 1)


def test_every_order_of_four_events() -> None:
    """On a journey with every kind of rule, all invariants hold, and all that can be written is."""
    seen: Counter[str] = Counter()
    for journey in ends(RICH, (*ATTEMPTS, *SIGNALS, Passing(None)), 4):
        for invariant in QUICK:
            invariant(journey)
        seen.update(row.suppression_reason or "" for row in journey.paper.deliveries.values())
        seen.update(f"{t.reason} from {t.from_state}" for t in journey.paper.transitions)
    assert {
        "superseded",
        "stopped_before_send",
        "run_stopped",
        "signal_received from waiting",
        "signal_received from active",
        "progressed_on_delivery_outcome from waiting",
        "reactivated_from_wait from waiting",
        "workflow_stopped from active",
    } <= set(seen)


def test_every_order_of_six_events_of_the_guide() -> None:
    """Read in time: no e-mail. Not read: one. Whatever the order, never both and never two."""
    condition = parse(MENTION).steps[1].action.stop_conditions[0]
    for journey in ends(parse(MENTION), (Signal(condition), Passing(None), *ATTEMPTS[:2]), 6):
        rows = [row for row in journey.paper.deliveries.values() if row.step_id == "step_email_escalation"]
        assert len(rows) <= 1
        if journey.paper.run.state == "stopped":
            assert all(row.suppression_reason == "stopped_before_send" for row in rows)
