"""JSON for the database: written and read quickly, and in nothing else than `json` would."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimeway.store.json_texts import from_jsonb, json_of, jsonb_of, text_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES)
def test_as_json_does_it(value: Any) -> None:
    """What is written is read by either, and what either writes is read: the same values and types."""
    ours, theirs = text_of(value), json.dumps(value, ensure_ascii=False)
    for text in (ours, theirs):
        assert repr(json_of(text)) == repr(json.loads(text)) == repr(value)
    assert jsonb_of(value) == b"\x01" + ours.encode()
    assert repr(from_jsonb(jsonb_of(value))) == repr(value)


@pytest.mark.parametrize("text", ["1" * 400, "0." + "1" * 60, "-0.0", '"\\u0000"', "[" * 300 + "]" * 300])
def test_what_is_unusual_is_read_exactly(text: str) -> None:
    """Long numbers, and more levels than the quick reader takes."""
    assert repr(json_of(text)) == repr(json.loads(text)) == repr(from_jsonb(b"\x01" + text.encode()))


def test_what_is_deep_is_written() -> None:
    """More levels than the quick writer takes."""
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    assert json_of(text_of(deep)) == from_jsonb(jsonb_of(deep)) == deep
    assert text_of({"a": [1, "\u00e4", None]}) == '{"a":[1,"\u00e4",null]}'


def test_what_is_no_unicode_is_as_it_was() -> None:
    """Half of a pair is written as it stands, and refused by whoever encodes it."""
    with pytest.raises(UnicodeEncodeError):
        text_of("\ud800").encode()
    with pytest.raises(UnicodeEncodeError):
        jsonb_of("\ud800")
