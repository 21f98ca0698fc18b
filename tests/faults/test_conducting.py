"""What of a schedule counts as a fault that happened."""

import pytest

from faults.conducting import met_nobody
from faults.inflicting import Detail


@pytest.mark.parametrize(
    ("detail", "nobody"),
    [
        ({}, False),  # the database did not say what a node had: it was down
        ({"shards": 86, "connections": 3}, False),
        ({"shards": 0}, True),  # of a node that had no journeys
        ({"shards": 86, "connections": 0}, True),  # of answers, while nothing was asked
        ({"shards": 86, "sessions": 0}, True),
        ({"runs": 0}, True),
        ({"shards": 86, "others": 0, "alone": 0}, False),
    ],
)
def test_a_fault_that_met_nobody_is_not_counted(detail: Detail, *, nobody: bool) -> None:
    """Twenty faults of a kind are twenty that journeys had to bear."""
    assert met_nobody(detail) is nobody
