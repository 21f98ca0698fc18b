"""Journeys and faults are drawn from the seed alone, every kind as often as every other."""

from collections import Counter

from chimeway.workflow.parse import parse
from faults import plan, schedule


def test_a_seed_is_a_schedule() -> None:
    """The same seed draws the same, another draws another; each kind comes once in each round."""
    kinds = schedule.KINDS
    drawn = schedule.draw(7, kinds, 3 * len(kinds), 3)
    assert drawn == schedule.draw(7, kinds, 3 * len(kinds), 3)
    assert drawn != schedule.draw(8, kinds, 3 * len(kinds), 3)
    assert set(Counter(fault.kind for fault in drawn).values()) == {3}
    assert {fault.node for fault in drawn} == {0, 1, 2}
    for fault in drawn:
        least, most = schedule.SORTS[fault.kind].seconds
        assert least <= fault.seconds <= most


def test_a_journey_is_its_number() -> None:
    """Journey n of a producer is the same whatever was before; all kinds and acts are among a thousand."""
    drawn = [plan.draw(7, "p1", number, (1, 2), 10) for number in range(1_000)]
    assert drawn[500] == plan.draw(7, "p1", 500, (1, 2), 10)
    assert {each.kind for each in drawn} == plan.KINDS.keys()
    assert {each.act for each in drawn} == plan.ACTS.keys()
    assert plan.from_json(drawn[0].to_json()) == drawn[0]


def test_journeys_are_sound() -> None:
    """Each definition is one that Chimeway takes."""
    for definition in plan.definitions((3,)):
        assert parse(definition).key == definition["key"]
