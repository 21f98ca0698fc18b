"""JSON on its way to the database and back: a node writes and reads a dozen texts for each decision.

Pydantic's core does it several times as quickly as Python's own `json`, and exactly, too. What it will not do
(texts that are no Unicode, hundreds of levels) is left to `json`, whose answer, or fault, then counts.
"""

import json
from typing import Any

from pydantic_core import from_json, to_json


def text_of(value: Any) -> str:
    """Return JSON as the database takes it: UTF-8 as it is. (NaN is none: the database refuses it.)"""
    return _written(value).decode()


def json_of(text: str | bytes) -> Any:
    """Return JSON as the database gives it."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)


def jsonb_of(value: Any) -> bytes:
    """Return JSON as the database takes it in the binary form of `jsonb`: a version, and the text.

    An array of them need not be quoted then, nor be read letter by letter there.
    """
    return b"\x01" + _written(value)


def from_jsonb(form: bytes) -> Any:
    """Return JSON as the database gives it in the binary form of `jsonb`."""
    return json_of(form[1:])


def _written(value: Any) -> bytes:
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
