"""Data given as pydantic models that are more than plain: aliases, computed fields, strictness, odd types."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

import chimeway.sync
from chimeway import InvalidInput, Notify, Workflow

STEPS = [Notify("greet", channel="in_app", render_key="hello")]
SOME_ID = uuid.UUID(int=7)
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Aliased(BaseModel):
    """Named otherwise in JSON."""

    document_id: str = Field(alias="documentId")


class Computed(BaseModel):
    """With a field that is written and never read, and nothing else besides."""

    model_config = ConfigDict(extra="forbid")
    price: Decimal = Decimal("1.10")

    @computed_field  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def doubled(self) -> Decimal:
        """Return twice the price."""
        return 2 * self.price


class Strict(BaseModel):
    """Takes no text for an instant in Python; in JSON there is nothing else."""

    model_config = ConfigDict(strict=True)
    at: datetime
    who: uuid.UUID
    marks: tuple[int, ...] = ()


class Author:
    """The seed's form, with a model."""

    def workflow(self, args: Mapping[str, Any]) -> Workflow:
        """Return the workflow."""
        return Workflow(key="seed", version=1, data=Strict, steps=STEPS)


@pytest.fixture
def client(database_url: str) -> Iterator[chimeway.sync.Chimeway]:
    """A client."""
    with chimeway.sync.Chimeway.connect(database_url) as opened:
        yield opened


IN_JSON: dict[str, Any] = {"at": "2026-11-27T12:00:00Z", "who": str(SOME_ID), "marks": [1]}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (Aliased(documentId="d"), {"documentId": "d"}),
        (Computed(), {"price": "1.10", "doubled": "2.20"}),
        (Strict(at=NOON, who=SOME_ID, marks=(1,)), IN_JSON),
    ],
    ids=lambda given: type(given).__name__,
)
def test_an_instance_of_the_model_is_taken(
    given: BaseModel, stored: dict[str, Any], client: chimeway.sync.Chimeway, database_url: str
) -> None:
    """What the model itself has made is taken as its JSON, by the names of its JSON Schema."""
    journey = Workflow(key="journey", version=1, data=type(given), steps=STEPS)
    client.trigger(journey, given, recipients="ada")
    client.trigger_many(journey, [{"recipients": ["ada"], "data": given}])
    with psycopg.connect(database_url) as sql:
        assert sql.execute("select data from chimeway.events").fetchall() == [(stored,), (stored,)]


def test_a_mapping_is_judged_as_json(client: chimeway.sync.Chimeway) -> None:
    """A strict model takes from a mapping what it would take from JSON, and no more."""
    journey = Workflow(key="journey", version=1, data=Strict, steps=STEPS)
    assert client.trigger(journey, IN_JSON, recipients="ada").run_ids
    with pytest.raises(InvalidInput, match=r"does not fit Strict: data\.marks\[0\]: "):
        client.trigger(journey, {**IN_JSON, "marks": ["1"]}, recipients="ada")


@pytest.mark.parametrize("form", [Author, Author()], ids=["class", "instance"])
def test_bulk_orders_fit_the_model_that_an_author_names(form: Any, client: chimeway.sync.Chimeway) -> None:
    """trigger_many checks each order by the model of the author's Workflow, and stores its JSON Schema."""
    with pytest.raises(
        InvalidInput, match=r"orders\[1\]: data does not fit Strict: data\.at: Field required"
    ):
        client.trigger_many(
            form,
            [{"recipients": ["a"], "data": IN_JSON}, {"recipients": ["b"], "data": {"who": str(SOME_ID)}}],
        )
    assert client.trigger_many(form, [{"recipients": ["a"], "data": IN_JSON}])[0].run_ids
