"""What happens in the year: fixed turns of a life, and between them what is drawn from a seed."""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from life.cast import KEYS
from life.records import Failing

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
END: Final = datetime(2027, 1, 31, tzinfo=UTC)
"""What the last day of the year began is seen to its end."""
LONDON, LORD_HOWE, SANTIAGO = "Europe/London", "Australia/Lord_Howe", "America/Santiago"
HOLIDAYS: Final = [
    date(2026, m, d) for m, d in ((1, 1), (4, 3), (4, 6), (5, 4), (5, 25), (8, 31), (12, 25), (12, 28))
]
REACH: Final = {"email": "ada@example.org", "sms": "+44 20 7946 0958", "push": "device-of-ada"}
NIGHT: Final = [{"from": "22:00", "to": "07:00"}]


@dataclass(frozen=True)
class Event:
    """Something that is done at a moment: a verb of the model, and what it is given."""

    at: datetime
    verb: str
    args: tuple[Any, ...]


def _cap(channel: str, limit: int, per: str, then: str) -> dict[str, Any]:
    return {"channel": channel, "limit": limit, "per": per, "then": then}


def _turns() -> list[tuple[str, str, Any]]:
    """Return the turns of the life, each with its moment in UTC."""
    weekends = [
        {"from": "22:30", "to": "06:45", "days": ["sun", "mon", "tue", "wed", "thu"]},
        {"from": "23:59", "to": "09:30", "days": ["fri", "sat"], "channels": ["email", "push"]},
    ]
    return [
        (
            "01-01 00:00:00",
            "configure",
            {
                "timezone": LONDON,
                "holidays": HOLIDAYS,
                "preferences": {
                    "channels": {"push": True},
                    "categories": {"marketing": {"*": False, "email": True}},
                    "quiet_hours": NIGHT,
                    "caps": [
                        _cap("email", 4, "PT24H", "delay"),
                        _cap("in_app", 3, "PT24H", "drop"),
                        _cap("sms", 3, "P1W", "drop"),
                    ],
                },
            },
        ),
        # Nobody knows how to reach her until she says so.
        ("01-09 10:00:01", "identify", REACH),
        ("01-20 09:00:01", "identify", {"preferences": {"categories": {"marketing": {"sms": True}}}}),
        ("02-02 21:00:01", "identify", {"preferences": {"quiet_hours": weekends}}),
        (
            "03-01 12:00:01",
            "identify",
            {"preferences": {"caps": [_cap("email", 2, "PT24H", "delay"), _cap("email", 8, "P7D", "delay")]}},
        ),
        # One o'clock does not exist on the 29th of March: her nights end in the gap.
        ("03-26 12:00:01", "identify", {"preferences": {"quiet_hours": {"from": "21:15", "to": "01:30"}}}),
        # To where clocks are moved by half an hour, and were put back on the 5th of April.
        ("03-31 02:00:01", "identify", {"timezone": LORD_HOWE}),
        ("04-04 02:00:01", "identify", {"preferences": {"quiet_hours": {"from": "20:00", "to": "01:45"}}}),
        ("04-08 02:00:01", "identify", {"preferences": {"quiet_hours": None}}),
        ("04-12 02:00:01", "identify", {"timezone": LONDON}),
        # A provider is down from the evening until into the quiet hours.
        ("04-20 20:40:01", "fail", ("email", *[Failing("rate_limited", 3000.0)] * 2)),
        ("04-20 20:40:02", "trigger", "invoice"),
        ("04-22 20:59:01", "fail", ("email", *[Failing("transient")] * 7)),
        ("04-22 20:59:02", "trigger", "invoice"),
        ("05-02 11:00:01", "unsubscribe", ("offer", "email")),
        ("05-04 11:00:01", "fail", ("email", Failing("transient", 7200.0))),
        ("05-04 11:00:02", "trigger", "weekly"),
        # What is retried is not sent any more to who has unsubscribed meanwhile.
        ("05-11 07:59:01", "fail", ("email", Failing("rate_limited", 7200.0))),
        ("05-11 07:59:02", "trigger", "invoice"),
        ("05-11 08:30:01", "unsubscribe", ("invoice", "email")),
        ("05-20 08:30:01", "resubscribe", ("invoice", "email")),
        ("06-01 11:00:01", "resubscribe", ("offer", "email")),
        ("06-10 11:00:01", "identify", {"email": None}),
        ("06-20 11:00:01", "configure", {"preferences": {"quiet_hours": {"from": "20:00", "to": "08:15"}}}),
        ("06-24 11:00:01", "identify", {"email": "ada@new.example.org"}),
        ("07-01 11:00:01", "identify", {"preferences": {"workflows": {"mention": {"email": False}}}}),
        ("07-08 11:00:01", "identify", {"preferences": {"workflows": {"mention": True}, "caps": []}}),
        ("07-15 11:00:01", "configure", {"preferences": {"categories": {"reports": False}}}),
        ("07-29 11:00:01", "identify", {"preferences": {"categories": {"reports": {"email": True}}}}),
        (
            "08-02 11:00:01",
            "configure",
            {
                "working_days": ["sun", "mon", "tue", "wed", "thu"],
                "preferences": {"caps": [_cap("email", 3, "P1D", "drop"), _cap("push", 2, "P7D", "drop")]},
            },
        ),
        ("08-05 11:00:01", "identify", {"preferences": {"caps": None}}),
        # Where the first hour of the 6th of September is left out: her nights end and begin in it.
        ("08-20 11:00:01", "identify", {"timezone": SANTIAGO}),
        ("09-03 11:00:01", "identify", {"preferences": {"quiet_hours": [{"from": "21:00", "to": "00:30"}]}}),
        ("09-10 11:00:01", "identify", {"preferences": {"quiet_hours": None}}),
        ("10-01 11:00:01", "identify", {"timezone": LORD_HOWE}),
        ("10-02 11:00:01", "identify", {"preferences": {"quiet_hours": [{"from": "19:00", "to": "02:15"}]}}),
        ("10-09 11:00:01", "identify", {"timezone": LONDON}),
        # Half past one comes twice on the 25th: it is over with the second.
        ("10-22 11:00:01", "identify", {"preferences": {"quiet_hours": [{"from": "23:00", "to": "01:30"}]}}),
        ("10-28 11:00:01", "configure", {"timezone": "Europe/Berlin", "working_days": None}),
        ("10-28 11:00:02", "identify", {"timezone": None, "preferences": {"quiet_hours": None}}),
        ("11-03 11:00:01", "fail", ("email", Failing("bounced"))),
        ("11-03 11:00:02", "trigger", "reset"),
        ("11-05 11:00:01", "fail", ("email", *[Failing("transient")] * 8)),
        ("11-05 11:00:02", "trigger", "reset"),
        ("11-06 11:00:01", "fail", ("email", Failing("permanent"))),
        ("11-06 11:00:02", "trigger", "invoice"),
        ("11-07 11:00:01", "fail", ("sms", Failing("unknown", 0.0, arrived=True))),
        ("11-07 11:00:02", "trigger", "notice"),
        # Too old: hours would let it out more than a day after the first attempt.
        ("11-13 16:50:01", "fail", ("email", Failing("rate_limited", 3600.0 * 3))),
        ("11-13 16:50:02", "trigger", "invoice"),
        (
            "11-13 16:50:03",
            "identify",
            {"preferences": {"quiet_hours": {"from": "00:00", "to": "24:00", "days": ["sat", "sun"]}}},
        ),
        ("11-13 16:50:04", "identify", {"preferences": {"quiet_hours": {"from": "18:30", "to": "18:00"}}}),
        ("11-16 11:00:01", "identify", {"preferences": {"quiet_hours": NIGHT}}),
        (
            "11-20 11:00:01",
            "identify",
            {"preferences": {"caps": [_cap("email", 1, "PT12H", "delay"), _cap("sms", 1, "PT24H", "delay")]}},
        ),
        # A retry is the same message: that it has filled the cap itself holds it back no more.
        ("11-24 11:00:01", "fail", ("email", Failing("transient"))),
        ("11-24 11:00:02", "trigger", "invoice"),
        # A tenant's yes, however specific, never reaches who has said no.
        ("11-28 11:00:01", "configure", {"preferences": {"workflows": {"invoice": {"email": True}}}}),
        ("12-01 11:00:01", "identify", {"preferences": {"channels": {"email": False}}}),
        ("12-03 11:00:01", "trigger", "invoice"),
        ("12-10 11:00:01", "identify", {"preferences": {"channels": None, "categories": None, "caps": None}}),
        # Her word on all of it takes away what the tenant says against it of one channel.
        ("12-12 11:00:01", "configure", {"preferences": {"categories": {"marketing": {"sms": False}}}}),
        ("12-12 11:00:02", "identify", {"preferences": {"categories": {"marketing": True}}}),
        ("12-12 11:00:03", "trigger", "offer"),
        ("12-15 11:00:01", "configure", {"preferences": {"quiet_hours": None, "caps": None}}),
        ("12-15 11:00:02", "identify", {"preferences": {"quiet_hours": None, "workflows": None}}),
    ]


