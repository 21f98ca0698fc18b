"""A verdict in words: who decided, in which zone, which hours, how many, and what else would have been."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chimeway.progression.policy import Asked, because, judge, merged, parse_preferences
from chimeway.workflow.calendar import parse_local_time
from chimeway.workflow.definition import Hours

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)  # a Friday
_NIGHT = {"from": "22:00", "to": "07:00"}
_OFFICE = Hours(parse_local_time("09:00"), parse_local_time("17:00"), "working_days")


def _cap(limit: int, then: str) -> dict[str, Any]:
    return {"channel": "email", "limit": limit, "per": "PT24H", "then": then}


_SENT = (NOON - timedelta(hours=3), NOON - timedelta(hours=1))


@pytest.mark.parametrize(
    ("tenant", "recipient", "hours", "more", "told"),
    [
        ({}, {}, 0, {}, ""),
        ({}, {"channels": {"email": True}}, 0, {}, "the recipient's yes (channels.email)"),
        ({"categories": {"c": False}}, {"channels": {"email": True}}, 0, {},
         "the tenant's no (categories.c), which counts more than the recipient's yes (channels.email)"),
        ({}, {"channels": {"email": False}, "workflows": {"w": False}}, 0, {},
         "the recipient's no (workflows.w) and the recipient's no (channels.email)"),
        ({"quiet_hours": _NIGHT}, {}, 11, {}, "the tenant's quiet hours, 22:00 to 07:00 (Europe/London)"),
        ({}, {"quiet_hours": [{**_NIGHT, "days": ["fri", "sat"]}]}, 11, {},
         "the recipient's quiet hours, 22:00 to 07:00 on fri and sat (Europe/London)"),
        ({}, {}, 6, {"send_window": _OFFICE},
         "the step's send window, 09:00 to 17:00 on working days (Europe/London)"),
        ({}, {"quiet_hours": _NIGHT}, 11, {"send_window": _OFFICE},
         """the recipient's quiet hours, 22:00 to 07:00 (Europe/London); held by quiet hours until
            <2026-11-28T07:00:00Z>, then the send window until <2026-11-30T09:00:00Z>"""),
        ({}, {"quiet_hours": {"from": "09:00", "to": "17:00"}}, 1, {"send_window": _OFFICE},
         """the recipient's quiet hours, 09:00 to 17:00 (Europe/London); no moment was found at which
            all hours allow it"""),
        ({"caps": [_cap(2, "delay")]}, {}, 0, {"sent": _SENT},
         "the tenant's cap of 2 on email in PT24H (2 had been sent, the first at <2026-11-27T09:00:00Z>)"),
        ({}, {"caps": [_cap(1, "drop")]}, 0, {"sent": (NOON,)},
         "the recipient's cap of 1 on email in PT24H (1 had been sent, the first at <2026-11-27T12:00:00Z>)"),
        ({}, {"channels": {"email": False}}, 0, {"critical": True},
         """its critical workflow; otherwise it would have been held back because of
            the recipient's no (channels.email)"""),
    ],
)  # fmt: skip
def test_a_verdict_in_words(tenant: Any, recipient: Any, hours: int, more: Any, told: str) -> None:
    """The inputs are enough for the whole sentence."""
    both = merged(parse_preferences(tenant), parse_preferences(recipient))
    asked = Asked(**{"channel": "email", "workflow": "w", "category": "c", "zone": "Europe/London"} | more)
    verdict = judge(both, asked, NOON + timedelta(hours=hours))
    assert because(verdict.reason, verdict.inputs, lambda at: f"<{at}>") == " ".join(told.split())


@pytest.mark.parametrize("reason", ["preference", "quiet_hours", "send_window", "cap", "of_the_future", None])
def test_inputs_of_another_version_are_no_error(reason: str | None) -> None:
    """What is missing, or of another shape, is left out."""
    for inputs in (
        {},
        {
            "caps": 3,
            "statements": [1],
            "moves": [{}, {}],
            "quiet_hours": [{"holds": True}],
            "send_window": [],
        },
        {"caps": [{"full": True}], "critical": True, "otherwise": {}},
    ):
        assert isinstance(because(reason, inputs), str)
