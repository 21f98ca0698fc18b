"""Who wins: tenant or recipient, workflow, category or channel, yes, no or silence."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from chimeway.progression.policy import Asked, Verdict, judge, merged, read_preferences

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_SAYS = (True, False, None)
# The places at which a document may speak of one message, the most specific first.
PLACES = (
    ("workflows", "w", "email"),
    ("categories", "c", "email"),
    ("workflows", "w"),
    ("categories", "c"),
    ("channels", "email"),
)


def document(*said: tuple[tuple[str, ...], bool | None]) -> dict[str, Any]:
    """Return a document that says this at these places."""
    found: dict[str, Any] = {}
    for path, says in said:
        if says is None:
            continue
        inside = found.setdefault(path[0], {})
        if path[0] == "channels":
            inside[path[1]] = says
        else:
            inside.setdefault(path[1], {})["*" if len(path) == 2 else path[2]] = says
    return found


def asked_of(tenant: object, recipient: object) -> Verdict:
    """Judge an ordinary message by these two documents."""
    both = merged(read_preferences(tenant), read_preferences(recipient))
    return judge(both, Asked("email", "w", "c"), NOW)


@pytest.mark.parametrize("whose", ["tenant", "recipient"])
def test_in_one_document_the_most_specific_counts(whose: str) -> None:
    """Of one: (workflow, channel), (category, channel), then single words, of which any no wins."""
    for says in product(_SAYS, repeat=len(PLACES)):
        written = document(*zip(PLACES, says, strict=True))
        verdict = asked_of(written, {}) if whose == "tenant" else asked_of({}, written)
        single = [each for each in says[2:] if each is not None]
        expected = next((each for each in says[:2] if each is not None), False not in single)
        assert (verdict.kind == "send") == expected, written
        assert verdict.reason == (None if expected else "preference")
        assert verdict.silent == (not written)
        assert not verdict.counts
        for statement in verdict.inputs.get("statements", ()):
            assert statement["whose"] == whose
