"""Of several caps an explanation names the one that put a message off, or dropped it."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from chimeway.client.why_policy import because
from chimeway.progression.policy import NONE, Asked, judge, merged, parse_preferences
from chimeway.store.views import Story, VerdictView

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = ({"channel": "email", "limit": limit, "per": per} for limit, per in ((1, "PT1H"), (2, "P1D")))


class _Ada:
    """As much of a story as sentences about caps look at."""

    forgotten_at = None

    class run:  # noqa: N801
        """Her run."""

        recipient_id = "ada"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("then", ["drop", "delay"])
def test_the_cap_that_decided_is_named(then: str, order: int) -> None:
    """Both are full; that of the day drops, or frees a place later than that of the hour."""
    caps = [HOUR | {"then": "delay"}, DAY | {"then": then}][::order]
    document: dict[str, Any] = {"caps": caps}
    sent = (NOW - timedelta(minutes=20), NOW - timedelta(minutes=10))
    asked = Asked(channel="email", workflow="w", sent=sent)
    found = judge(merged(NONE, parse_preferences(document, "preferences")), asked, NOW)
    assert (found.kind, found.reason) == ("suppress" if then == "drop" else "defer", "cap")
    verdict = VerdictView("planned", found.kind, found.reason, found.until, found.inputs, NOW)
    told = because(cast("Story", _Ada), verdict)
    assert told == "2 had been sent on email within P1D, and ada's own cap is 2 (cap)"
