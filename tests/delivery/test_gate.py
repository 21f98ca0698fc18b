"""A provider's gate, with the time moved: what closes it, for how long, and what opens it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from chimeway import ChannelLimits, Message, Sent
from chimeway.clock import ManualClock
from chimeway.delivery import gate as gates
from chimeway.delivery.gate import Gate
from chimeway.delivery.route import single
from chimeway.errors import InvalidInput
from kit.machine import Provider

NO_BREAKER = 0


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves."""
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """Collect what is logged."""
    with capture_logs() as lines:
        yield lines


def _gate(clock: ManualClock, **limits: Any) -> Gate:
    return Gate("email", "primary", ChannelLimits(**limits), clock)


def _fail(gate: Gate, times: int, endpoint: str | None = None) -> None:
    for _ in range(times):
        assert gate.take(endpoint) == 0.0
        gate.record("transient", endpoint=endpoint)


def test_a_gate_is_open_at_first(clock: ManualClock) -> None:
    """Without a limit and without failures every call is let through."""
    gate = _gate(clock)
    assert (gate.closed_for(), gate.one_by_one) == (0.0, False)
    assert [gate.take() for _ in range(1_000)] == [0.0] * 1_000


@pytest.mark.parametrize("error_class", ["transient", "timeout", "unknown"])
def test_failures_in_a_row_open_the_breaker(clock: ManualClock, error_class: Any) -> None:
    """So many failures of the provider, and no call is made for the pause."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30)
    for _ in range(3):
        assert gate.take() == 0.0
        gate.record(error_class)
    assert (gate.take(), gate.closed_for()) == (30.0, 30.0)
    clock.advance(29.5)
    assert gate.take() == 0.5


@pytest.mark.parametrize("answer", [None, "permanent", "bounced", "configuration", "rate_limited"])
def test_any_other_answer_ends_the_row(clock: ManualClock, answer: Any) -> None:
    """A provider that refuses is at work: only failures without any such answer between them count."""
    gate = _gate(clock, breaker_failures=3)
    _fail(gate, 2)
    gate.record(answer, retry_after_s=0.0)
    _fail(gate, 2)
    assert gate.closed_for() == 0.0
    _fail(gate, 1)
    assert gate.closed_for() > 0.0


def test_after_the_pause_one_call_is_tried(clock: ManualClock, told: list[Any]) -> None:
    """One call is let through, the others wait for its end; its success opens the gate to all."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30, timeout_s=10)
    _fail(gate, 3)
    clock.advance(30)
    assert (gate.closed_for(), gate.one_by_one) == (0.0, True)
    assert [gate.take(), gate.take()] == [0.0, 1.0]
    gate.record(None)
    assert (gate.closed_for(), gate.one_by_one) == (0.0, False)
    assert [(line["event"], line["state"]) for line in told] == [
        ("channel.breaker", state) for state in ("open", "trial", "closed")
    ]


def test_a_failed_trial_opens_it_anew(clock: ManualClock) -> None:
    """One failure is enough then, and the pause is whole again."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30)
    _fail(gate, 3)
    clock.advance(30)
    _fail(gate, 1)
    assert gate.closed_for() == 30.0


def test_a_trial_not_made_is_anothers(clock: ManualClock) -> None:
    """Who gives the trial back, and who never says how it ended, leaves it to the next."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30, timeout_s=10)
    _fail(gate, 3)
    clock.advance(30)
    assert gate.take() == 0.0
    gate.give_back()
    assert gate.take() == 0.0
    clock.advance(10)
    assert gate.take() == 0.0


def test_late_failures_do_not_prolong_the_pause(clock: ManualClock) -> None:
    """Calls that were under way when the breaker opened fail in their own time."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30)
    _fail(gate, 3)
    clock.advance(20)
    gate.record("timeout")
    assert gate.closed_for() == 10.0


def test_a_breaker_may_be_left_out(clock: ManualClock) -> None:
    """With `breaker_failures` 0 nothing but rate and pauses keeps calls away."""
    gate = _gate(clock, breaker_failures=NO_BREAKER)
    _fail(gate, 100)
    assert (gate.closed_for(), gate.one_by_one) == (0.0, False)


def test_a_rate_lets_a_burst_through_and_then_one_by_one(clock: ManualClock) -> None:
    """Four a second, two at once: after a rest two go, then one each quarter of a second."""
    gate = _gate(clock, rate=4.0, burst=2)
    assert [gate.take() for _ in range(3)] == [0.0, 0.0, 0.25]
    clock.advance(0.25)
    assert [gate.take() for _ in range(2)] == [0.0, 0.25]
    clock.advance(60)
    assert [gate.take() for _ in range(3)] == [0.0, 0.0, 0.25]


def test_a_call_not_made_does_not_count_against_the_rate(clock: ManualClock) -> None:
    """What is given back may be taken by another at once."""
    gate = _gate(clock, rate=1.0)
    assert [gate.take(), gate.take()] == [0.0, 1.0]
    gate.give_back()
    assert [gate.take(), gate.take()] == [0.0, 1.0]


@given(
    rate=st.floats(0.1, 500),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_window_holds_more_calls_than_the_rate_allows(
    rate: float, burst: int, pauses: list[float]
) -> None:
    """Whenever one asks, in any window of t seconds there are at most burst + rate · t calls."""
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    gate = _gate(clock, rate=rate, burst=burst)
    calls: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        while len(calls) < 500 and gate.take() == 0.0:
            calls.append(clock.monotonic())
    for first, began in enumerate(calls):
        for more, ended in enumerate(calls[first:], 1):
            assert more <= burst + rate * (ended - began + 1e-5) + 1e-6


def test_waiting_as_long_as_it_says_is_long_enough(clock: ManualClock) -> None:
    """Who sleeps for what `take` answered may call then: nobody spins."""
    gate = _gate(clock, rate=7.0, burst=1)
    for _ in range(1_000):
        assert gate.take() == 0.0
        clock.advance(gate.closed_for())


def test_a_provider_that_asks_for_fewer_is_left_alone(clock: ManualClock, told: list[Any]) -> None:
    """Its Retry-After holds for all calls, the longest of several; it is told once."""
    gate = _gate(clock)
    gate.record("rate_limited", 20.0)
    gate.record("rate_limited", 5.0)
    gate.record("rate_limited", 21.0)
    assert gate.closed_for() == 21.0
    gate.record(None)
    assert gate.closed_for() == 21.0
    clock.advance(21)
    assert gate.take() == 0.0
    assert [(line["event"], line["seconds"]) for line in told] == [("channel.paused", 20.0)]


def test_without_retry_after_pauses_grow(clock: ManualClock) -> None:
    """One second, two, four, up to a minute; calls that hear it together count once, a success ends it."""
    gate = _gate(clock)
    pauses = []
    for _ in range(8):
        for _ in range(64):
            gate.record("rate_limited")
        pauses.append(gate.closed_for())
        clock.advance(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    gate.record(None)
    gate.record("rate_limited")
    assert gate.closed_for() == 1


def test_a_pause_that_was_asked_for_by_mistake_ends(clock: ManualClock) -> None:
    """A Retry-After of days keeps others' messages back for an hour at most; one below zero not at all."""
    gate = _gate(clock)
    gate.record("rate_limited", 1e9)
    assert gate.closed_for() == 3_600
    clock.advance(3_600)
    gate.record("rate_limited", -1.0)
    assert gate.closed_for() == 0.0


