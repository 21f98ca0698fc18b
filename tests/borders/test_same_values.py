"""The same value at both doors: what the client refuses SQL refuses, and what it takes SQL takes."""

import json
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import available_timezones

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from borders import profile_values
from chimeway import Chimeway, ChimewayError, InvalidInput
from chimeway.client import checks, profile_checks
from chimeway.client.json_values import stored_size
from chimeway.render.locales import tag_of
from chimeway.store.call import json_text
from store.plain_sql import MENTION, plain

IDS = [
    "",
    "a",
    " ",
    "\n",
    "é",
    "💌",
    "\u200b",
    "x" * 255,
    "x" * 256,
    "💌" * 255,
    "💌" * 256,
    "end",
    "a\tb",
    "'",
]
PROFILES: list[dict[str, Any]] = [
    {},
    {"email": None},
    {"email": ""},
    {"email": 7},
    {"email": "ada@example.org"},
    {"email": "a\nb"},
    {"phone": "\x7f"},
    {"phone": []},
    {"locale": ""},
    {"locale": "de-DE"},
    {"locale": "x" * 256},
    {"addresses": None},
    {"addresses": []},
    {"addresses": {"push": None}},
    {"addresses": {"push": ""}},
    {"addresses": {"push": 7}},
    {"addresses": {"push": {"token": "t"}}},
    {"addresses": {"push": "a\rb"}},
    {"addresses": {"": "t"}},
    {"addresses": {"x" * 256: "t"}},
    {"preferences": {"x": [1]}},
    {"preferences": "none"},
    {"data": {"x": {}}},
    {"timezone": ""},
    {"timezone": "UTC"},
    {"timezone": "Europe/London"},
    {"timezone": "America/Argentina/Buenos_Aires"},
    {"timezone": "Etc/GMT+1"},
    {"timezone": "PST"},
    {"timezone": "EUROPE/LONDON"},
    {"timezone": "europe/london"},
    {"timezone": "+01:00"},
    {"timezone": "posixrules"},
]
DATA = [
    "x" * (65_536 - len('{"x": ""}')),
    "x" * (65_537 - len('{"x": ""}')),
    "\n" * 32_763,
    "\n" * 32_764,
    [1e16] * 3_000,
    [1e298],
    [1e299],
    [-1e-298],
    [1e-299],
    [1.5e-299],
    [5e-324],
    [-0.0],
    [10**298],
    [10**299],
    ["é" * 30_000],
    ["\x01" * 10_000],
    ["\x01" * 11_000],
]


@pytest.fixture
async def doors(database_url: str) -> AsyncIterator[tuple[Chimeway, "asyncpg.Connection[Any]"]]:
    """A client, and a plain connection on the same database."""
    async with Chimeway.connect(database_url) as client, plain(database_url) as sql:
        await client.register(MENTION)
        yield client, sql


async def _takes(asked: Any) -> bool:
    try:
        await asked
    except InvalidInput:
        return False
    except asyncpg.PostgresError as error:
        if error.sqlstate != "CW001":
            raise
        return False
    return True


@pytest.mark.parametrize(
    "role", ["tenant", "recipient", "idempotency", "cancellation", "type", "actor", "dedupe"]
)
async def test_ids_are_the_same_at_both_doors(doors: Any, role: str) -> None:
    """A text that is an id for one is an id for the other."""
    client, sql = doors
    key = "mention_escalation"
    calls: dict[str, tuple[str, Any]] = {
        "tenant": ("trigger($2, $1, 'a')", lambda x: client.trigger(key, recipients="a", tenant=x)),
        "recipient": ("trigger($2, recipient_id => $1)", lambda x: client.trigger(key, recipients=[x])),
        "idempotency": (
            "trigger($2, recipient_id => 'a', idempotency_key => $1)",
            lambda x: client.trigger(key, recipients="a", idempotency_key=x),
        ),
        "cancellation": (
            "trigger($2, recipient_id => 'a', cancellation_key => $1)",
            lambda x: client.trigger(key, recipients="a", cancellation_key=x),
        ),
        "type": ("signal($1, actor_id => left($2, 1))", lambda x: client.signal(x, actor="m")),
        "actor": ("signal($2, actor_id => $1)", lambda x: client.signal(key, actor=x)),
        "dedupe": (
            "signal($2, actor_id => 'a', dedupe_key => $1)",
            lambda x: client.signal(key, actor="a", dedupe_key=x),
        ),
    }
    call, ask = calls[role]
    for text in IDS:
        by_sql = await _takes(sql.fetch(f"select chimeway.{call}", text, key))
        assert await _takes(ask(text)) == by_sql == (0 < len(text) <= 255), repr(text)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: json.dumps(profile)[:40])
