"""JSON on its way to the database and back: a node writes and reads a dozen texts for each decision.

Pydantic's core does it several times as quickly as Python's own `json`, and exactly, too. What it will not do
(texts that are no Unicode, hundreds of levels) is left to `json`, whose answer, or fault, then counts.
"""

import json
from typing import Any

from pydantic_core import from_json, to_json


def text_of(value: Any) -> str:
    """Return JSON as the database takes it: UTF-8 as it is. (NaN is none: the database refuses it.)"""
    try:
        return to_json(value).decode()
    except ValueError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_of(text: str) -> Any:
    """Return JSON as the database gives it."""
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        return json.loads(text)
