"""What operators meet at night, for the explanations: words of providers, and runs that were held."""

from chimeway import on_outcome
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
}