def test_an_endpoint_has_a_breaker_and_a_pause_of_its_own(clock: ManualClock, told: list[Any]) -> None:
    """One customer's server that fails, or asks for fewer calls, closes the gate to itself alone."""
    gate = _gate(clock, breaker_failures=3, breaker_pause_s=30)
    _fail(gate, 3, "ada.example")
    gate.record("rate_limited", 5.0, "bob.example")
    assert gate.closed_for("ada.example") == 30.0
    assert gate.closed_for("bob.example") == 5.0
    assert (gate.closed_for(), gate.closed_for("cy.example"), gate.one_by_one) == (0.0, 0.0, False)
    assert [line["endpoint"] for line in told] == ["ada.example", "bob.example"]
    clock.advance(30)
    assert [gate.take("ada.example"), gate.take("ada.example")] == [0.0, 1.0]
    gate.record(None, endpoint="ada.example")
    assert gate.closed_for("ada.example") == 0.0


def test_a_channel_says_whose_answer_it_is(clock: ManualClock) -> None:
    """By its method `endpoint`; where it has none, needs no address or cannot read it: the provider's."""

    class Hook:
        name = "webhook"

        async def send(self, _message: Message) -> Sent:
            return Sent()

        def endpoint(self, address: str) -> str | None:
            return address.split("//", 1)[1]

    (hook,) = single(Hook(), clock).providers
    assert hook.endpoint("https://ada.example") == "ada.example"
    assert [hook.endpoint(None), hook.endpoint("rubbish"), hook.endpoint("//")] == [None] * 3
    assert single(Provider(), clock).providers[0].endpoint("https://ada.example") is None


def test_endpoints_share_the_providers_rate(clock: ManualClock) -> None:
    """How often we call at all is the provider's, whoever answers."""
    gate = _gate(clock, rate=1.0)
    assert [gate.take("ada.example"), gate.take("bob.example"), gate.closed_for()] == [0.0, 1.0, 1.0]


def test_few_endpoints_are_remembered(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who works is not remembered at all, and of many who fail the latest."""
    monkeypatch.setattr(gates, "GATE_ENDPOINTS", 2)
    gate = _gate(clock, breaker_failures=1)
    for number in range(100):
        assert gate.take(f"good-{number}") == 0.0
        gate.record(None, endpoint=f"good-{number}")
    assert not gate._parties
    for name in ("a", "b", "c"):
        _fail(gate, 1, name)
    assert [gate.closed_for(name) > 0 for name in ("a", "b", "c")] == [False, True, True]
    clock.advance(30)
    for name in ("b", "c"):
        assert gate.take(name) == 0.0
        gate.record(None, endpoint=name)
    assert not gate._parties


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("concurrency", 0), ("concurrency", 1_001), ("concurrency", 2.5), ("concurrency", True),
        ("timeout_s", 0), ("timeout_s", float("nan")), ("timeout_s", "PT1S"), ("timeout_s", None),
        ("rate", 0), ("rate", -1.0), ("rate", float("inf")), ("burst", 0), ("burst", 5),
        ("max_attempts", 0), ("max_age_s", -5), ("breaker_failures", -1), ("breaker_pause_s", 0),
        ("max_age_s", 1e12), ("timeout_s", 10**400), ("breaker_pause_s", 1e12), ("rate", 1e-12),
        ("rate", 1e12), ("burst", 10**400), ("max_attempts", 2**31),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_are_refused_by_name(field: str, given: Any) -> None:
    """The error names the field, what was given, and what would be right."""
    with pytest.raises(InvalidInput, match=f"{field}: given .*, wanted ") as refused:
        ChannelLimits(**{field: given})
    assert refused.value.details["field"] == field


def test_a_burst_is_what_the_rate_gives_in_a_second() -> None:
    """Where none is given; at least one, so that a slow rate lets a call through at all."""
    assert [ChannelLimits(rate=rate).burst_of_rate for rate in (0.2, 1.0, 2.5, 10)] == [1, 1, 3, 10]
    assert ChannelLimits(rate=10, burst=3).burst_of_rate == 3