async def test_profiles_are_the_same_at_both_doors(doors: Any, profile: dict[str, Any]) -> None:
    """A profile that one refuses the other refuses; but an object that is null is one left out for Python."""
    client, sql = doors
    by_sql = await _takes(sql.fetch("select chimeway.identify('default', 'a', $1)", json.dumps(profile)))
    by_client = await _takes(client.identify("a", **profile))
    assert by_client == (by_sql or profile == {"addresses": None})


async def test_profiles_are_taken_and_refused_as_they_should_be(doors: Any) -> None:
    """Addresses, locales, zones and preferences: both doors say what the list says."""
    client, sql = doors
    wrong = []
    for number, (profile, taken) in enumerate(profile_values.PROFILES):
        text, who = json.dumps(profile), f"p{number}"
        by_sql = await _takes(sql.fetch("select chimeway.identify('default', $1, $2)", who, text))
        by_client = await _takes(client.identify(who, **profile))
        wrong += [] if by_sql == by_client == taken else [(text[:100], by_sql, by_client)]
    assert wrong == []


async def test_settings_of_tenants_are_taken_and_refused_as_they_should_be(doors: Any) -> None:
    """Zones, locales, days and preferences: both doors say what the list says."""
    client, sql = doors
    wrong = []
    for number, (given_settings, taken) in enumerate(profile_values.SETTINGS):
        text, who = json.dumps(given_settings), f"t{number}"
        by_sql = await _takes(sql.fetch("select chimeway.configure_tenant($1, $2)", who, text))
        by_client = await _takes(client.configure_tenant(tenant=who, **given_settings))
        wrong += [] if by_sql == by_client == taken else [(text[:100], by_sql, by_client)]
    assert wrong == []


async def test_a_zone_that_both_know_is_taken_by_both(doors: Any) -> None:
    """All of this machine's and all of the database's; what one of them lacks is refused by one of them."""
    _, sql = doors
    theirs = {row[0] for row in await sql.fetch("select name from pg_timezone_names")}
    await sql.execute(
        """create function pg_temp.takes(zone text) returns boolean language plpgsql as $$
           begin perform chimeway.check_zone('z', zone); return true;
           exception when sqlstate 'CW001' then return false; end $$"""
    )
    both = sorted(theirs | available_timezones())
    both += [name.title() for name in both] + [name.lower() for name in both]
    rows = await sql.fetch("select z, pg_temp.takes(z) as takes from unnest($1::text[]) z", both)
    by_sql = {row["z"] for row in rows if row["takes"]}
    by_client = {name for name in both if _is_zone(name)}
    assert by_sql <= theirs
    assert by_sql & available_timezones() == by_client & theirs
    assert len(by_sql & by_client) > 400


def _is_zone(name: str) -> bool:
    try:
        return profile_checks.time_zone("z", name) == name
    except InvalidInput:
        return False


async def test_a_locale_that_is_taken_is_one_to_templates(doors: Any) -> None:
    """What the border lets in templates look up."""
    del doors
    for text, taken in profile_values.LOCALES.items():
        assert tag_of(text) is not None or not taken, text


async def test_data_is_the_same_at_both_doors(doors: Any) -> None:
    """Sizes and numbers at their limits are judged alike, as data and as payload."""
    client, sql = doors
    for value in DATA:
        text = json_text({"x": value})
        by_sql = await _takes(
            sql.fetch("select chimeway.signal('read', actor_id => 'a', payload => $1)", text)
        )
        assert await _takes(client.signal("read", actor="a", payload={"x": value})) == by_sql, text[:60]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=4)
    ),
    max_leaves=10,
)


async def test_what_the_client_takes_the_database_takes_in_the_same_size(doors: Any) -> None:
    """Any value is refused as our error, or comes back from jsonb as it was, in the bytes counted."""
    _, sql = doors
    taken: list[tuple[dict[str, Any], str]] = []

    @settings(max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(anything)
    def collect(value: Any) -> None:
        try:
            found = checks.json_object("data", {"x": value})
        except ChimewayError:
            return
        taken.append((found, json_text(found)))

    collect()
    assert len(taken) > 50
    rows = await sql.fetch(
        "select t::jsonb::text as kept from unnest($1::text[]) with ordinality u(t, n) order by n",
        [text for _, text in taken],
    )
    for (found, text), row in zip(taken, rows, strict=True):
        # jsonb writes 5e+16 out: the same number, no longer a float.
        assert json.loads(row["kept"], parse_int=float) == json.loads(text, parse_int=float)
        has_floats = "." in row["kept"] or "e" in json_text(found)
        assert has_floats or stored_size(found) == len(row["kept"].encode())
