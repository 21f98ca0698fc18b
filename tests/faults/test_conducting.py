"""What of a schedule counts as a fault that happened."""

import os
import threading

import pytest

from faults.conducting import met_nobody, most_hungry_s
from faults.inflicting import Detail
from faults.nodes import hungry_s


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


def test_hunger_is_of_a_thread_that_was_there() -> None:
    """The one that waited longest since the last look; who has come or gone since says nothing."""
    assert most_hungry_s({"1": 2.0, "2": 1.0, "3": 9.0}, {"1": 2.1, "2": 1.5, "4": 7.0}) == 0.5
    assert most_hungry_s({}, {"1": 2.0}) == 0.0


def test_hunger_is_read_of_each_thread() -> None:
    """Of a process that is gone there is nothing to read."""
    found = hungry_s(os.getpid())
    assert found.keys() >= {str(threading.get_native_id())}
    assert min(found.values()) >= 0.0
    assert hungry_s(2**22 + 1) == {}
