"""Every bound of what is asked by HTTP, each with its reason. (All others: `chimeway.limits`.)"""

from typing import Final

HTTP_AT_ONCE: Final = 128
"""HTTP connections and requests at once: providers wait and come again, the node's work goes on."""

HTTP_CONNECTIONS: Final = 6
"""Connections to the database of those who ask by HTTP, beside the node's own: they wait for each other, and
nobody's decision waits for them."""

HTTP_REQUEST_S: Final = 15.0
"""How long a request may take, before it is broken off: who asks would have gone, or asks again."""

MAX_HTTP_BODY_BYTES: Final = 1_048_576
"""A request's body: a thousand signals; who has more sends it in parts."""

MAX_HTTP_VALUES: Final = 50_000
"""Values in a request's body: more than any trigger's data can have, and read in a tenth of a second, in the
loop in which the node works."""

MAX_HTTP_PAGE: Final = 200
"""Rows of a page by HTTP: it is written out in the loop in which the node works."""

MAX_REQUEST_KEY_CHARS: Final = 255
"""An Idempotency-Key: a UUID has 36."""

RATES_REMEMBERED: Final = 10_000
"""Bearers of tokens of whom a node knows how often they asked of late: a number for each. Of more, those who
have not asked for longest begin anew."""

INBOX_STREAMS: Final = 256
"""Event streams of inboxes that a node holds open, beside its other requests: each is a file."""

INBOX_STREAMS_OF_ONE: Final = 8
"""The same of one recipient: tabs and devices."""

INBOX_STREAM_ALIVE_S: Final = 15.0
"""Between signs of life in such a stream: proxies close what is silent for longer, often after a minute."""

MAX_UNSUBSCRIBE_BYTES: Final = 16_384
"""A request to unsubscribe: RFC 8058's has 26 bytes, and whatever else a form may hold is not read."""

FEEDBACK_YOUNG_S: Final = 600
"""How long an event of a delivery that nobody knows is sent away to come again: a send takes a minute at
most, its recording as long as somebody has its run locked."""
