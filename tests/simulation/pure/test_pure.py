"""The pure simulation: the core and the model of rows, in random and in all orders."""

from dataclasses import replace
from random import Random

import pytest

from chimeway.testing.simulation.exhaustive import explore
from chimeway.testing.simulation.journeys import data_for, drawn, utterances
from chimeway.testing.simulation.pure import SimulationFailed, play, simulate
from chimeway.testing.simulation.tables import Guards
from chimeway.testing.simulation.world import START, Plan
from chimeway.workflow.encode import digest
from chimeway.workflow.parse import parse
from simulation.pure.busy import BUSY

GATE = parse(
    {
        "key": "gate",
        "version": 1,
        "steps": [
            {
                "id": "gate",
                "action": {
                    "type": "wait",
                    "duration": "PT2H",
                    "stop_conditions": [{"type": "signal_received", "signal_type": "read"}],
                },
            },
            {"id": "mail", "action": {"type": "notify", "channel": "email", "render_key": "r"}},
        ],
    }
)


def small(seed: int, **more: object) -> Plan:
    random = Random(seed)
    definition = drawn(random, small=True)
    given: dict[str, object] = {
        "answers": ("delivered", "temporary"), "signals": 1, "faults": 0, "orders": 0, "feedback": 0,
        "spurious": 0, "brief": True,
    }  # fmt: skip
    data = data_for(definition, random, START)
    return Plan(definition=definition, data=data, utterances=utterances(definition)[:1], **{**given, **more})


def test_one_seed_draws_one_journey() -> None:
    """Definitions are valid whatever the seed, and the same for the same."""
    for seed in range(40):
        for few in (False, True):
            one, other = drawn(Random(seed), small=few), drawn(Random(seed), small=few)
            assert digest(one) == digest(other)


def test_no_promise_is_broken_in_some_scenarios() -> None:
    """Every commit plays some; `test_no_promise_is_broken_in_many` plays thousands."""
    scenarios = simulate(seeds=range(30))
    assert sum(scenario.rested for scenario in scenarios) > 15


def test_no_promise_is_broken_where_much_happens_at_once() -> None:
    """The journey that finds missing guards soonest finds nothing while all are there."""
    simulate(BUSY, seeds=range(30))


@pytest.mark.parametrize("seed", [2461, 14776])
def test_what_was_found_once_stays_found(seed: int) -> None:
    """Seeds that failed: a wait that feedback wakes early; a retry while paused that an outcome would end."""
    play(seed)


def test_one_seed_is_one_history() -> None:
    """Played twice, a seed has one digest; another seed has another."""
    assert play(7) == play(7)
    assert play(7).digest != play(8).digest


def test_no_order_breaks_a_promise_of_a_small_journey() -> None:
    """A wait and a message, in all orders: a signal and one node; two nodes; complete, not cut off."""
    for more in ({"nodes": 1}, {"signals": 0}, {"nodes": 1, "signals": 0, "orders": 1, "feedback": 1}):
        plan = replace(small(0), definition=GATE, data={}, utterances=utterances(GATE), **more)
        assert explore(plan).complete


def test_all_orders_find_a_missing_guard_by_the_shortest_way() -> None:
    """The signal that an elapse did not see: a dozen acts, told in words."""
    plan = replace(small(0), definition=GATE, data={}, utterances=utterances(GATE), nodes=1)
    with pytest.raises(SimulationFailed) as caught:
        explore(plan, guards=Guards(mailbox=False))
    assert len(caught.value.acts) < 14


def test_a_failure_tells_its_history_and_how_to_see_it_again() -> None:
    """Act by act in words, to the one that broke it, with the command."""
    with pytest.raises(SimulationFailed) as caught:
        simulate(BUSY, seeds=range(300), guards=Guards(consumed=False))
    told = str(caught.value)
    assert "a producer writes trigger 1" in told
    assert "and here it breaks" in told
    assert "python -m chimeway.testing.simulation pure --seed" in told


@pytest.mark.big
@pytest.mark.timeout(1200)
def test_no_promise_is_broken_in_many_scenarios() -> None:
    """Thousands, of journeys of all kinds."""
    simulate(seeds=range(1_000, 4_000))
    simulate(BUSY, seeds=range(1_500))


@pytest.mark.big
@pytest.mark.timeout(1200)
def test_no_order_breaks_a_promise_of_many_small_journeys() -> None:
    """All orders of two nodes and a signal; and with a fault, a command and feedback, as far as they fit."""
    for seed in range(12):
        explore(small(seed), most=8_000)
        explore(small(seed, nodes=1, faults=1, orders=1, feedback=1), most=8_000)
