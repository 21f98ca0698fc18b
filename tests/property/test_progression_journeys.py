"""Random journeys: what is true of all of them, and that wakes carry no meaning."""

from hypothesis import given, settings
from hypothesis import strategies as st

from property.invariants import INVARIANTS
from property.journeys import Attempt, Event, Journey, Passing, Signal, begun, played


@settings(max_examples=300)
@given(played())
def test_each_invariant_is_true_of_every_journey(journey: Journey) -> None:
    """Each says in a sentence what it is. To make a journey costs more than to look at it: all look at it."""
    for invariant in INVARIANTS:
        invariant(journey)


@given(begun(), st.data())
def test_wakes_that_nothing_calls_for_change_nothing(
    begun: tuple[Journey, list[Event]], data: st.DataObject
) -> None:
    """A journey woken once after each event, and one woken often, end alike."""
    once, happening = begun
    often = Journey(once.paper, once.births)
    for event in [Passing(None), *happening]:
        for journey, wakes in ((once, 1), (often, data.draw(st.integers(1, 3)))):
            journey.happen(event)
            for _ in range(wakes):
                journey.evaluate()
    assert once.paper == often.paper


@given(begun())
def test_what_happens_between_two_wakes_has_no_order(begun: tuple[Journey, list[Event]]) -> None:
    """Signals before outcomes or after them, before one wake: the run goes the same way."""
    one, happening = begun
    one.evaluate()
    other = Journey(one.paper, one.births)
    signals = [event for event in happening if isinstance(event, Signal)]
    attempts = [event for event in happening if isinstance(event, Attempt)]
    for journey, order in ((one, signals + attempts), (other, attempts + signals)):
        for event in order:
            journey.happen(event)
        journey.evaluate()
    assert one.paper == other.paper
