"""Every bound that users or operators may meet, in one place, each with its reason.

How one part paces itself (its pauses, its rounds) stands with that part; what binds HTTP alone, in
`web/limits.py`.
"""

from typing import Final

MAX_STEPS: Final = 100
"""Steps in a definition: more is a program, and no longer readable as a journey."""

MAX_STEPS_PER_DECISION: Final = 25
"""Steps entered in one evaluation: keeps a decision's transaction short."""

MAX_SIGNALS_PER_DECISION: Final = 25
"""Signals consumed in one evaluation: the same."""

MAX_VISITS: Final = 1_000
"""Steps that a run may enter in its life before it is held (`too_many_steps`)."""

MAX_WAIT_YEARS: Final = 10
"""Longest wait: beyond it calendars and zones are guesses."""

MAX_REPEATS: Final = 100
"""How often a step may lead back (`next: {repeat, times, then}`): nobody wants to be reminded more often."""

MAX_RECIPIENTS: Final = 1_000
"""Recipients in one trigger: one transaction must stay short."""

MAX_DATA_BYTES: Final = 65_536
"""A trigger's data or a signal's payload, as JSON text in UTF-8."""

MAX_DEFINITION_BYTES: Final = 262_144
"""A definition, as JSON text in UTF-8: it is loaded with each run that is evaluated."""

MAX_DEFINITIONS_TEXT_BYTES: Final = 2_097_152
"""A file of definitions: the YAML reader takes seconds for a megabyte."""

MAX_IDENTIFIER_CHARS: Final = 255
"""A key or an id (workflow, tenant, recipient, step, channel, type): it stands in indexes."""

MAX_JSON_DEPTH: Final = 64
"""Nesting of any JSON that comes in: far above use, far below what exhausts a parser."""

MAX_NOTE_CHARS: Final = 1_000
"""Free text beside a reason: kept for people, shown in one place."""

MAX_PREFERENCE_BYTES: Final = 16_384
"""A document of preferences, as JSON text in UTF-8: it is loaded with each of the recipient's runs."""

MAX_PREFERENCE_STATEMENTS: Final = 500
"""Words of yes or no in such a document: more is a program's state, and nobody's wish."""

MAX_QUIET_HOURS: Final = 20
"""Quiet hours in it: a day's and a night's for each day of the week, and some to spare."""

MAX_CAPS: Final = 20
"""Caps in it: several for each channel."""

MAX_CAP_LIMIT: Final = 500
"""What a cap may count to: as many instants are kept for each recipient and channel."""

MAX_POLICY_MOVES: Final = 100
"""How often policy looks for a later instant at which hours allow it: a month, held three times a day."""

MAX_ADDRESS_CHARS: Final = 4_096
"""Where a channel reaches somebody: URLs with tokens are the longest."""

MAX_HOLIDAYS: Final = 1_000
"""Holidays of a tenant: sixty years of a country with many; they are loaded with its runs."""

CLOCK_AHEAD_MS: Final = 50
"""How far a decision's `now` may be ahead of the database's clock (`now_in_future`)."""

CLOCK_EVERY_S: Final = 2.0
"""Between measures of the database's clock: so late is it noticed, at most, that it was put forward."""

LEDGER_BATCH: Final = 100
"""Decisions in one ledger call: measured, with 200 not more are made in a second."""

DECIDED_ANEW_S: Final = 1.0
"""A decision that is to be submitted again, and is older, is made anew: its waits count from then."""

LOAD_BATCH: Final = 100
"""Runs loaded in one query: the same trade."""

SHARED_BATCH: Final = 12
"""Of one tenant's in such a call, while another has been there of late: five milliseconds on two cores."""

LANE_REST_MAX_S: Final = 0.05
"""Between batches a lane rests as long as it worked, if others are there; a hanging database is no work."""

COMPANY_S: Final = 5.0
"""How long a tenant is considerate of another whom nobody has met since."""

LIVE_ACTORS: Final = 2_000
"""Actors with something to do at once: bounds memory; what waits longer waits in the database."""

LIVE_LEAST: Final = 200
"""So many are let in however slow the node is: they fill the batches of both lanes."""

LIVE_S: Final = 2.0
"""How long who is at work should be: no more are let in than came to rest in so long, of late (`Pace`)."""

