"""Whether, and when, a failed delivery is tried again: semantics §7 "Failures".

Exponential backoff with full jitter: each wait is drawn evenly from nothing to a ceiling that
doubles, which spreads a herd best. The draw is an argument; nothing here is random.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, assert_never

FailureClass: TypeAlias = Literal[
    "transient", "timeout", "rate_limited", "unknown", "permanent", "configuration", "bounced"
]
FAILURE_CLASSES: tuple[FailureClass, ...] = (
    "transient",
    "timeout",
    "rate_limited",
    "unknown",
    "permanent",
    "configuration",
    "bounced",
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The limits of retrying one delivery. The defaults suit a message about something recent.

    `max_attempts`: eight span up to four minutes with these ceilings, which outlasts a provider's
    restart. `base_s`: the first ceiling; two seconds outlast a dropped connection. `cap_s`: no
    ceiling beyond an hour, so that a long outage's end is noticed within one. `max_age_s`: a day
    after the first attempt the message is news no more.
    """

    max_attempts: int = 8
    base_s: float = 2.0
    cap_s: float = 3_600.0
    max_age_s: float = 86_400.0


DEFAULT_RETRY_POLICY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before this instant."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The delivery ends as cancelled with this reason."""

    reason: Literal["retries_exhausted", "permanent_failure", "bounced"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, and the history that counts.

    `attempts` counts the attempts so far, this one included, those that were rate-limited left out
    (an `unknown` one counts). `retry_after_s` is what the provider asked for, as it stands. `another` says
    whether another provider of the channel may be asked: at once, later, or none.
    """

    error_class: FailureClass
    attempts: int
    first_attempt_at: datetime
    retry_after_s: float | None = None
    another: Literal["at_once", "later", "none"] = "none"


def after_failure(policy: RetryPolicy, failure: Failure, *, now: datetime, jitter: float) -> Retry | GiveUp:
    """Return what follows from a failed attempt.

    Args:
        policy: the limits.
        failure: what failed, and what had failed before.
        now: when the failure was recorded.
        jitter: the draw, evenly from [0, 1).

    Returns:
        when to try again, never before the provider's Retry-After (another provider did not ask for it); or
        why not to. A delivery whose next try would be later than its age allows ends now, and not at
        that later time: what a rule does then, it does while it matters.

    Raises:
        AssertionError: `jitter` is no such draw.
    """
    if not 0 <= jitter < 1:
        raise AssertionError(f"jitter must be in [0, 1): {jitter}")
    match failure.error_class:
        case "permanent":
            return GiveUp("permanent_failure")
        case "configuration" if failure.another == "none":
            return GiveUp("permanent_failure")
        case "bounced":
            return GiveUp("bounced")
        case "rate_limited":
            # Such attempts are not counted, so the ceiling grows with the time spent instead:
            # wait about as long as one has waited already, which doubles as well.
            spent_s = (now - failure.first_attempt_at).total_seconds()
            return _retry(policy, failure, now, jitter * _ceiling(policy, spent_s))
        case "transient" | "timeout" | "unknown" | "configuration":
            if failure.attempts >= policy.max_attempts:
                return GiveUp("retries_exhausted")
            doublings = min(max(failure.attempts - 1, 0), 62)
            return _retry(policy, failure, now, jitter * _ceiling(policy, policy.base_s * 2**doublings))
        case _:
            assert_never(failure.error_class)


def _ceiling(policy: RetryPolicy, seconds: float) -> float:
    return min(policy.cap_s, max(policy.base_s, seconds))


def _retry(policy: RetryPolicy, failure: Failure, now: datetime, delay_s: float) -> Retry | GiveUp:
    """Retry-After is added to the draw, not taken instead: else a herd returns at one instant."""
    delay_s += _asked_for(failure.retry_after_s, policy.max_age_s)
    at = now + timedelta(seconds=0 if failure.another == "at_once" else delay_s)
    if at > failure.first_attempt_at + timedelta(seconds=policy.max_age_s):
        return GiveUp("retries_exhausted")
    return Retry(at)


def _asked_for(retry_after_s: float | None, most_s: float) -> float:
    """Providers return rubbish, too: nothing for what is no time to wait, and a bound above."""
    if retry_after_s is None or math.isnan(retry_after_s):
        return 0.0
    return min(max(retry_after_s, 0.0), most_s)
