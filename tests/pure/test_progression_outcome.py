"""What became of a delivery: the table of semantics §4, whole."""

from itertools import product
from typing import get_args

import pytest

from chimeway.progression.listens import outcome_moves
from chimeway.progression.outcome import evidence, is_terminal, outcome_of
from chimeway.progression.snapshot import DeliveryStatus
from chimeway.workflow.definition import OUTCOMES
from pure.progression_rows import EVERYTHING

STATUSES = get_args(DeliveryStatus)
REASONS = (
    None,
    "no_address",
    "retries_exhausted",
    "permanent_failure",
    "bounced",
    "superseded",
    "stopped_before_send",
    "run_stopped",
    "recipient_forgotten",
)
ENDED = ("succeeded", "suppressed", "cancelled")


def test_the_table_whole() -> None:
    """Every status, with every reason, with and without a failed attempt."""
    words = ("retries_exhausted", "permanent_failure", "bounced")
    for status, reason, failed in product(STATUSES, REASONS, (0, 1, 7)):
        open_outcome = "temporary_failure" if failed else None
        expected = {
            "succeeded": "delivered",
            "suppressed": "suppressed",
            "cancelled": reason if reason in words else None,
        }.get(status, open_outcome)
        assert outcome_of(status, reason, failed) == expected
        assert is_terminal(status) is (status in ENDED)


def test_the_vocabulary_is_what_the_table_gives() -> None:
    """Each outcome that a rule may name can happen, and no other."""
    seen = {outcome_of(*each) for each in product(STATUSES, REASONS, (0, 1))}
    assert seen - {None} == set(OUTCOMES)


def test_a_status_outside_the_vocabulary_is_our_mistake() -> None:
    """It is asserted, not taken for an open delivery."""
    with pytest.raises(AssertionError):
        outcome_of("lost", None, 0)


def test_evidence_is_four_words() -> None:
    """The row's two and the latest attempt's two, null where there is none."""
    assert evidence("failed", None, "failed", "transient") == {
        "delivery_status": "failed",
        "suppression_reason": None,
        "attempt_outcome": "failed",
        "error_class": "transient",
    }


@pytest.mark.parametrize(
    ("step", "outcome", "terminal", "moves"),
    [
        ("ruled", "temporary_failure", False, True),
        ("routed", "temporary_failure", False, False),
        ("plain", "temporary_failure", False, False),
        ("plain", None, False, False),
        ("plain", "delivered", True, True),
        ("ruled", None, True, True),
        ("until", "bounced", True, True),
        ("gone", "delivered", True, False),
    ],
)
def test_which_changes_are_worth_a_wake(step: str, outcome: str | None, terminal: bool, moves: bool) -> None:
    """Every end, and a temporary failure where a rule names it."""
    assert outcome_moves(EVERYTHING, step, outcome, terminal=terminal) is moves