WAITING_RUNS: Final = 1_000
"""Runs that wait in memory for a place, all tenants together; never more than there are places."""

WHEEL_KEYS: Final = 50_000
"""Entries armed in the wheel: 150 bytes each; beyond it the next page waits in the database."""

LOOK_AHEAD_MS: Final = 30_000
"""How far ahead the timekeeper arms the wheel."""

SWEEP_ANEW: Final = 1_000
"""Due rows handed on by one sweep before it begins anew, for the sake of rows behind its cursor."""

DUE_PAGE_PER_SHARD: Final = 4
"""Due rows read per shard and page: 256 shards make a page of at most 1,024, as many as a sweep hands on."""

AHEAD_PAGE_PER_SHARD: Final = 16
"""The same of what is due soon, which is put into the wheel."""

TURN_TENANTS: Final = 50
"""Tenants with something due that one turn serves, while there is a backlog."""

TURN_ROWS: Final = 100
"""Rows that a turn takes of each: they make what a tenant has at work, however long another's backlog is."""

TURN_LOOKS: Final = 500
"""Tenants that one turn looks at, whether they have something due or only later: four milliseconds."""

TURN_EVERY_S: Final = 0.05
"""Between turns, while there is a backlog and nobody has asked to look."""

BACKLOG_PER_SHARD: Final = 16
"""Up to how many due rows of a shard are counted: four thousand in all cost milliseconds, whatever waits."""

BACKLOG_SIGNALS: Final = 4_000
"""The same of signals that nobody has routed."""

READY_ASKED_S: Final = 2.0
"""How long a count of what waits may take: whoever asks `/readyz` gives up after seconds."""

READY_KEPT_S: Final = 1.0
"""How long such a count is told again: however many ask, the database is asked once a second."""

VITALS_EVERY_S: Final = 5.0
"""How often a node asks its database for what `/metrics` shows, at most: scrapes come every ten seconds."""

VITALS_COUNTED: Final = 5_000
"""Up to how many waiting or held runs are counted for `/metrics`: beyond it an estimate is told."""

TRACED_DECISIONS: Final = 2_000
"""Decisions that wait to become spans: what comes while so many wait takes the place of the oldest."""

TRACES_KNOWN: Final = 10_000
"""Runs of which a node remembers whose trace they belong to; of the others the database is asked again."""

ROUTE_BATCH: Final = 500
"""Signals routed in one call."""

HEED_BATCH: Final = 200
"""Signals heard in one call: so many at once are routed instead."""

SIGNAL_RUNS_PER_CALL: Final = 100
"""Runs into whose mailboxes one routing call puts one signal: who has thousands delays nobody else's."""

CHANNEL_CALLS: Final = 64
"""Provider calls under way at once on one channel: one that hangs holds no other's places."""

CHANNEL_CALLS_MOST: Final = 1_000
"""The most that a channel's own limit may say: each call holds a socket, a task and a message."""

CHANNEL_QUEUE: Final = 2_000
"""Deliveries that wait in memory for a place on one channel; what is more waits in the database."""

GATE_ENDPOINTS: Final = 10_000
"""Endpoints of one provider that failed of late, each with a breaker of its own: 300 bytes each."""

DOWN_S: Final = 3_600.0
"""Whoever has only failed for so long is down: what waits for him alone, and is over its age, ends."""

PAUSE_MOST_S: Final = 3_600.0
"""The longest that a provider's Retry-After keeps others' calls from it: it may be a mistake."""

INTAKE: Final = 2_000
"""Deliveries being loaded, on their way to a channel's queue."""

HISTORY: Final = 20
"""Attempts of a delivery that are looked back at: more than enough for any round of failover."""

RECORDING: Final = 2_000
"""Results waiting to be written: of runs that somebody else has locked, and for so long."""

REMEMBERED: Final = 100_000
"""Runs whose mail the sweeper remembers to have shown: 200 bytes each."""

CHANNEL_LIMIT_S: Final = 3_660 * 86_400.0
"""Longest time that a channel's limit may name, some ten years: counted from now it is still an instant."""

SEND_TIMEOUT_S: Final = 60.0
"""Longest provider call: above any channel's own, which says more about what went wrong."""

