"""Whether a signal fits: jsonb's equality, references, and what is missing."""

from decimal import Decimal
from typing import Any

import pytest

from chimeway.workflow.conditions import json_equal, matches
from chimeway.workflow.definition import Condition, DataRef, DeliveryRef, LiteralValue


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (1, Decimal("1.00"), True),
        (0, -0.0, True),
        (0.1, Decimal("0.1"), True),
        (0.1, Decimal("0.1000000000000000055511151231257827"), False),
        (1e22, 10**22, True),
        (2**53, 2**53 + 1, False),
        (float(2**53), 2**53 + 1, False),
        (10**400, 10**400 + 1, False),
        (10**400, Decimal(10**400), True),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (None, None, True),
        (None, False, False),
        (None, 0, False),
        ("1", 1, False),
        ("", None, False),
        ("é", "e\u0301", False),
        ([], {}, False),
        ([1, 2], [1.0, 2], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ([True], [1], False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": None}, {}, False),
        ({"a": None}, {"b": None}, False),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}, True),
        ({"a": [{"b": 1}]}, {"a": [{"b": True}]}, False),
    ],
)
def test_equality_is_that_of_jsonb(left: Any, right: Any, equal: bool) -> None:
    """Numbers by value, booleans never numbers, objects without order, arrays with."""
    assert json_equal(left, right) is equal
    assert json_equal(right, left) is equal


def test_depth_does_not_matter() -> None:
    """Values nested beyond the interpreter's stack are compared."""
    left: Any = 1
    right: Any = 1.0
    for _ in range(100_000):
        left, right = [left], [right]
    assert json_equal(left, right)
    while left:  # taken apart again, since letting go of it whole would recurse
        left = left[0] if isinstance(left, list) else None
        right = right[0] if isinstance(right, list) else None


def fits(term: Any, given: Any, *, data: Any = None, delivery_ids: dict[str, object] | None = None) -> bool:
    condition = Condition("read", match=(("field", term),))
    return matches(condition, payload=given, data=data, delivery_ids=delivery_ids or {})


def test_literals() -> None:
    """A literal matches the field's value, null too, but never a missing field."""
    assert fits(LiteralValue(1), {"field": 1.0, "other": 2})
    assert not fits(LiteralValue(1), {"field": True})
    assert fits(LiteralValue(None), {"field": None})
    assert not fits(LiteralValue(None), {})
    assert fits(LiteralValue({"a": 1}), {"field": {"a": 1}})


def test_references_to_data() -> None:
    """A reference is the data's top-level field; missing equals nothing, not even missing."""
    assert fits(DataRef("doc"), {"field": "d1"}, data={"doc": "d1"})
    assert not fits(DataRef("doc"), {"field": "d2"}, data={"doc": "d1"})
    assert fits(DataRef("doc"), {"field": None}, data={"doc": None})
    assert not fits(DataRef("doc"), {"field": None}, data={})
    assert not fits(DataRef("doc"), {}, data={})
    assert not fits(DataRef("doc"), {"field": "d1"}, data=["doc"])


def test_references_to_deliveries() -> None:
    """A reference is the id of the step's latest delivery, as text."""
    assert fits(DeliveryRef("a"), {"field": "id-1"}, delivery_ids={"a": "id-1"})
    assert not fits(DeliveryRef("a"), {"field": "id-1"}, delivery_ids={"b": "id-1"})
    assert not fits(DeliveryRef("a"), {"field": None})


@pytest.mark.parametrize("payload", [None, 1, "field", [["field", 1]], True])
def test_a_payload_that_is_no_object(payload: Any) -> None:
    """It matches an empty `match` and nothing else."""
    assert not fits(LiteralValue(1), payload)
    assert matches(Condition("read"), payload=payload, data={}, delivery_ids={})


def test_all_must_be_equal() -> None:
    """One field that differs is enough."""
    condition = Condition("read", match=(("a", LiteralValue(1)), ("b", LiteralValue(2))))
    assert matches(condition, payload={"a": 1, "b": 2}, data={}, delivery_ids={})
    assert not matches(condition, payload={"a": 1, "b": 3}, data={}, delivery_ids={})
