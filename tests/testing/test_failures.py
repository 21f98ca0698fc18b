"""Sends that fail in the harness: retries at their own instants, ends, answers that are lost."""

from datetime import timedelta
from typing import Literal

import pytest

from chimeway import (
    App,
    Bounced,
    ChannelLimits,
    InvalidInput,
    Message,
    Notify,
    PermanentFailure,
    RateLimited,
    Sent,
    TransientFailure,
    Wait,
    Workflow,
    on_outcome,
    signal_received,
)
from chimeway.store.verify import verify
from chimeway.testing import Harness, RetryPolicy
from kit.guide import mention_escalation

mail = Workflow(key="mail", version=1, steps=[Notify("step_mail", channel="email", render_key="hello")])
READ = {"document_id": "document_id_1"}


async def test_a_transient_failure_is_tried_again_later() -> None:
    """The second attempt comes after the backoff, at its own instant, with the same delivery."""
    async with Harness(mail) as journey:
        journey.fail_next("email", TransientFailure("try later"))
        await journey.trigger()
        assert (journey.sent, journey.deliveries[0].status) == ([], "failed")
        due = journey.deliveries[0].next_attempt_at
        await journey.advance("PT1H")
        assert [(sent.at, sent.attempt) for sent in journey.sent] == [(due, 2)]
        assert [attempt.error_class for attempt in journey.deliveries[0].attempts] == ["transient", None]
        assert await verify(journey.client.database) == []


@pytest.mark.parametrize("given", ["greylisted", 503, str, None])
async def test_what_cannot_be_raised_is_refused_at_once(given: object) -> None:
    """It would else be raised in the send, as a fault that nobody meant, and be tried again as unknown."""
    async with Harness(mail) as journey:
        with pytest.raises(InvalidInput, match=r"failures: given .*; give exceptions, such as"):
            journey.fail_next("email", TransientFailure(), given)  # type: ignore[arg-type]
        await journey.trigger()
        assert [sent.attempt for sent in journey.sent] == [1]


async def test_the_same_seed_gives_the_same_instants() -> None:
    """The jitter of retries is drawn from a seed, so two runs of one test see the same times."""
    seen = []
    for seed in (7, 7, 8):
        async with Harness(mail, seed=seed) as journey:
            journey.fail_next("email", *[TransientFailure] * 4)
            await journey.trigger(recipients=["ada", "ben"])
            await journey.advance("P1D")
            seen.append([(sent.recipient_id, sent.at) for sent in journey.sent])
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


async def test_a_permanent_failure_ends_the_delivery() -> None:
    """What the provider refuses for good is not tried again."""
    async with Harness(mail) as journey:
        journey.fail_next("email", PermanentFailure())
        await journey.trigger()
        await journey.advance("P1D")
        (delivery,) = journey.deliveries
        assert (delivery.status, delivery.suppression_reason) == ("cancelled", "permanent_failure")
        assert (journey.sent, delivery.attempt_count) == ([], 1)


async def test_retries_end() -> None:
    """After the last attempt that the policy allows the delivery is cancelled."""
    async with Harness(mail, retry=RetryPolicy(max_attempts=3)) as journey:
        journey.fail_next("email", *[TransientFailure] * 9)
        await journey.trigger()
        await journey.advance("P1D")
        (delivery,) = journey.deliveries
        assert (delivery.suppression_reason, delivery.attempt_count) == ("retries_exhausted", 3)


async def test_rate_limits_are_kept() -> None:
    """The next attempt is never before the time that the provider asked for."""
    async with Harness(mail) as journey:
        began = journey.now
        journey.fail_next("email", RateLimited(300))
        await journey.trigger()
        await journey.advance("PT1H")
        assert journey.sent[0].at - began >= timedelta(minutes=5)


async def test_an_answer_that_is_lost_is_tried_again() -> None:
    """What arrived without an answer arrives twice, under the same delivery's id."""
    async with Harness(mail) as journey:
        journey.fail_next("email", ConnectionResetError("reset by peer"), after_send=True)
        await journey.trigger()
        await journey.advance("PT1H")
        assert [sent.attempt for sent in journey.sent] == [1, 2]
        assert len({sent.delivery_id for sent in journey.sent}) == 1


async def test_a_bounce_takes_another_way() -> None:
    """A rule on an outcome leads to its step, at once."""
    fallback = Workflow(
        key="fallback",
        version=1,
        steps=[
            Notify(
                "step_mail",
                channel="email",
                render_key="hello",
                progress=[on_outcome("bounced", to_step="step_sms")],
            ),
            Notify("step_sms", channel="sms", render_key="hello"),
        ],
    )
    async with Harness(fallback) as journey:
        journey.fail_next("email", Bounced())
        await journey.trigger()
        assert [(sent.channel, sent.address) for sent in journey.sent] == [("sms", "sms:recipient")]
        assert journey.run.state == "completed"


