"""A change of preferences, merged into what is there: key by key, null removes, and no word gets lost."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from borders.preference_documents import good_documents
from chimeway import InvalidInput
from chimeway.progression.policy import Preferences, Topic, parse_preferences, read_preferences
from store.plain_sql import plain

_HOURS = {"from": "22:00", "to": "07:00"}
TABLE: list[tuple[Any, Any, Any]] = [
    ({}, {}, {}),
    (None, {"channels": {"email": False}}, {"channels": {"email": False}}),
    ([1], {"channels": {"email": False}}, {"channels": {"email": False}}),
    ({"channels": {"email": False}}, {"channels": {"sms": True}},
     {"channels": {"email": False, "sms": True}}),
    ({"channels": {"email": False}}, {"channels": {"email": None}}, {}),
    ({"channels": {"email": False}}, {"channels": None}, {}),
    ({"channels": {"email": False}}, {"channels": {}}, {"channels": {"email": False}}),
    ({"channels": "old"}, {"channels": {"email": False}}, {"channels": {"email": False}}),
    ({"older": 1}, {"channels": {"email": None}}, {"older": 1}),
    ({"categories": {"a": False}}, {"categories": {"b": True}}, {"categories": {"a": False, "b": True}}),
    ({"categories": {"a": False}}, {"categories": {"a": None}}, {}),
    ({"categories": {"a": False}}, {"categories": {"a": {"sms": True}}},
     {"categories": {"a": {"*": False, "sms": True}}}),
    ({"categories": {"a": {"*": False, "sms": True}}}, {"categories": {"a": {"sms": None}}},
     {"categories": {"a": False}}),
    ({"categories": {"a": {"*": False, "sms": True}}}, {"categories": {"a": {"*": None}}},
     {"categories": {"a": {"sms": True}}}),
    ({"categories": {"a": {"sms": True}}}, {"categories": {"a": False}}, {"categories": {"a": False}}),
    ({"categories": {"a": False}}, {"categories": {"a": {"sms": None}}}, {"categories": {"a": False}}),
    ({"categories": {"a": False}}, {"categories": {"a": {}}}, {"categories": {"a": False}}),
    ({"workflows": {"w": {"email": True}}}, {"workflows": {"w": {"email": None}}}, {}),
    ({"workflows": {"w": {"email": True}}}, {"workflows": {"v": {"email": None}}},
     {"workflows": {"w": {"email": True}}}),
    ({}, {"workflows": {"v": {"email": None}}}, {}),
    ({"quiet_hours": [_HOURS]}, {"quiet_hours": []}, {"quiet_hours": []}),
    ({"quiet_hours": [_HOURS]}, {"quiet_hours": None}, {}),
    ({"quiet_hours": [_HOURS, _HOURS]}, {"quiet_hours": _HOURS}, {"quiet_hours": _HOURS}),
    ({"caps": []}, {"channels": None, "caps": None}, {}),
    ({"caps": []}, {"channels": {"email": False}}, {"caps": [], "channels": {"email": False}}),
    ({"caps": []}, None, {"caps": []}),
]  # fmt: skip


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A plain connection."""
    async with plain(database_url) as connection:
        yield connection


async def _merge(sql: "asyncpg.Connection[Any]", old: Any, new: Any) -> Any:
    given_as = [None if each is None else json.dumps(each) for each in (old, new)]
    return json.loads(await sql.fetchval("select chimeway.merge_preferences($1, $2)", *given_as))


async def test_a_table_of_changes(sql: Any) -> None:
    """Each change of the table gives what stands beside it."""
    for old, new, expected in TABLE:
        assert await _merge(sql, old, new) == expected, (old, new)


def _words(topic: Topic) -> dict[str, bool]:
    word = {} if topic.word is None else {"*": topic.word.says}
    return word | {name: each.says for name, each in topic.channels.items()}


def _said(document: Preferences) -> dict[str, dict[str, bool]]:
    found = {"channels": {name: each.says for name, each in document.channels.items()}}
    for part in ("categories", "workflows"):
        found |= {f"{part}.{name}": _words(topic) for name, topic in getattr(document, part).items()}
    return found


def _change(said: dict[str, dict[str, bool]], change: Any) -> dict[str, dict[str, bool]]:
    """Apply a change to words: what this test takes the rule to be."""
    said = {place: dict(words) for place, words in said.items()}
    for part in ("channels", "categories", "workflows"):
        if part in change and change[part] is None:
            said = {place: words for place, words in said.items() if place.split(".")[0] != part}
    topics = {"channels": change.get("channels") or {}}
    for part in ("categories", "workflows"):
        topics |= {f"{part}.{name}": topic for name, topic in (change.get(part) or {}).items()}
    for place, topic in topics.items():
        if topic is None or isinstance(topic, bool):
            said[place] = {} if topic is None else {"*": topic}
        else:
            said[place] = {k: v for k, v in (said.get(place, {}) | topic).items() if v is not None}
    return {place: words for place, words in said.items() if words}


async def test_any_change(sql: Any) -> None:
    """What a change says holds afterwards, and all that it does not name is as it was."""
    found: list[tuple[Any, Any]] = []

    @settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(good_documents, good_documents))
    def collect(both: tuple[Any, Any]) -> None:
        found.append(both)

    collect()
    checked = 0
    for old, new in found:
        try:
            parse_preferences(old, partial=True)
            parse_preferences(new, partial=True)
        except InvalidInput:
            continue  # hours that never end
        before = await _merge(sql, {}, old)
        after = await _merge(sql, before, new)
        expected = _change(_said(read_preferences(before)), new)
        assert {place: words for place, words in _said(read_preferences(after)).items() if words} == expected
        rules = {part: new.get(part, before.get(part)) for part in ("quiet_hours", "caps")}
        assert {part: after.get(part) for part in rules} == rules
        parse_preferences(after)  # the whole form: no null is left
        assert await _merge(sql, after, new) == after
        checked += 1
    assert checked > 50
