"""Whether a message may be sent now, later or not at all: preferences, quiet hours, send windows and caps.

The theory. A message is asked about when it is planned, and again before each attempt to send it,
because people change their minds in between. The answer is a `Verdict`, made of the preferences in
force, of what is asked and of a moment; nothing here reads a clock or a row. Its `inputs` are plain JSON
that says whose words decided and what was counted, so that somebody who asks in a year can be told from
the trace alone.

Who speaks. Recipient and tenant each have a document of one grammar. The tenant's lies below: a yes or no
of the recipient replaces the tenant's of the same place, a word on a whole category or workflow also what
the tenant says against it of single channels there, and quiet hours or caps replace the tenant's as a whole
(`[]` says: none at all).

Who wins. Of all that is said of a message the most specific counts: (workflow, channel) before
(category, channel) before single words on the workflow, the category or the channel, of which any no
says no. There is one exception, for the sake of respect: a tenant's yes speaks against the tenant's own
no only, never against a no of the recipient. (A tenant that sends its alarms also where it is silent
otherwise must not thereby reach somebody who has switched the channel off.) Nothing said means: send.

The order of questions, each asked only if those before let the message pass:

1. A workflow that is critical passes preferences, quiet hours and caps. Its own send window holds, and
   it counts towards caps: what others may still send is less.
2. Preferences say no: suppressed, `preference`.
3. Quiet hours and the step's send window: deferred to the first instant at which all of them allow it.
   They may hand it to and fro (quiet until nine, a window that closes at nine); the search goes on until
   an instant is found, at most `MAX_POLICY_MOVES` times. When they exclude each other for ever, the
   message is suppressed, `quiet_hours` or `send_window`, with `never` in the inputs: to hold it for ever
   would keep its run waiting for nothing, and to send it would break a promise.
4. Caps that delay: a full one frees a place when the oldest send that fills it leaves the span; then
   hours are asked again. More time can only free places, so the last of the caps and then the hours give
   the instant; no round begins anew.
5. Caps that drop are asked at that instant: full, the message is suppressed, `cap`.

The reason of a deferred message is why it does not go now, the first in this order; `moves` in the
inputs tells how its instant came about. A send counts in a span for as long as send + `per` lies in the
future: spans are added to instants in the recipient's zone and never taken away, so days that have 23
hours need no rule.

The inbox (`in_app`) disturbs nobody: hours and caps that delay do not hold for it.
"""

from chimeway.progression.policy.judging import judge
from chimeway.progression.policy.preferences import (
    INBOX,
    NONE,
    Cap,
    Preferences,
    QuietHours,
    Statement,
    Topic,
    merged,
)
from chimeway.progression.policy.reading import parse_preferences, read_preferences
from chimeway.progression.policy.verdict import Asked, Reason, Verdict, suppressed_as

__all__ = [
    "INBOX",
    "NONE",
    "Asked",
    "Cap",
    "Preferences",
    "QuietHours",
    "Reason",
    "Statement",
    "Topic",
    "Verdict",
    "judge",
    "merged",
    "parse_preferences",
    "read_preferences",
    "suppressed_as",
]
