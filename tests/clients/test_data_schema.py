"""`Workflow(..., data=Model)`: data is checked, and the model's JSON Schema stands beside the definition."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

import chimeway.sync
from chimeway import App, Chimeway, InvalidDefinition, InvalidInput, Notify, Workflow
from chimeway.daemon.folders import register_workflows
from chimeway.store.definitions import fetch_definition
from chimeway.store.pool import open_database

STEPS = [Notify("app", channel="in_app", render_key="m")]


class Mention(BaseModel):
    """What a mention says."""

    document_id: str


class Longer(BaseModel):
    """The same, later."""

    document_id: str
    title: str = ""


class Odd(BaseModel):
    """What no JSON can hold."""

    call: Callable[[], int]


def mention(model: type[BaseModel] | None) -> Workflow:
    """Return one and the same definition, with a model of its data."""
    return Workflow(key="mention", version=1, steps=STEPS, data=model)


def stored(url: str) -> Any:
    """Return the stored JSON Schema."""
    with psycopg.connect(url) as sql:
        row = sql.execute("select data_schema from chimeway.workflow_definitions").fetchone()
    return None if row is None else row[0]


async def test_the_schema_is_stored_with_the_definition(database_url: str) -> None:
    """Registered, and triggered inline, a definition brings its schema; the digest is the same without."""
    async with Chimeway.connect(database_url) as client:
        assert await client.register(mention(None))
        assert stored(database_url) is None
        await client.trigger(mention(Mention), Mention(document_id="d"), recipients="ada")
        assert stored(database_url) == Mention.model_json_schema()
        assert mention(Mention).digest == mention(None).digest
        assert not await client.register(mention(Mention))


def test_the_last_schema_is_kept(database_url: str) -> None:
    """Another model is no conflict, since the content is the same; a registration without leaves it."""
    with chimeway.sync.Chimeway.connect(database_url) as client:
        assert client.register(mention(Mention))
        assert not client.register(mention(Longer))
        assert stored(database_url) == Longer.model_json_schema()
        orders = [{"recipients": ["ada"], "data": {"document_id": "d"}}]
        client.trigger_many(mention(Mention), orders)
        assert stored(database_url) == Mention.model_json_schema()
    with chimeway.sync.Chimeway.connect(database_url) as another:
        assert not another.register(mention(None))
        assert stored(database_url) == Mention.model_json_schema()


async def test_data_that_does_not_fit_is_refused_before_any_sql(database_url: str) -> None:
    """The fault names the model and the field; nothing is registered."""
    async with Chimeway.connect(database_url) as client:
        with pytest.raises(InvalidInput, match="data does not fit Mention") as caught:
            await client.trigger(mention(Mention), {"document": "d"}, recipients="ada")
        assert caught.value.details["problems"][0]["loc"] == ("document_id",)
        orders = [{"recipients": ["a"], "data": {"document_id": "d"}}, {"recipients": ["b"], "data": {}}]
        with pytest.raises(InvalidInput, match=r"orders\[1\].*does not fit Mention"):
            await client.trigger_many(mention(Mention), orders)
    assert stored(database_url) is None


async def test_what_an_app_declares_is_registered_with_its_schema(database_url: str) -> None:
    """A node that serves an application registers the schemas of its workflows, too."""
    app = App(workflows=[mention(Mention)])
    async with open_database(database_url) as database:
        await register_workflows(database, None, app.declared)
        found = await fetch_definition(database, "mention")
    assert stored(database_url) == found.data_schema == Mention.model_json_schema()


def test_a_model_without_a_schema_is_an_invalid_definition(database_url: str) -> None:
    """A model that JSON Schema cannot describe is refused by its name, and nothing is registered."""
    with chimeway.sync.Chimeway.connect(database_url) as client:
        with pytest.raises(InvalidDefinition, match="no JSON Schema can be made of Odd"):
            client.register(mention(Odd))
        assert stored(database_url) is None
