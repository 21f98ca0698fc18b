"""Quiet hours and caps as Python values are the documents that they stand for, and are judged like them."""

from datetime import timedelta
from typing import Any

import pytest

from chimeway import Cap, InvalidInput, QuietHours
from chimeway.client.profile_checks import preferences

NIGHT = {"from": "22:00", "to": "07:00"}
CAP = {"channel": "email", "limit": 3, "per": "PT24H", "then": "delay"}


@pytest.mark.parametrize(
    ("given", "document"),
    [
        ({"quiet_hours": QuietHours("22:00", "07:00")}, {"quiet_hours": NIGHT}),
        ({"quiet_hours": [QuietHours("22:00", "07:00"), NIGHT]}, {"quiet_hours": [NIGHT, NIGHT]}),
        (
            {"quiet_hours": QuietHours("22:00", "07:00", days={"sun", "fri"}, channels=("sms", "email"))},
            {"quiet_hours": NIGHT | {"days": ["fri", "sun"], "channels": ["email", "sms"]}},
        ),
        ({"caps": (Cap("email", 3, per=timedelta(days=1)),)}, {"caps": [CAP]}),
        ({"caps": Cap("email", 3, per="PT24H", then="drop")}, {"caps": CAP | {"then": "drop"}}),
        (
            {"quiet_hours": None, "channels": {"email": False}},
            {"quiet_hours": None, "channels": {"email": False}},
        ),
    ],
)
def test_they_are_what_they_stand_for(given: dict[str, Any], document: dict[str, Any]) -> None:
    """One or several, beside dicts; days in the order of the week."""
    assert preferences(given) == document


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"quiet_hours": QuietHours("22", "07:00")}, 'preferences.quiet_hours.from is "22"'),
        ({"quiet_hours": [QuietHours("22:00", "07:00", days="mon")]}, r"quiet_hours\[0\].days is"),
        ({"quiet_hours": QuietHours("22:00", "07:00", days=[7, "mon"])}, "quiet_hours.days"),  # type: ignore[list-item]
        ({"quiet_hours": QuietHours("22:00", "07:00", channels=[])}, "quiet_hours.channels"),
        ({"caps": Cap("email", 0, per="PT24H")}, "caps.limit is 0"),
        ({"caps": Cap("in_app", 3, per="PT24H")}, "in_app|inbox"),
        ({"caps": Cap("email", 3, per=timedelta(0))}, "caps.per"),
        ({"caps": Cap("email", 3, per=timedelta(-1))}, "caps.per"),
        ({"channels": QuietHours("22:00", "07:00")}, "channels.from"),
        ({"caps": object()}, "caps"),
    ],
)
def test_what_is_wrong_in_them_is_told_by_its_place(given: dict[str, Any], told: str) -> None:
    """As of a dict: which field, what was given, what would be right."""
    with pytest.raises(InvalidInput, match=told):
        preferences(given)