async def test_a_signal_between_plan_and_send_still_stops_it() -> None:
    """While no attempt has begun, the stop condition of the wait before holds: nothing is sent."""
    async with Harness(mention_escalation) as journey:
        await journey.trigger()
        async with journey.hold_sends("email"):
            await journey.advance("PT3H")
            assert journey.deliveries[1].status == "pending"
            await journey.signal("notification_read", payload=READ)
        await journey.advance("P1D")
        assert (journey.run.state, journey.sent) == ("stopped", [])
        assert journey.deliveries[1].suppression_reason == "stopped_before_send"


async def test_what_was_held_goes_when_the_block_ends() -> None:
    """Held sends wait for the end of the block, and leave at that instant."""
    async with Harness(mention_escalation) as journey:
        began = journey.now
        await journey.trigger()
        async with journey.hold_sends("email"):
            await journey.advance("PT3H")
        assert [sent.at - began for sent in journey.sent] == [timedelta(hours=3)]


async def test_a_signal_during_the_call_is_too_late() -> None:
    """What is said while the provider is being asked is kept, and changes nothing."""

    class Slow:
        name = "email"

        async def send(self, message: object) -> object:
            from chimeway import Sent

            await journey.signal("notification_read", payload=READ)
            with pytest.raises(Exception, match="time cannot move inside a send"):
                await journey.advance("PT1S")
            return Sent("late")

    async with Harness(mention_escalation, channels=[Slow()]) as journey:
        await journey.trigger()
        await journey.advance("PT2H")
        assert (journey.run.state, len(journey.sent)) == ("completed", 1)
        told = await journey.explain()
        assert [mail.type for mail in told.signals] == ["notification_read"]


async def test_a_wait_after_a_failure_keeps_its_own_time() -> None:
    """Retries, waits and journeys of several people go on in the order of time, each at its instant."""
    two = Workflow(
        key="two",
        version=1,
        steps=[
            Notify("step_push", channel="push", render_key="a"),
            Wait("step_wait", duration="PT1S", stop_conditions=[signal_received("seen")]),
            Notify("step_mail", channel="email", render_key="b"),
        ],
    )
    async with Harness(two) as journey:
        journey.fail_next("push", TransientFailure())
        await journey.trigger(recipients=["ada", "ben"])
        await journey.advance("PT1M")
        times = [sent.at for sent in journey.sent]
        assert times == sorted(times)
        assert [(s.channel, s.recipient_id) for s in journey.sent][0:2] == [("push", "ben"), ("email", "ben")]
        pushed, mailed = (next(s for s in journey.sent if s.recipient_id == "ada" and s.channel == c)
                          for c in ("push", "email"))  # fmt: skip
        assert mailed.at - pushed.at == timedelta(seconds=1)


def _with_a_backup(*, limits: ChannelLimits | None = None) -> App:
    app = App(workflows=[mail])
    for provider in ("primary", "backup"):

        @app.channel("email", provider=provider, limits=limits)
        async def send(message: Message, provider: str = provider) -> Sent:
            return Sent(f"{provider} {message.delivery_id}")

    return app


@pytest.mark.parametrize("channels", ["recording", "real"])
async def test_an_apps_providers_stand_in_for_each_other(channels: Literal["recording", "real"]) -> None:
    """As on a node: at once after a sure failure; after an uncertain one the same provider, later."""
    async with Harness(_with_a_backup(), channels=channels) as journey:
        began = journey.now
        journey.fail_next("email", TransientFailure())
        await journey.trigger()
        (sent,) = journey.sent
        assert (sent.at, sent.attempt) == (began, 2)
        first, second = journey.deliveries[0].attempts
        assert (first.provider, second.provider) == ("primary", "backup")

        journey.fail_next("email", TimeoutError())
        await journey.trigger()
        await journey.advance("PT1H")
        assert [one.provider for one in journey.deliveries[-1].attempts] == ["primary", "primary"]
        assert await verify(journey.client.database) == []


async def test_an_apps_limits_hold_unless_the_test_says_others() -> None:
    """`limits` of a declared channel are those of the journey; `retry` goes before them."""
    for retry, attempts in (({}, 2), ({"retry": RetryPolicy(max_attempts=4)}, 4)):
        app = _with_a_backup(limits=ChannelLimits(max_attempts=2))
        async with Harness(app, **retry) as journey:  # type: ignore[arg-type]
            journey.fail_next("email", *[TimeoutError] * 9)
            await journey.trigger()
            await journey.advance("P1D")
            (delivery,) = journey.deliveries
            assert (delivery.suppression_reason, delivery.attempt_count) == ("retries_exhausted", attempts)
