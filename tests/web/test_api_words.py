"""What is wrong with a request is said field by field, in our words."""

from typing import Any

import pytest
from pydantic import ValidationError

from chimeway.web.api.models import Trigger
from chimeway.web.api.wrong import told

RIGHT: dict[str, Any] = {"workflow": "mention", "recipients": ["ada"]}
WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing": ({}, {"recipients": "it is missing", "workflow": "it is missing"}),
    "a number for a text": ({**RIGHT, "workflow": 7}, {"workflow": "give a text"}),
    "nobody": ({**RIGHT, "recipients": []}, {"recipients": "give at least 1"}),
    "a number for somebody": (
        {**RIGHT, "recipients": ["ada", 7]}, {"recipients.1": "give a text, or an object"},
    ),
    "somebody's address": (
        {**RIGHT, "recipients": [{"recipient_id": "ada", "email": 7}]}, {"recipients.0.email": "give a text"},
    ),
    "a channel with a name like a kind": (
        {**RIGHT, "recipients": [{"recipient_id": "ada", "addresses": {"Push": 7}}]},
        {"recipients.0.addresses.Push": "give a text"},
    ),
    "an unknown name": ({**RIGHT, "recipient": "ada"}, {"recipient": "nothing here has this name"}),
    "an array for an object": ({**RIGHT, "data": []}, {"data": "give an object"}),
    "an instant without a zone": (
        {**RIGHT, "at": "2026-01-05T09:00:00"},
        {"at": "give an instant with its zone, like 2026-01-05T09:00:00Z"},
    ),
    "no version": (
        {**RIGHT, "workflow_version": 0}, {"workflow_version": "give a number that is not less than 1"},
    ),
    "half a version": ({**RIGHT, "workflow_version": 1.5}, {"workflow_version": "give a whole number"}),
    "a version as a text": ({**RIGHT, "workflow_version": "1"}, {"workflow_version": "give a whole number"}),
    "a long key": (
        {**RIGHT, "idempotency_key": "x" * 300}, {"idempotency_key": "give at most 255 characters"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_each_field_has_what_would_be_right(given: dict[str, Any], said: dict[str, str]) -> None:
    """Neither a library's words, nor a class's name, nor what was given."""
    with pytest.raises(ValidationError) as fault:
        Trigger.model_validate(given)
    assert {one["field"]: one["detail"] for one in told(fault.value.errors())} == said  # type: ignore[arg-type]


def test_of_many_faults_a_few_are_looked_at() -> None:
    """Whoever sends fifty thousand wrong names is told of twenty, and keeps no node busy with the rest."""
    with pytest.raises(ValidationError) as fault:
        Trigger.model_validate({**RIGHT, **{f"n{number}": 1 for number in range(50_000)}})
    faults = Looked(fault.value.errors())
    assert [one["field"] for one in told(faults)] == [f"n{number}" for number in range(20)]
    assert faults.most <= 40


def test_a_name_is_not_told_whole() -> None:
    """Whoever makes one up as long as a body is not sent it back three times."""
    with pytest.raises(ValidationError) as fault:
        Trigger.model_validate({**RIGHT, "x" * 1_000_000: 1})
    assert [one["field"] for one in told(fault.value.errors())] == ["x" * 200]  # type: ignore[arg-type]


class Looked(list[Any]):
    """Faults of which nobody goes through more than the first of a slice."""

    most = 0

    def __getitem__(self, place: Any) -> Any:
        """Return a slice, and note how long it is."""
        found = super().__getitem__(place)
        self.most = max(self.most, len(found))
        return found

    def __iter__(self) -> Any:
        """Nobody may."""
        raise AssertionError("all faults are gone through")
