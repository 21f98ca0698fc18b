"""Which metrics a PromQL expression names, with the labels that it names of each: a scan, and no parser.

Good for the expressions of this project: metrics have one of three beginnings, and what is grouped by
stands in `by (...)`.
"""

import re
from dataclasses import dataclass, field

_NAMED = re.compile(r"\b((?:chimeway|process|python)_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")
_GIVEN = {"job", "instance", "le"}
"""Labels that Prometheus gives, and that of buckets."""


@dataclass(frozen=True, slots=True)
class Named:
    """A metric in an expression: the values that it must have of labels, and all labels named with it."""

    name: str
    equal: dict[str, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)


def named_in(expression: str) -> list[Named]:
    """Return the metrics of an expression; what the whole groups by counts for each of them."""
    grouped = {label.strip() for found in _GROUPED.findall(expression) for label in found.split(",")} - {""}
    bare = _GROUPED.sub(" ", expression)
    return [
        Named(
            name,
            {label: value for label, how, value in _MATCHER.findall(matchers) if how == "="},
            ({label for label, _, _ in _MATCHER.findall(matchers)} | grouped) - _GIVEN,
        )
        for name, matchers in _NAMED.findall(bare)
    ]