DRAIN_S: Final = 20.0
"""How long a node that ends waits for what is under way: a send may take long, systemd waits 90 s."""

IDLE_LOOK_S: Final = 1.0
"""Between looks when nothing is heard: the most by which a lost hint delays a run."""

POLLING_LOOK_S: Final = 0.25
"""Between looks of a node that hears no hints, while it finds something."""

AWAKE_LOOK_S: Final = 0.01
"""Between looks of a node that asked not to be hinted, and finds little: so long a signal may wait."""

AWAKE_LOOK_SOON_S: Final = 0.002
"""Between its looks after one that found something: where one signal comes, more do."""

AWAKE_ABOVE_HINTS: Final = 200
"""Hints in one second above which a node asks not to be hinted: NOTIFY commits one at a time."""

QUIET_S: Final = 0.5
"""An awake node that found nothing for so long asks to be hinted again."""

ASK_AGAIN_S: Final = 10.0
"""Between a sleeping node's wishes to be hinted: others who thought it dead have marked it as awake."""

BEAT_S: Final = 10.0
"""Between a node's signs of life: others believe that it is there for thirty seconds."""

PROBE_EVERY_S: Final = 10.0
"""Between a listener's calls to itself."""

PROBE_TIMEOUT_S: Final = 5.0
"""A listener that hears its own call no sooner is deaf."""

SWEEP_EVERY_S: Final = 5.0
"""Between sweeps for what no wake found: after crashes and lost answers only."""

SWEEP_SELDOM_S: Final = 60.0
"""Between sweeps that find nothing new, at most: mail that fits no condition stays unread for long."""

SWEEP_PAGE: Final = 500
"""Rows of one page of such a sweep."""

SUSPECTS: Final = 2_000
"""Overdue runs treated as suspects after a node died: as many as can have been at work in it."""

SUSPECTS_AT_ONCE: Final = 100
"""Suspects struck and evaluated together; after another death each of them stands alone."""

ALONE_S: Final = 1.0
"""How long what else is due in their shards waits for suspects that are tried alone."""

LAST_TRIAL_S: Final = 3.0
"""How long a node must have lived, and recovered, before it tries what one more strike would hold."""

STRIKES: Final = 3
"""Deaths after which a run is held."""

MESSAGE_BYTES: Final = 1_048_576
"""A rendered message: most providers refuse more."""

RENDER_CHARS: Final = 16_777_216
"""Characters that a template may make on the way to one part of a message: bounds its memory and time."""

MAX_TEMPLATE_BYTES: Final = 262_144
"""One template file: with more, a message could not be under its own bound, or the file is something else."""

TEMPLATE_CHECK_S: Final = 3.0
"""How long a node looks through registered workflows at its start: it must work soon, whatever it finds."""

TEMPLATE_FAULTS_LOGGED: Final = 50
"""Faults of templates that a node logs one by one: whoever has more has one cause."""

MAX_TEMPLATES: Final = 10_000
"""Files in the templates' folder: all are held in memory; more is another folder."""

MAX_TEMPLATE_DEPTH: Final = 16
"""Folders in folders there: a link that leads back into itself is found by this at the latest."""

PATIENCE_S: Final = 10.0
"""How long `progress_run` waits for a run that somebody else holds locked."""

MAX_FEEDBACK_BYTES: Final = 1_048_576
"""A request with feedback: Amazon's have at most a quarter of it, a bounced message may be included."""

MAX_FEEDBACK_EVENTS: Final = 1_000
"""Events in one call: each locks a run until it commits."""

FEEDBACK_TOLERANCE_S: Final = 300
"""How old a signed request may be, or ahead: five minutes, as the standard says."""

MAX_UNSUBSCRIBE_TOKEN_CHARS: Final = 640
"""A token in a link to unsubscribe by: with the node's public URL it must fit a mail's header, whose line has
at most 998 characters (RFC 5322). Ids of 36 characters make one of about 250."""

MAX_PUBLIC_URL_CHARS: Final = 200
"""What stands before the paths of the node's web door."""

MAX_UNSUBSCRIBE_KEYS: Final = 10
"""Keys believed at once: each costs an HMAC for each request, whoever sends it."""

