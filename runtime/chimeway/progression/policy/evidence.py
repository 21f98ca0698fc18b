"""What a verdict says of how it came about: plain JSON, small, and enough for a sentence in a year.

Keys, each only where it has something to say:

- `workflow`, `category`, `channel`, `zone`: what was judged, and by whose clocks.
- `critical`: true; `otherwise`: what the verdict would have been without it, where that differs.
- `statements`: each yes or no on this message: `path` in the document, `says`, `whose` ("recipient",
  "tenant"), `decided`.
- `quiet_hours`: those of this channel: `path`, `whose`, `from`, `to`, `days` (unless all), `holds` (now).
- `send_window`: the step's: `from`, `to`, `days`, `on` ("working_days": then `days` are the tenant's, and
  `holidays` says how many it has), `open` (now).
- `caps`: of this channel: `path`, `whose`, `limit`, `per`, `then`, `sent` (how many counted), `oldest` of
  them, `counted_at`, `full`, `free` (when it has a place again).
- `moves`: how a later instant was come by: `reason`, `path`, `until` (null: for ever); of a long row the
  first few, and `moves_left_out`.
- `never`: true where hours allow no instant at all.
"""

from datetime import datetime
from typing import Any, Final

from chimeway.progression.policy.case import Case, Finding
from chimeway.progression.policy.counting import Count
from chimeway.progression.policy.hours import Move, contains
from chimeway.progression.policy.preferences import QuietHours
from chimeway.workflow.calendar import EVERY_DAY, WeeklyWindow, in_order
from chimeway.workflow.definition import WORKING_DAYS
from chimeway.workflow.durations import iso_instant

_MOVES: Final = 8
"""Moves that are told: four days of being handed from hours to hours."""


def inputs_of(case: Case, found: Finding, otherwise: Finding, now: datetime) -> dict[str, Any]:
    """Return the `inputs` of a verdict.

    Args:
        case: what concerns the message.
        found: what was found.
        otherwise: what is found without regard to `critical`.
        now: the moment.
    """
    asked = case.asked
    told: dict[str, Any] = {"workflow": asked.workflow, "channel": asked.channel, "zone": case.hours.zone}
    if asked.category is not None:
        told["category"] = asked.category
    if asked.critical:
        told["critical"] = True
        if _outcome(found) != _outcome(otherwise):
            told["otherwise"] = _outcome(otherwise)
    parts = {
        "statements": _statements(case),
        "quiet_hours": [_quiet(rule, now, case.hours.zone) for rule in case.hours.quiet],
        "send_window": _send_window(case, now),
        "caps": [_cap(each) for each in otherwise.counts],
        "moves": [_move(move) for move in found.moves[:_MOVES]],
        "moves_left_out": max(0, len(found.moves) - _MOVES),
        "never": found.kind == "suppress" and found.reason in ("quiet_hours", "send_window"),
    }
    return told | {name: value for name, value in parts.items() if value}


def _outcome(found: Finding) -> dict[str, Any]:
    until = None if found.until is None else iso_instant(found.until)
    return {"verdict": found.kind, "reason": found.reason, "until": until}


def _statements(case: Case) -> list[dict[str, Any]]:
    said = [(each, True) for each in case.decided.by] + [(each, False) for each in case.decided.overruled]
    return [
        {"path": each.path, "says": each.says, "whose": each.whose, "decided": decided}
        for each, decided in said
    ]


def _quiet(rule: QuietHours, now: datetime, zone: str) -> dict[str, Any]:
    holds = contains(rule.window, now, zone)
    return {"path": rule.path, "whose": rule.whose, **_window(rule.window), "holds": holds}


def _send_window(case: Case, now: datetime) -> dict[str, Any] | None:
    window = case.hours.window
    if window is None:
        return None
    hours = case.asked.send_window
    working = {"on": WORKING_DAYS} if hours is not None and hours.on == WORKING_DAYS else {}
    holidays = {"holidays": len(window.holidays)} if window.holidays else {}
    return {**_window(window), **working, **holidays, "open": contains(window, now, case.hours.zone)}


def _window(window: WeeklyWindow) -> dict[str, Any]:
    days = {} if window.days == EVERY_DAY else {"days": in_order(window.days)}
    return {"from": str(window.start), "to": str(window.end), **days}


def _cap(found: Count) -> dict[str, Any]:
    cap = found.cap
    return {
        "path": cap.path,
        "whose": cap.whose,
        "limit": cap.limit,
        "per": cap.text,
        "then": cap.then,
        "sent": found.sent,
        "oldest": None if found.oldest is None else iso_instant(found.oldest),
        "counted_at": iso_instant(found.at),
        "full": found.full,
        "free": iso_instant(found.free),
    }


def _move(move: Move) -> dict[str, Any]:
    until = None if move.until is None else iso_instant(move.until)
    return {"reason": move.reason, "path": move.path, "until": until}
