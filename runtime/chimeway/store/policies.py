"""What policy looks at, as it was loaded with a run; and what it says of a message.

The verdict itself is pure (`progression.policy`). What is here: rows become its arguments, and the versions
of these rows go with it, so that the ledger can refuse what was judged by rows that are no longer so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from chimeway.progression.asking import asked_of
from chimeway.progression.policy import (
    INBOX,
    NONE,
    Preferences,
    Verdict,
    judge,
    merged,
    read_preferences,
)
from chimeway.values import value
from chimeway.workflow.calendar import MONDAY_TO_FRIDAY, USUAL_DAYS, WorkingCalendar
from chimeway.workflow.definition import Definition, NotifyAction, Step


@dataclass(frozen=True, slots=True)
class Budget:
    """When a recipient was sent something on a channel that has a cap, the newest last."""

    revision: int = 0
    sent: tuple[datetime, ...] = ()


NOTHING_SENT: Final = Budget()
_NO_CAP: Final = 2**31 - 1


@value
class Policy:
    """What a recipient and his tenant want, and what he was sent.

    `profile` and `tenant` are the versions of the two rows, 0 where there is none.
    """

    preferences: Preferences
    working: WorkingCalendar
    budgets: Mapping[str, Budget]
    profile: int
    tenant: int

    def budget(self, channel: str) -> Budget:
        """Return what was sent on a channel."""
        return self.budgets.get(channel, NOTHING_SENT)

    def keeps(self, channel: str) -> int:
        """Return how many sends on a channel must be remembered, for the widest of its caps."""
        return max((cap.limit for cap in self.preferences.caps or () if cap.channel == channel), default=1)


def policy_of(row: Any) -> Policy:
    """Return what was loaded with a run."""
    return Policy(
        preferences=_preferences(row["tenant_preferences"], row["preferences"]),
        working=working_of(row["working_days"], row["holidays"]),
        budgets={
            channel: Budget(revision, tuple(sorted(datetime.fromisoformat(at) for at in sent)))
            for channel, (revision, sent) in (row["budgets"] or {}).items()
        },
        profile=row["profile_version"] or 0,
        tenant=row["tenant_version"] or 0,
    )


def _preferences(tenant: Any, recipient: Any) -> Preferences:
    """Return both documents in one. Most people have set nothing: then nothing is read."""
    if not tenant and not recipient:
        return NONE
    return merged(read_preferences(tenant or {}), read_preferences(recipient or {}))


def working_of(days: list[str] | None, holidays: list[Any] | None) -> WorkingCalendar:
    """Return a tenant's calendar; what it does not say, or cannot be read, is as usual."""
    if not days and not holidays:
        return USUAL_DAYS
    try:
        return WorkingCalendar(frozenset(days) if days else MONDAY_TO_FRIDAY, frozenset(holidays or ()))
    except ValueError:
        return WorkingCalendar(MONDAY_TO_FRIDAY, frozenset(holidays or ()))


def room_for(verdict: Verdict) -> int:
    """Return for how many messages the caps had a place when this was judged; a critical one needs none."""
    caps = [] if verdict.inputs.get("critical") else verdict.inputs.get("caps", [])
    return min((cap["limit"] - cap["sent"] for cap in caps), default=_NO_CAP)


def verdict_on(
    policy: Policy | None,
    definition: Definition,
    step: Step,
    *,
    zone: str,
    now: datetime,
    counted: bool = False,
    also: Sequence[datetime] = (),
) -> Verdict | None:
    """Return what policy says of a step's message at an instant.

    Args:
        policy: what was loaded; None where the schema knows none.
        definition: the journey.
        step: its notify step.
        zone: the recipient's.
        now: the instant.
        counted: whether an attempt was made before: a retry is the same message, and no cap holds for it.
        also: when in-app messages were put into the inbox by the very decision that asks.
    """
    action = step.action
    if policy is None or not isinstance(action, NotifyAction):
        return None
    if policy.preferences is NONE and action.send_window is None:
        return None  # most people have set nothing
    preferences = replace(policy.preferences, caps=None) if counted else policy.preferences
    sent = (*policy.budget(action.channel).sent, *(also if action.channel == INBOX else ()))
    asked = asked_of(definition, action, zone=zone, working=policy.working, sent=sent)
    return judge(preferences, asked, now)