MAX_INBOX_TOKEN_S: Final = 3_600
"""How long an inbox token lasts at most: it stands in a browser, and cannot be called back."""

MAX_INBOX_TOKEN_CHARS: Final = 2_048
"""An inbox token: both ids at their longest, and twice that in other scripts."""

MAX_INBOX_ORIGINS: Final = 20
"""Origins from which browsers may ask for inboxes."""

MAX_HTTP_RATE: Final = 1_000_000
"""Requests a second, and at once, that may be allowed to one: more than a node answers is no limit."""

MAX_TOKEN_NAME_CHARS: Final = 100
"""The name of an API token: it stands in lists, and beside what its bearer did."""

MAX_LISTED_PRODUCERS: Final = 1_000
"""Logins that are bound to tenants, listed at once: a login each is for few programs."""

MAX_PRODUCER_TENANTS: Final = 100
"""Tenants that one command binds a login to: they are looked through at each of its calls."""

MAX_LISTED_TOKENS: Final = 1_000
"""API tokens in a list: who has more gives each program many."""

MAX_PAGE: Final = 1_000
"""Rows of a page, and of a list that has no pages: an answer must fit a screen's patience."""

EXPORTED_AT_ONCE: Final = 50
"""Runs, or signals, of one page of an export: a run may bear messages of hundreds of kilobytes."""

PRUNE_BATCH: Final = 100
"""Runs, messages, events or signals that one transaction of pruning looks at: some fifty milliseconds."""

PRUNE_EVERY_S: Final = 60.0
"""Between a node's looks at what may leave; seven statements each."""

MAX_DUE: Final = 1_000
"""Runs that one `progress_due_runs` takes."""

INBOX_MARKED_AT_ONCE: Final = 500
"""Items that one transaction of a marking of all marks: nobody else waits long for their locks."""

INBOX_COUNTED: Final = 10_000
"""Up to where a live count is counted: nobody reads more, and it is counted at every change."""

INBOX_READ_AT_ONCE: Final = 1_000
"""Watched inboxes read, or put on the list of watched ones, in one query."""

INBOX_BEAT_S: Final = 10.0
"""Between signs of life of a client that watches inboxes."""

INBOX_CALLED_S: Final = 30.0
"""How long the database calls a client after a sign of life; tell_inboxes of schema.sql has it, too."""

INBOX_READ_AGAIN_S: Final = 1.0
"""After which inboxes that are watched anew are read once more: by then a decision that was under way has
committed, which saw nobody watch."""

INBOX_LOOK_S: Final = 30.0
"""Between looks at all watched inboxes while the database calls: finds changes whose call was lost."""

INBOX_POLL_S: Final = 2.0
"""The same while it does not call; it is a millisecond longer for each watched inbox."""

INBOX_BLOCKING_POLL_S: Final = 1.0
"""Between looks of a client without an event loop."""

MAX_URL_CHARS: Final = 2_048
"""A URL to call: many servers refuse longer ones."""

WEBHOOK_BODY_BYTES: Final = 1_048_576
"""A webhook's body: what is rendered is no longer, and receivers expect a fiftieth of it."""

WEBHOOK_REPLY_BYTES: Final = 16_384
"""What is read of a webhook's answer: its status says all; beyond this another connection costs less."""

WEBHOOK_HEARD_BYTES: Final = 131_072
"""All that is heard in answer to one request, heads and interim answers too: a head of 100 KiB is refused
anyway, and to read on means to parse, while everybody else waits."""

CONSOLE_WINDOW: Final = 20_000
"""Runs that one page of the console looks through where no index knows of its filter."""

CONSOLE_COUNTED: Final = 10_000
"""Up to where the console counts: beyond it nobody needs the number, and it would cost more than the page."""

CONSOLE_PLAN: Final = 2_000
"""Runs that one plan of an operator takes: acting on them takes seconds, in one request."""

CONSOLE_AT_ONCE: Final = 100
"""Runs of a plan that one transaction acts on: nobody else waits long for their locks."""

CONSOLE_SESSION_S: Final = 12 * 3_600
"""How long a sign-in lasts: a shift. It ends before, within seconds, with its token."""

CONSOLE_PLAN_S: Final = 900
"""How long what was counted can be confirmed: who comes later counts again."""
