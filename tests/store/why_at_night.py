"""What operators meet at night, for the explanations: words of providers, runs that were held, restores."""

from collections.abc import Awaitable, Callable

from chimeway import on_outcome
from chimeway.store import restoring
from chimeway.store.acting import Operator
from store.journey import Journey
from store.why_cases import ADA, MENTION, Case, held_as, mention

NO_USER = "bounced: the server answered 550 5.1.1 no such user"
"""As nodes write it down: what the channel raised, its code first."""


async def bounced(ada: Journey) -> None:
    """The first attempt bounces, by a channel of ours."""
    await ada.attempt(1, "cancelled", "bounced", error_class="bounced", note=NO_USER)


async def bounced_silently(ada: Journey) -> None:
    """Nothing more is known of it."""
    await ada.attempt(1, "cancelled", "bounced", error_class="bounced")


async def refused(ada: Journey) -> None:
    """The provider refuses the message for good."""
    note = "permanent_failure: the server answered 554 spam"
    await ada.attempt(1, "cancelled", "permanent_failure", error_class="permanent", note=note)


async def refused_silently(ada: Journey) -> None:
    """Nothing more is known of it."""
    await ada.attempt(1, "cancelled", "permanent_failure", error_class="permanent")


async def misconfigured(ada: Journey) -> None:
    """The channel is set up wrong, and says how."""
    note = "configuration_failure: the server answered 535 who are you"
    await ada.attempt(1, "cancelled", "permanent_failure", error_class="configuration", note=note)


async def temporarily(ada: Journey) -> None:
    """It fails for now."""
    note = "transient_failure: the server answered 451 later: in a while"
    await ada.attempt(1, "failed", error_class="transient", note=note)


async def _given_back(ada: Journey) -> None:
    await ada.sql("select chimeway.resume_run($1, 'all right')", ada.run_id)


async def held_for_long(ada: Journey) -> None:
    """Held during the wait, and given back hours after it was over."""
    await held_as("held_by_request", "legal looks at it")(ada)
    await ada.advance(hours=5)
    await _given_back(ada)
    await ada.progress()


async def held_for_long_and_late(ada: Journey) -> None:
    """Given back, and then nobody was there for ten minutes."""
    await held_as("held_by_request", "legal looks at it")(ada)
    await ada.advance(hours=5)
    await _given_back(ada)
    await ada.advance(minutes=10)


async def held_for_a_while(ada: Journey) -> None:
    """Given back before the wait was over; and then nobody was there for ten minutes."""
    await held_as("held_by_request", "legal looks at it")(ada)
    await ada.advance(minutes=10)
    await _given_back(ada)
    await ada.advance(hours=1, minutes=50)


OPERATOR = Operator(None, "eve (command line)", None)


async def restored(ada: Journey) -> None:
    """The e-mail waits in a backup, which is restored two hours later."""
    await ada.advance(hours=2)
    taken_at = await ada.now()
    await ada.sql("update chimeway.test_clock set at = at + interval '2 hours'")
    await restoring.begin(ada.database, taken_at, "node")


async def restored_after_a_failure(ada: Journey) -> None:
    """It had failed once in the backup."""
    await ada.advance(hours=2)
    await ada.attempt(3, "failed", error_class="timeout", note="no answer in 30 s")
    taken_at = await ada.now()
    await ada.sql("update chimeway.test_clock set at = at + interval '2 hours'")
    await restoring.begin(ada.database, taken_at, "node")


async def restored_under_way(ada: Journey) -> None:
    """Its provider was just being called in the backup."""
    await ada.advance(hours=2)
    await ada.begin(3)
    taken_at = await ada.now()
    await ada.sql("update chimeway.test_clock set at = at + interval '2 hours'")
    await restoring.begin(ada.database, taken_at, "node")


async def decide(ada: Journey, *, release: bool) -> None:
    """Half an hour later somebody decides."""
    await ada.sql("update chimeway.test_clock set at = at + interval '30 minutes'")
    held = [one.delivery_id for one in await restoring.held(ada.database, restoring.Which(), 10)]
    await restoring.decide(ada.database, OPERATOR, held, release=release)


def then(
    restore: Callable[[Journey], Awaitable[None]], *, release: bool
) -> Callable[[Journey], Awaitable[None]]:
    """It is restored, and somebody decides; the run goes on."""

    async def play(ada: Journey) -> None:
        await restore(ada)
        await decide(ada, release=release)
        await ada.progress()

    return play


async def released_and_left(ada: Journey) -> None:
    """It is let go, and for ten minutes nobody sends it."""
    await then(restored, release=True)(ada)
    await ada.advance(minutes=10)


async def released_and_sent(ada: Journey) -> None:
    """It is let go after a failure, and the second attempt succeeds."""
    await then(restored_after_a_failure, release=True)(ada)
    await ada.attempt(3, "succeeded")


async def released_and_refused(ada: Journey) -> None:
    """It is let go, and the provider refuses it."""
    await then(restored, release=True)(ada)
    await ada.attempt(3, "cancelled", "permanent_failure", error_class="permanent", note="blocked")


async def dropped_under_way(ada: Journey) -> None:
    """It is given up; then the call that was under way is recorded as one without an answer."""
    await then(restored_under_way, release=False)(ada)
    await ada.record(3, "cancelled", "superseded", error_class="unknown", outcome="unknown")


async def cancelled_while_held(ada: Journey) -> None:
    """Somebody cancels the run instead of deciding."""
    await restored(ada)
    await ada.client.cancel(ada.run_id, note="document deleted")


async def cancelled_and_decided(ada: Journey) -> None:
    """Somebody cancels the run just before somebody else decides."""
    await restored(ada)
    (held,) = await restoring.held(ada.database, restoring.Which(), 10)
    await ada.client.cancel(ada.run_id)
    await restoring.decide(ada.database, OPERATOR, [held.delivery_id], release=True)


LEADS_ON = mention(progress=[on_outcome("bounced", to_step="step_sms")])
CASES: dict[str, Case] = {
    "bounced, in the words of a channel": Case(LEADS_ON, ADA, bounced),
    "bounced, and no more is known": Case(LEADS_ON, ADA, bounced_silently),
    "refused, in the words of a channel": Case(mention(), ADA, refused),
    "refused, and no more is known": Case(mention(), ADA, refused_silently),
    "refused, for the channel is set up wrong": Case(mention(), ADA, misconfigured),
    "failed for now, in the words of a channel": Case(mention(), ADA, temporarily),
    "held beyond the end of its wait": Case(MENTION, ADA, held_for_long),
    "held beyond the end of its wait, and late": Case(MENTION, ADA, held_for_long_and_late),
    "held, given back, and late": Case(MENTION, ADA, held_for_a_while),
    "after a restore, held": Case(MENTION, ADA, restored),
    "after a restore, held with a failure": Case(MENTION, ADA, restored_after_a_failure),
    "after a restore, held under way": Case(MENTION, ADA, restored_under_way),
    "after a restore, released": Case(MENTION, ADA, then(restored, release=True)),
    "after a restore, released and left": Case(MENTION, ADA, released_and_left),
    "after a restore, released and sent": Case(MENTION, ADA, released_and_sent),
    "after a restore, released and refused": Case(MENTION, ADA, released_and_refused),
    "after a restore, dropped": Case(MENTION, ADA, then(restored, release=False)),
    "after a restore, dropped under way": Case(MENTION, ADA, dropped_under_way),
    "after a restore, cancelled": Case(MENTION, ADA, cancelled_while_held),
    "after a restore, cancelled and decided": Case(MENTION, ADA, cancelled_and_decided),
}
