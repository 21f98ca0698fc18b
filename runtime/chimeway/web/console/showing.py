"""How things are told on pages: moments, spans, states, names. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chimeway.client.words import said
from chimeway.store.views import RunView
from chimeway.workflow.durations import iso_instant

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_FIELD: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?")


def span(length: timedelta) -> str:
    """Return a span in its two largest units: `3 d 4 h`, `12 min`, `40 s`."""
    left = abs(int(length.total_seconds()))
    parts: list[str] = []
    for name, seconds in _UNITS:
        if left >= seconds and len(parts) < 2:
            parts.append(f"{left // seconds} {name}")
            left %= seconds
        elif parts:
            break
    return " ".join(parts) or "0 s"


def ago(at: datetime, now: datetime) -> str:
    """Return when something was or will be, as people say it."""
    if abs(now - at) < timedelta(seconds=1):
        return "now"
    length = abs(now - at)
    told = span(
        length if length < timedelta(minutes=1) else timedelta(minutes=length // timedelta(minutes=1))
    )
    return f"{told} ago" if at < now else f"in {told}"


def utc(at: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def local(at: datetime, zone: str) -> str:
    """Return a moment in somebody's zone, to the second; in UTC where the zone is not known here."""
    try:
        return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S} {zone}"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return utc(at)


def machine(at: datetime) -> str:
    """Return a moment as `<time datetime>` has it."""
    return iso_instant(at)


def short(value: object) -> str:
    """Return the end of an id, by which people tell ids of one minute from each other."""
    return f"…{str(value)[-8:]}"


def words(name: object) -> str:
    """Return an enum word as people read it: `cancelled_by_request` → `cancelled by request`."""
    return str(name).replace("_", " ")


def plural(number: int, noun: str) -> str:
    """Return `1 run`, `2 runs`, `10,000+ runs` beyond what is counted."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def counted(number: int, most: int) -> str:
    """Return a number that was counted up to a bound."""
    return f"{most:,}+" if number > most else f"{number:,}"


def as_instant(text: str) -> datetime | None:
    """Return the moment that a field for UTC date and time holds; None where it holds none."""
    if _FIELD.fullmatch(text.rstrip("Z")) is None:
        return None
    try:
        return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None


def as_field(at: datetime) -> str:
    """Return a moment as a field for UTC date and time holds it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M}"


_ENDS: Final = {"workflow_completed": "nothing follows", "workflow_stopped": "as its definition says"}
"""Reasons that would only say the state once more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands: a word, the tone in which it is shown, and a few words of what it waits for."""

    word: str
    tone: str
    about: str


def standing(run: RunView, now: datetime, lateness: timedelta) -> Standing:
    """Return how a run stands at this moment."""
    if run.ended_at is not None:
        tone = {"completed": "good", "stopped": "calm", "failed": "bad"}[run.state]
        return Standing(run.state, tone, _ENDS.get(run.status_reason, words(run.status_reason)))
    if run.held_reason is not None:
        return Standing("held", "bad", words(run.held_reason))
    if run.waiting_for_node is not None:
        return Standing("no node", "bad", f"waits for a node that has {run.waiting_for_node}")
    if run.wake_at is not None and run.wake_at < now - lateness:
        return Standing("overdue", "bad", f"should have moved {ago(run.wake_at, now)}")
    if run.state == "waiting":
        until = "" if run.wake_at is None else f"until {utc(run.wake_at)}"
        hears = f", or {' or '.join(run.pending_signals)}" if run.pending_signals else ""
        return Standing("waiting", "waits", until + hears or "waits, and for no time: it is stuck")
    if run.step is None:
        later = run.wake_at is not None and run.wake_at > now
        return Standing(
            "active", "busy", f"begins {ago(run.wake_at, now)}" if later and run.wake_at else "begins"
        )
    return Standing("active", "busy", "waits for what becomes of its message")


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "span": span,
    "ago": ago,
    "utc": utc,
    "local": local,
    "machine": machine,
    "short": short,
    "words": words,
    "said": said,
    "plural": plural,
    "counted": counted,
    "as_field": as_field,
}
"""What templates may use."""
