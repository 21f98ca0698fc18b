"""The first instant at which quiet hours and a send window all allow a message."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from chimeway.limits import MAX_POLICY_MOVES
from chimeway.progression.policy.preferences import QuietHours
from chimeway.workflow.calendar import WeeklyWindow
from chimeway.workflow.durations import BeyondCalendar


@dataclass(frozen=True, slots=True)
class Move:
    """What put a message off, and until when (None: for ever).

    `path` names quiet hours or a cap in the document.
    """

    reason: Literal["quiet_hours", "send_window", "cap"]
    path: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Hours:
    """All hours that hold for a message."""

    quiet: tuple[QuietHours, ...]
    window: WeeklyWindow | None
    zone: str

    def allow_from(self, at: datetime, moves: list[Move]) -> datetime | None:
        """Return the first instant, `at` or later, at which none of them holds a message back.

        Each step there is added to `moves`. None when there is no such instant, or none was found in
        `MAX_POLICY_MOVES` steps: then they exclude each other, as far as anybody would wait.
        """
        for _ in range(MAX_POLICY_MOVES):
            held = self._held(at)
            if held is None:
                return at
            moves.append(held)
            if held.until is None:
                return None
            assert held.until > at, held
            at = held.until
        return None

    def _held(self, at: datetime) -> Move | None:
        for rule in self.quiet:
            if contains(rule.window, at, self.zone):
                return Move("quiet_hours", rule.path, _or_never(rule.window.closes, at, self.zone))
        if self.window is not None and not contains(self.window, at, self.zone):
            return Move("send_window", None, _or_never(self.window.opens, at, self.zone))
        return None


def contains(window: WeeklyWindow, at: datetime, zone: str) -> bool:
    """Tell whether a window is open; beyond the calendar's end, where nothing is reckoned, it is not."""
    try:
        return window.contains(at, zone)
    except BeyondCalendar:
        return False


def _or_never(moment: Callable[[datetime, str], datetime], at: datetime, zone: str) -> datetime | None:
    try:
        return moment(at, zone)
    except ValueError:  # not within ten years, or beyond the calendar's end
        return None
