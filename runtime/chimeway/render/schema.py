"""What a JSON Schema says of a path into the data: that it is there, may be missing, or is not. Pure.

Only what is plain is judged: properties of objects, references within the schema. Where a schema has
alternatives, or leaves an object open, anything may be.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["there", "optional", "unknown", "anything"]
_DEEPEST: Final = 32


def verdict_on(schema: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Verdict, int]:
    """Judge a path from the top; say at which of its names the judgement was made."""
    here: Any = schema
    worst: tuple[Verdict, int] = ("there", 0)
    for place, name in enumerate(path):
        here = _resolved(here, schema)
        if not isinstance(here, Mapping) or here.keys() & {"anyOf", "oneOf", "allOf", "not", "if"}:
            return worst
        properties = here.get("properties")
        if not isinstance(properties, Mapping):
            return worst if place else ("anything", 0)
        if name not in properties:
            closed = not here.get("additionalProperties") and not here.get("patternProperties")
            is_method = place > 0 and hasattr(dict, name)
            return ("unknown", place) if closed and not is_method else worst
        if name not in here.get("required", ()) and worst[0] == "there":
            worst = ("optional", place)
        here = properties[name]
    return worst


def names_in(schema: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the names that the object at a path has."""
    here: Any = _resolved(schema, schema)
    for name in path:
        here = _resolved(here.get("properties", {}).get(name), schema) if isinstance(here, Mapping) else None
    found = here.get("properties") if isinstance(here, Mapping) else None
    return sorted(found) if isinstance(found, Mapping) else []


def _resolved(here: Any, schema: Mapping[str, Any]) -> Any:
    """Follow references such as `#/$defs/Author`; what leads nowhere is anything."""
    for _ in range(_DEEPEST):
        reference = here.get("$ref") if isinstance(here, Mapping) else None
        if not isinstance(reference, str):
            return here
        here = schema
        for part in reference.removeprefix("#").split("/")[1:]:
            here = here.get(part) if isinstance(here, Mapping) else None
    return None
