"""A message before its judge: what concerns it, and what was found."""

from dataclasses import dataclass, replace
from datetime import datetime

from chimeway.progression.policy.counting import Count
from chimeway.progression.policy.deciding import Decided, decide
from chimeway.progression.policy.hours import Hours, Move
from chimeway.progression.policy.preferences import INBOX, Cap, Preferences
from chimeway.progression.policy.verdict import Asked, Kind, Reason
from chimeway.workflow.durations import known_zone


@dataclass(frozen=True, slots=True)
class Case:
    """What was said and set about one message, and what has been sent so far, in order."""

    asked: Asked
    decided: Decided
    hours: Hours
    caps: tuple[Cap, ...]
    sent: tuple[datetime, ...]

    @property
    def silent(self) -> bool:
        """Whether nothing concerns it."""
        said = self.decided.by or self.decided.overruled
        return not (said or self.caps or self.hours.quiet or self.hours.window)

    def with_window_only(self) -> "Case":
        """Return the case of a message that quiet hours do not hold back."""
        return replace(self, hours=replace(self.hours, quiet=()))


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the verdict's first three fields, and what led there."""

    kind: Kind
    reason: Reason | None = None
    until: datetime | None = None
    moves: tuple[Move, ...] = ()
    counts: tuple[Count, ...] = ()


def case_of(preferences: Preferences, asked: Asked) -> Case:
    """Gather what concerns a message; for the inbox there are no hours, and no caps that delay."""
    inbox = asked.channel == INBOX
    window = asked.send_window
    zone = asked.zone if known_zone(asked.zone) else "UTC"
    quiet = () if inbox else preferences.quiet_hours or ()
    return Case(
        asked=asked,
        decided=decide(preferences, asked),
        hours=Hours(
            quiet=tuple(each for each in quiet if each.concern(asked.channel)),
            window=None if inbox or window is None else window.window(asked.working),
            zone=zone,
        ),
        caps=tuple(
            each
            for each in preferences.caps or ()
            if each.channel == asked.channel and not (inbox and each.then == "delay")
        ),
        sent=tuple(sorted(asked.sent)),
    )
