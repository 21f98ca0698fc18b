"""Whether and when a failed delivery is tried again: semantics §7."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chimeway.progression.retry import (
    DEFAULT_RETRY_POLICY,
    FAILURE_CLASSES,
    Failure,
    GiveUp,
    Retry,
    RetryPolicy,
    after_failure,
)
from pure.progression_rows import NOW

POLICY = RetryPolicy(max_attempts=4, base_s=2, cap_s=60, max_age_s=3_600)
RETRIED = ("transient", "timeout", "unknown")
NEVER_AGAIN = {"permanent": "permanent_failure", "configuration": "permanent_failure", "bounced": "bounced"}
ALMOST = 1 - 2**-53


def delay(failure: Failure, jitter: float, policy: RetryPolicy = POLICY) -> float:
    """Return the seconds until the next attempt; it must be one."""
    answer = after_failure(policy, failure, now=NOW, jitter=jitter)
    assert isinstance(answer, Retry), answer
    return (answer.at - NOW).total_seconds()


@pytest.mark.parametrize("error_class", FAILURE_CLASSES)
def test_each_class_is_retried_or_ends_the_delivery(error_class: str) -> None:
    """Four are tried again, three end it with their reason, at the first attempt already."""
    answer = after_failure(POLICY, Failure(error_class, 1, NOW), now=NOW, jitter=0.5)
    if error_class in NEVER_AGAIN:
        assert answer == GiveUp(NEVER_AGAIN[error_class])
    else:
        assert isinstance(answer, Retry)


@pytest.mark.parametrize("error_class", RETRIED)
def test_the_ceiling_doubles_and_the_draw_is_from_nothing_to_it(error_class: str) -> None:
    """Full jitter: at once at the least, the ceiling at the most."""
    for attempts, ceiling in ((1, 2), (2, 4), (3, 8)):
        failure = Failure(error_class, attempts, NOW)
        assert delay(failure, 0) == 0
        assert delay(failure, 0.5) == ceiling / 2
        assert delay(failure, ALMOST) == pytest.approx(ceiling)


@pytest.mark.parametrize("error_class", RETRIED)
def test_the_last_attempt_exhausts(error_class: str) -> None:
    """`max_attempts` counts the first; an `unknown` one counts too."""
    for attempts in (4, 5):
        answer = after_failure(POLICY, Failure(error_class, attempts, NOW), now=NOW, jitter=0)
        assert answer == GiveUp("retries_exhausted")


def test_the_ceiling_has_a_cap() -> None:
    """However many attempts, and without overflow."""
    patient = replace(POLICY, max_attempts=10**9)
    for attempts in (7, 100, 10**6):
        assert delay(Failure("timeout", attempts, NOW), 0.5, patient) == 30


def test_age_exhausts_too() -> None:
    """A next attempt later than the age allows is not made; one at its very end is."""
    first = NOW - timedelta(seconds=3_598)
    assert delay(Failure("transient", 1, first), ALMOST) == 2
    answer = after_failure(POLICY, Failure("transient", 2, first), now=NOW, jitter=0.75)
    assert answer == GiveUp("retries_exhausted")


def test_rate_limits_count_towards_age_and_not_attempts() -> None:
    """Attempts never exhaust; the ceiling is the time spent so far, with a floor and a cap."""
    for ago, ceiling in ((0, 2), (10, 10), (3_000, 60), (-5, 2)):
        failure = Failure("rate_limited", 10**6, NOW - timedelta(seconds=ago))
        assert delay(failure, 0.5) == ceiling / 2
    old = Failure("rate_limited", 0, NOW - timedelta(seconds=3_599))
    assert after_failure(POLICY, old, now=NOW, jitter=0.5) == GiveUp("retries_exhausted")


@pytest.mark.parametrize("error_class", [*RETRIED, "rate_limited"])
def test_retry_after_is_honoured(error_class: str) -> None:
    """Never before it; the draw is added, so that a herd does not return at one instant."""
    failure = Failure(error_class, 1, NOW, retry_after_s=30)
    assert delay(failure, 0) == 30
    assert delay(failure, 0.5) == 31


@pytest.mark.parametrize(("asked", "waited"), [(float("nan"), 0), (-5, 0), (0, 0), (1e-9, 0)])
def test_retry_after_may_be_rubbish(asked: float, waited: float) -> None:
    """What is no time to wait is none."""
    assert delay(Failure("transient", 1, NOW, retry_after_s=asked), 0) == waited


@pytest.mark.parametrize("asked", [3_601, 1e300, float("inf")])
def test_retry_after_beyond_the_age_exhausts(asked: float) -> None:
    """A provider that wants us back tomorrow has ended the delivery, and nothing overflows."""
    failure = Failure("rate_limited", 1, NOW - timedelta(seconds=1), retry_after_s=asked)
    assert after_failure(POLICY, failure, now=NOW, jitter=0) == GiveUp("retries_exhausted")


@pytest.mark.parametrize("jitter", [-0.1, 1, float("nan")])
def test_a_draw_outside_its_range_is_our_mistake(jitter: float) -> None:
    """It is asserted."""
    with pytest.raises(AssertionError, match="jitter"):
        after_failure(POLICY, Failure("transient", 1, NOW), now=NOW, jitter=jitter)


def test_the_defaults_are_what_is_promised() -> None:
    """Eight attempts within about four minutes, then an end; a day at most."""
    spent = sum(
        delay(Failure("transient", attempts, NOW), ALMOST, DEFAULT_RETRY_POLICY) for attempts in range(1, 8)
    )
    assert 240 < spent < 260
    end = after_failure(DEFAULT_RETRY_POLICY, Failure("transient", 8, NOW), now=NOW, jitter=0)
    assert end == GiveUp("retries_exhausted")
    late = Failure("rate_limited", 0, NOW - timedelta(days=1, seconds=1))
    assert after_failure(DEFAULT_RETRY_POLICY, late, now=NOW, jitter=0) == GiveUp("retries_exhausted")


@pytest.mark.parametrize("error_class", ["transient", "rate_limited", "configuration"])
def test_another_provider_is_asked_at_once(error_class: str) -> None:
    """Neither the draw nor a Retry-After, which another asked for, delays it; the limits hold."""
    failure = Failure(error_class, 1, NOW, retry_after_s=600, another="at_once")
    assert delay(failure, ALMOST) == 0
    old = replace(failure, first_attempt_at=NOW - timedelta(seconds=3_601))
    assert after_failure(POLICY, old, now=NOW, jitter=0) == GiveUp("retries_exhausted")
    if error_class != "rate_limited":
        last = replace(failure, attempts=4)
        assert after_failure(POLICY, last, now=NOW, jitter=0) == GiveUp("retries_exhausted")


def test_who_is_set_up_wrong_leaves_it_to_those_who_come_later() -> None:
    """With another provider left, `configuration` is a failure like others; with none it is the end."""
    assert delay(Failure("configuration", 2, NOW, another="later"), 0.5) == 2
    assert after_failure(POLICY, Failure("configuration", 2, NOW), now=NOW, jitter=0) == GiveUp(
        "permanent_failure"
    )


def test_a_delivery_too_old_for_its_next_try_ends_at_once() -> None:
    """Not when its age is reached: a rule for the end goes on while it matters."""
    first = NOW - timedelta(seconds=3_590)
    assert after_failure(POLICY, Failure("transient", 3, first), now=NOW, jitter=ALMOST) == Retry(
        NOW + timedelta(seconds=8 * ALMOST)
    )
    longer = RetryPolicy(max_attempts=9, base_s=2, cap_s=60, max_age_s=3_600)
    assert after_failure(longer, Failure("transient", 5, first), now=NOW, jitter=0.5) == GiveUp(
        "retries_exhausted"
    )
