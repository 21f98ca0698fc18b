"""To which provider the next attempt goes: the rule of failover, on names, gates and histories alone."""

from itertools import product

import pytest

from chimeway.delivery.channel import ErrorClass
from chimeway.delivery.route import Tried, at_once, next_of, none_left

NAMES = ("a", "b", "c")
OPEN = dict.fromkeys(NAMES, 0.0)
SURE: tuple[ErrorClass, ...] = ("transient", "rate_limited", "configuration")


def tried(*said: str) -> list[Tried]:
    """Read "a transient" and the like; "- unknown" names no provider."""
    pairs = (one.split() for one in said)
    return [Tried(None if name == "-" else name, error_class) for name, error_class in pairs]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("history", "follows"),
    [
        ([], "a"),
        (["a transient"], "b"),
        (["a rate_limited", "b transient"], "c"),
        (["a transient", "b transient", "c transient"], "a"),
        (["a transient", "b transient", "c transient", "a transient"], "b"),
        (["b transient"], "a"),
        (["a unknown"], "a"),
        (["a transient", "b timeout"], "b"),
        (["b timeout", "b transient"], "b"),
        (["b timeout", "b transient", "b rate_limited"], "b"),
        (["a configuration", "b transient", "c transient"], "b"),
        (["a configuration", "b configuration", "c configuration"], "a"),
        (["gone unknown"], "a"),
        (["- transient"], "b"),
        (["gone transient"], "a"),
        (["gone configuration"], "a"),
        (["gone configuration", "a transient"], "b"),
    ],
)
def test_all_open(history: list[str], follows: str) -> None:
    """In declared order, round by round; an uncertain failure binds; who is set up wrong is left out."""
    assert next_of(NAMES, OPEN, tried(*history)) == follows


def test_a_closed_provider_is_passed_over_by_who_is_not_bound_to_it() -> None:
    """The next open one is asked; who is bound waits for his own, and all wait for the first that opens."""
    closed = {"a": 5.0, "b": 0.0, "c": 0.0}
    assert next_of(NAMES, closed, []) == "b"
    assert next_of(NAMES, closed, tried("b transient")) == "c"
    assert next_of(NAMES, closed, tried("b transient", "c transient")) == "b"
    assert next_of(NAMES, closed, tried("a unknown")) == 5.0
    assert next_of(NAMES, {"a": 5.0, "b": 2.0, "c": 9.0}, []) == 2.0
    assert next_of(NAMES, {"a": 5.0, "b": 2.0, "c": 9.0}, tried("b configuration")) == 5.0


def test_another_is_asked_at_once_only_within_the_round() -> None:
    """After the last of a round, after an uncertain failure, or when the others are closed, a pause comes."""
    assert at_once(NAMES, OPEN, tried("a transient"))
    assert at_once(NAMES, OPEN, tried("a rate_limited", "b configuration"))
    assert not at_once(NAMES, OPEN, tried("a transient", "b transient", "c transient"))
    assert not at_once(NAMES, OPEN, tried("a unknown"))
    assert not at_once(NAMES, {"a": 0.0, "b": 1.0, "c": 1.0}, tried("a transient"))
    assert not at_once(("a",), {"a": 0.0}, tried("a transient"))


def test_configuration_ends_it_only_when_nobody_is_left() -> None:
    """One that set up wrong is passed over; all of them, or the one that it is bound to, are the end."""
    assert not none_left(NAMES, tried("a configuration"))
    assert none_left(NAMES, tried("a configuration", "c configuration", "b configuration"))
    assert none_left(("a",), tried("a configuration"))
    assert none_left(NAMES, tried("a unknown", "a configuration"))
    assert not none_left(NAMES, tried("gone configuration", "c configuration", "b configuration"))


def test_after_sure_failures_each_round_asks_everybody_once() -> None:
    """Over all histories of sure failures: nobody is asked twice before all others were asked."""
    for classes in product(("transient", "rate_limited"), repeat=7):
        history: list[Tried] = []
        for error_class in classes:
            chosen = next_of(NAMES, OPEN, history)
            assert isinstance(chosen, str)
            history.append(Tried(chosen, error_class))
        assert [one.provider for one in history] == [*NAMES, *NAMES, "a"]


def test_never_to_another_after_an_uncertain_failure() -> None:
    """Whatever came before and comes after, the provider of an uncertain failure keeps the delivery."""
    for before, after in product(product(SURE, repeat=2), product((*SURE, "timeout"), repeat=2)):
        history = [Tried("a", before[0]), Tried("b", before[1]), Tried("c", "unknown")]
        for error_class in after:
            assert next_of(NAMES, OPEN, history) == "c"
            assert not at_once(NAMES, OPEN, history)
            history.append(Tried("c", error_class))