CHANGES: Final = (
    "2026-03-29T01:00", "2026-04-04T15:00", "2026-09-06T04:00", "2026-10-03T15:30", "2026-10-25T01:00",
)  # fmt: skip
"""When clocks are changed where she is."""


def year(many: int, seed: int) -> list[Event]:
    """Return what happens, in order, each at a moment of its own.

    Args:
        many: triggers, about; those at the changes of clocks and in the turns of the life come on top.
        seed: of what is drawn.
    """
    draw = random.Random(seed)
    events = {
        datetime.fromisoformat(f"2026-{at.replace(' ', 'T')}+00:00"): (verb, given)
        for at, verb, given in _turns()
    }
    moments = [START + timedelta(seconds=draw.randrange(365 * 86_400)) for _ in range(many)]
    for change in CHANGES:
        about = datetime.fromisoformat(f"{change}:00+00:00")
        moments += [about + timedelta(minutes=minutes) for minutes in (-150, -60, -31, -1, 0, 29, 30, 90)]
    for at in moments:
        events.setdefault(at, ("trigger", draw.choice(KEYS)))
    return list(_told(events, draw))


def _told(events: dict[datetime, tuple[str, Any]], draw: random.Random) -> list[Event]:
    """Give each trigger its data, and have some of them answered."""
    told: list[Event] = []
    number = 0
    for at in sorted(events):
        verb, given = events[at]
        if verb != "trigger":
            told.append(Event(at, verb, given if isinstance(given, tuple) else (given,)))
            continue
        about = f"matter {number}"
        told.append(Event(at, "trigger", (given, {"about": about})))
        told += _answer(at, given, about, number, draw)
        number += 1
    return sorted(told, key=lambda each: each.at)


def _answer(at: datetime, key: str, about: str, number: int, draw: random.Random) -> list[Event]:
    """Return what she does about it, if anything."""
    hours = {"mention": 14, "morning": 24 * 5, "invoice": 24 * 25, "offer": 24 * 3}.get(key)
    if draw.random() < 0.03:
        return [Event(at + timedelta(seconds=draw.randrange(60, 90_000)), "cancel", (number,))]
    if hours is None or draw.random() < 0.5:
        return []
    kind = {"mention": "read", "morning": "done", "invoice": "paid", "offer": "bought"}[key]
    after = timedelta(seconds=draw.randrange(1, hours * 3600))
    return [Event(at + after, "signal", (kind, {"about": about}))]
