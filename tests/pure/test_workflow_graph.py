"""The ways through a definition, and the rule that a cycle must let time pass."""

from typing import Any

import pytest

from chimeway.workflow.graph import Edge, graph_of
from chimeway.workflow.parse import check, parse
from pure.workflow_forms import later, notify, on, signal, wait, workflow

UNTIL = {"type": "wait", "until": {"data": "at"}}


def graph(*steps: Any) -> Any:
    """Return the graph of a valid definition."""
    return graph_of(parse(workflow(*steps)).steps)


def cycles(*steps: Any) -> list[str]:
    """Return where endless cycles are told of, and how they are drawn."""
    return [
        f"{each.path}: {each.message.split('given the cycle ')[1].split(',')[0]}"
        for each in check(workflow(*steps)).errors
        if each.code == "endless_cycle"
    ]


def test_the_ways_out_of_each_kind_of_step() -> None:
    """In the order in which they are tried; a stop ends, and only some let time pass."""
    ways = graph(
        notify("a", on("bounced", "c"), {"kind": "stop", "outcome": "suppressed"}),
        wait("b", signal(), signal(then="continue"), signal(then={"goto": "a"})),
        notify("c", later("b", cancel_signals=[signal()]), on("bounced", "d")),
        wait("d", signal(then="continue"), action=UNTIL),
        notify("e"),
    ).edges
    assert ways == {
        "a": (
            Edge("a", "c", "on_outcome", "bounced"),
            Edge("a", "end", "stop", "suppressed"),
            Edge("a", "end", "next"),
        ),
        "b": (
            Edge("b", "end", "stop", "read", timed=True),
            Edge("b", "c", "continue", "read", timed=True),
            Edge("b", "a", "goto", "read", timed=True),
            Edge("b", "c", "next", timed=True),
        ),
        "c": (
            Edge("c", "end", "stop", "read", timed=True),
            Edge("c", "b", "wait_until", timed=True),
            Edge("c", "d", "on_outcome", "bounced"),
        ),
        "d": (Edge("d", "e", "continue", "read"), Edge("d", "e", "next")),
        "e": (Edge("e", "end", "next"),),
    }


def test_what_can_be_reached() -> None:
    """By rules, by signals, by time, by default; not through what rules have shut."""
    ways = graph(
        notify("a", on("bounced", "d")),
        notify("b"),
        notify("c"),
        wait("d", signal(then={"goto": "c"}), next="end"),
    )
    assert (ways.start, ways.reachable()) == ("a", {"a", "c", "d"})
    assert graph_of(()).reachable() == frozenset()


@pytest.mark.parametrize(
    "steps",
    [
        (notify("a"), wait("w", next="a")),
        (notify("a", later("a")),),
        (notify("a"), wait("u", action=UNTIL), wait("w", next="a")),
        (notify("a"), wait("w", signal(then={"goto": "a"}), next="end")),
        (notify("a", on("bounced", "b")), notify("b", later("a"))),
        (notify("a", next="c"), notify("b", next="end"), notify("c", next="b")),
        (notify("a", later("b"), {"kind": "stop", "outcome": "bounced"}), notify("b", next="a")),
    ],
)
def test_cycles_that_wait_and_ways_that_are_none(steps: Any) -> None:
    """A wait with a duration, or a `wait_until`, makes a cycle good."""
    assert cycles(*steps) == []


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [
        ((notify("a", next="a"),), "steps[0]: a -> a"),
        ((wait("w", action=UNTIL, next="w"),), "steps[0]: w -> w"),
        ((notify("a"), wait("u", action=UNTIL, next="a")), "steps[0]: a -> u -> a"),
        ((notify("a"), wait("u", signal(then={"goto": "a"}), action=UNTIL)), "steps[0]: a -> u -> a"),
        ((notify("x"), notify("a", on("bounced", "b")), notify("b", next="a")), "steps[1]: a -> b -> a"),
        (
            (notify("a", on("bounced", "b"), later("w")), notify("b", next="a"), wait("w")),
            "steps[0]: a -> b -> a",
        ),
        (
            (*(notify(f"s{i}") for i in range(12)), notify("z", next="s0")),
            "steps[0]: s0 -> s1 -> s2 -> s3 -> ... -> s10 -> s11 -> z -> s0",
        ),
    ],
)
def test_cycles_without_end(steps: Any, drawn: str) -> None:
    """`until` does not count, nor a `wait_until` that the cycle goes past; each is drawn."""
    assert cycles(*steps) == [drawn]


def test_each_group_of_cycles_is_told_of_once() -> None:
    """Cycles that share a step are one fault, separate ones are two; the shortest way is drawn."""
    shared = (
        notify("a", on("bounced", "c"), next="b"),
        notify("b", on("bounced", "c"), next="a"),
        notify("c", next="a"),
    )
    assert cycles(*shared) == ["steps[0]: a -> c -> a"]
    apart = (
        notify("a", on("bounced", "c"), next="b"),
        notify("b", next="a"),
        notify("c"),
        notify("d", next="c"),
    )
    assert cycles(*apart) == ["steps[0]: a -> b -> a", "steps[2]: c -> d -> c"]


def test_an_unreachable_cycle_is_a_cycle() -> None:
    """What is wrong is wrong, though nobody gets there."""
    steps = (notify("a", next="end"), notify("b", next="c"), notify("c", next="b"))
    assert cycles(*steps) == ["steps[1]: b -> c -> b"]


def test_the_longest_definition_is_judged_without_recursion() -> None:
    """A hundred steps in one circle, and each leading to forty later ones."""
    circle = [notify(f"s{i}", next=f"s{(i + 1) % 100}") for i in range(100)]
    assert len(cycles(*circle)) == 1
    dense = [
        wait(f"s{i}", *(signal(then={"goto": f"s{j}"}) for j in range(i + 1, min(i + 40, 100))), action=UNTIL)
        for i in range(100)
    ]
    assert check(workflow(*dense)).errors == ()
